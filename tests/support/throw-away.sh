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
# What is mounted below the folders that change may be shared with something outside; not what Docker and Podman mount
# in each container, and what holds only the clone.
shared=$(awk -v here="$PWD/" '
    $5 !~ "^/(etc|home|run|tmp|usr|var)(/|$)" || $6 ~ /^ro(,|$)/ { next }
    $5 ~ "^/(etc/(hosts|hostname|resolv.conf)|run/(.containerenv|secrets))$" { next }
    index(here, $5 "/") == 1 && $5 !~ "^/(etc|home|run|tmp|usr|var|var/(lib|log|mail|spool))$" { next }
    { print $5; exit }' "${MOUNTS:-/proc/self/mountinfo}")
[ -z "$shared" ] || refuse "its $shared is shared with something outside of it"
