"""The configuration files: iampass.yaml and the user table."""
