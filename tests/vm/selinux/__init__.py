"""With SELinux enforcing and the policy of pam-iampass-selinux, everything works, and nothing is denied to it."""
