#!/bin/sh
# Make a network namespace, set it up by a script of sh that runs in it, and mount it on a new file.
# Usage, as root, who also configures the network later: network-namespace.sh FILE SCRIPT
set -eu
: > "$1"
! unshare --net="$1" sh -euc "$2" 2> /dev/null || exit 0
umount "$1" 2> /dev/null || : # it could be made, but not set up
# Root in a container may not be allowed to configure a network, except in a user namespace that root has made.
mkfifo "$1.ready"
{ unshare --user --map-root-user --net sh -euc "$2"'; echo $$ > "$0"; read -r _ < "$0"' "$1.ready" || echo > "$1.ready"; } &
read -r process < "$1.ready"
[ -n "$process" ] || { echo "network-namespace.sh: cannot configure a network (CAP_NET_ADMIN)" >&2; exit 1; }
mount --bind "/proc/$process/ns/net" "$1"
echo > "$1.ready"
wait
rm "$1.ready"
