"""The processes of a gateway: what it does by itself, and the socket of the portal."""
