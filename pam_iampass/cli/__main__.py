"""`python3 -m pam_iampass.cli` is the same as `pam-iampass`."""

from pam_iampass.cli import main

main()
