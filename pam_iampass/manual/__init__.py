"""The man pages, made from what the program itself says: `python3 -m pam_iampass.manual packaging/man build/man`."""
