"""The checks of `pam-iampass check` and `pam-iampass doctor`, which change nothing and send no request to a phone."""
