"""Makes the man pages and the reference pages in docs/ from what the program itself says. Not installed."""
