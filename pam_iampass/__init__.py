"""A second factor for Linux logins: a PAM module that asks the person's phone through IAMPASS."""

__version__ = "0.2.0"
