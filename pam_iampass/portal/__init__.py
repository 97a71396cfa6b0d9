"""The portal: pages in which people sign in with passkeys. It has no database, and no key of the gateway."""
