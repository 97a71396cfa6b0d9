"""The enforcer: a small root service that ends or locks login sessions which a door, as root, has registered.

The agent has no rights over anybody's processes. It asks this service, one line a connection (`protocol`).
"""
