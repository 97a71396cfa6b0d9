"""Makes PAM services ask the phone, and restores what was there before.

`paths.py` has the machine's files, `services.py` says which of them a service needs, `edits.py` puts our lines into
PAM files and takes them out, `plan.py` says what has to change, `checks/` whether that is safe. `apply.py` makes the
changes and undoes them, `manifest.py` records them, `trial.py` undoes them when a trial is over, and `watch.py` puts
back what another program has taken out. `operations.py`
is what the command calls.
"""
