"""The basis of the gateway: settings, keys, the database, records, and the calls of IAMPASS."""
