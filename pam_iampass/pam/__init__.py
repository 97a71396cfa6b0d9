"""Runs a real PAM stack, as sshd, sudo or su would, in a process of its own.

`child.py` is that process: it loads libpam (through python-pam) and whatever modules the stack names, any of which may
crash it. `run.py` starts it and talks with it. `stack.py` reads which modules a stack names.
"""
