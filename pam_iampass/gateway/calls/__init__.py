"""The calls of hosts."""
