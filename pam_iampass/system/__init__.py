"""The machine: trusted files, state, accounts, programs."""
