"""The Debian packages, installed on booted machines: real systemd, real sshd, real sudo."""
