"""What all of the gateway stands on: settings, keys, the database, records, and the calls of IAMPASS."""
