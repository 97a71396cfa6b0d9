"""IAMPASS sessions that live as long as a login."""
