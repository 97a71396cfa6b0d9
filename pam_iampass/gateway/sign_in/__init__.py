"""Who acts in the portal: passkeys, links, sign-ins, and what a touch is good for."""
