"""The portal: pages in which people sign in with passkeys. It holds no key of the fleet and has no database."""
