#!/bin/sh
# Run a command with no environment variables but those named here. Usage: clean-environment.sh [NAME=VALUE]... COMMAND...
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=xterm-256color \
    LC_ALL=C.UTF-8 TZ=UTC ${PAM_IAMPASS_TOOLS+PAM_IAMPASS_TOOLS="$PAM_IAMPASS_TOOLS"} "$@"
