"""The hosts of the fleet: their rows and invites, certificates, and what they are told."""
