"""What can be done to a fleet, and what can be read of it: each act and each view is declared here, and only here."""
