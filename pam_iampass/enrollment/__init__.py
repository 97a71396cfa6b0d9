"""Enrolment: a user becomes known to IAMPASS, stands in the table, and registers a phone."""
