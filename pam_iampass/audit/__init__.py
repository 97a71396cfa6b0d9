"""Audit records: written to the journal, read back, queried."""
