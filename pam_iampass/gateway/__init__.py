"""The gateway: an IAMPASS to the hosts of a fleet, which holds the application's secret in their place.

It has no state of its own: that is in PostgreSQL. `docs/fleet/gateway.md` describes it for administrators,
`docs/inside/gateway-protocol.md` what hosts and gateways say to each other.
"""
