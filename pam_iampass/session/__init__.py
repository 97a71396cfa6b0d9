"""IAMPASS sessions that last as long as a login."""
