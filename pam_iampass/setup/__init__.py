"""Switches the second factor on for sshd, sudo and su, and off again so that everything is as it was.

`places.py` says where things are, `services.py` which files a service needs, `plan.py` what there is to change,
`checks/` whether that may be done, `apply.py` does it and takes it back, `manifest.py` remembers what was there
before, and `trial.py` takes it back by itself.
"""
