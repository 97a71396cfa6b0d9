"""Enrollment: adds users to IAMPASS and to the table, and registers their phones."""
