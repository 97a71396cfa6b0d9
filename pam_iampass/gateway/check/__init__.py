"""What `check` finds, monitoring, backups, and whether the database is an old copy."""
