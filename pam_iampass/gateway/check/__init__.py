"""The findings of `check`, monitoring, backups, and whether the database is an old copy."""
