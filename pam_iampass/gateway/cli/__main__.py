"""`python -m pam_iampass.gateway.cli`."""

from pam_iampass.gateway.cli import main

main()
