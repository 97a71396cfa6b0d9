"""The process that decides all logins of a machine: what doors and root's command speak to."""
