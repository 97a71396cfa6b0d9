"""The man pages, made from what the program itself says: `python3 -m tools.docs packaging/man build/man`."""
