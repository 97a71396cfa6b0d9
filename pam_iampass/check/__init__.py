"""The checks of `pam-iampass check`, which change nothing and send no request to a phone."""
