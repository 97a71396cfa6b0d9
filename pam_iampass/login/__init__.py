"""One login, from the PAM call to its decision."""
