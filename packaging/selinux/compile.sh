#!/bin/sh
# Compile the module with the reference policy of this machine (selinux-policy-dev or selinux-policy-devel).
# Usage: compile.sh FOLDER; the module is written to FOLDER/pam_iampass.pp.
set -eu
source=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
cp "$source"/pam_iampass.te "$source"/pam_iampass.fc "$source"/pam_iampass.if .
make -f /usr/share/selinux/devel/Makefile pam_iampass.pp
