"""Makes PAM services ask the phone, and restores what was there before.

`operations.py` is what the command calls. A setup reads downwards: `plan.py` says what has to change in which files, by
the lines of `edits.py`; `checks.py` and `sshd.py` say whether that is safe; `apply.py` makes the changes, and undoes
them if the programs reject them; `manifest.py` remembers what was there before. `trial.py` undoes them when a trial is
over, and `watch.py` puts back what another program has taken out.
"""
