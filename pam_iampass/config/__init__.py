"""The configuration files: iampass.yaml and the table of users."""
