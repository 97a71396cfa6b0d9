"""The users of the portal: passkeys, the links that register them, sign-ins, and the acts that a touch confirms.

A row counts only with its MAC, and only for the very person for whom it was made. Code that changes rows of a person
has locked that person's row first, so that removing a person and ending sign-ins waits for nobody who waits for it.
Until a database that was restored is confirmed, no row counts.
"""
