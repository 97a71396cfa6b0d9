"""Finds out why logins fail, or would: the subjects of `pam-iampass doctor`. Nothing is changed, nobody is asked."""
