"""Where pam-iampass has its files on a machine."""

from __future__ import annotations

SETTINGS = "/etc/iampass/iampass.yaml"
"""The settings, unless the module or the command is given others."""
RATE_LIMITS = "/run/iampass/state"
"""The state of the rate limit; belongs to the service's user."""
RECOVERY_CODES = "/var/lib/iampass/recovery"
"""The hashes of recovery codes; belongs to the service's user."""
AGENT_SOCKET = "/run/iampass/pam.sock"
"""Where the agent listens for the doors."""
PROGRAMS = "/usr/lib/pam-iampass"
"""What the doors and systemd run."""
TEMPLATES = "/usr/share/pam-iampass"
"""The files that `pam-iampass setup` copies; no program reads them there."""
SETUP_STATE = "/var/lib/pam-iampass/setup"
"""What `pam-iampass setup` needs to undo its changes; only root can enter it."""
