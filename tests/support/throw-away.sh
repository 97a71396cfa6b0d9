#!/bin/sh
# Succeed if this machine is a container to throw away, of which root may change the files. Otherwise print why not.
set -eu
refuse() {
    echo "$1"
    exit 1
}
[ -e /.dockerenv ] || [ -e /run/.containerenv ] || refuse "it is not a container of Docker or Podman"
bounds=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
[ $((0x$bounds >> 21 & 1)) -eq 0 ] || refuse "its root can have CAP_SYS_ADMIN"
[ ! -e /run/systemd/system ] || refuse "systemd runs in it"
[ "$(readlink -m /dev/log)" = /run/systemd/journal/dev-log ] || { [ ! -e /dev/log ] && [ ! -L /dev/log ]; } ||
    refuse "it has a /dev/log"
# Files that it shares with something outside; not those which Docker and Podman make for each container, and the clone.
shared=$(awk -v here="$PWD/" '
    $5 !~ "^/(etc|home|run|tmp|usr|var)(/|$)" || $6 ~ /^ro(,|$)/ { next }
    $5 ~ "^/(etc/(hosts|hostname|resolv.conf)|run/.containerenv)$" { next }
    $5 ~ "^/.+/" && index(here, $5 "/") == 1 { next }
    { for (field = 7; $field != "-"; field++); kind = $(field + 1) }
    kind ~ /^(tmpfs|overlay)$/ && $4 == "/" { next }
    { print $5; exit }' /proc/self/mountinfo)
[ -z "$shared" ] || refuse "its $shared is shared with something outside of it"
