#!/bin/sh
# Install the Debian packages that `make demo`, `make test` or `make bench` need and that are missing.
# Usage, as root: requirements.sh demo|fleet-demo|test|test-long|bench|packages|repository|fleet|vm
# Does not start or enable any service: a newly installed ssh server stays disabled.
set -eu

demo="openssh-server openssh-client libpam-python sudo python3-yaml python3-systemd python3-pampy
python3-click python3-rich python3-aiohttp python3-trustme python3-pexpect systemd util-linux iproute2 passwd
gcc make libc6-dev libpam0g-dev"
# For a container without namespaces (container.py)
! [ -e /.dockerenv ] && ! [ -e /run/.containerenv ] || demo="$demo rsync"
gateway="postgresql-client-17 tzdata python3-psycopg python3-psycopg-c python3-psycopg-pool python3-cryptography python3-fido2
python3-ldap python3-prometheus-client python3-jinja2 python3-segno libjs-htmx"
repository="apt-utils gpg gpg-agent"
test="$demo $gateway $repository python3-apt pamtester strace tmux libpam-wrapper python3-pytest python3-pytest-timeout python3-coverage
python3-hypothesis python3-requests python3-itsdangerous python3-pyte python3-venv python3-zbar ca-certificates mypy
valgrind opendoas
clang libclang-rt-dev mandoc groff-base man-db bash-completion zsh fish ansible-core
krb5-kdc krb5-admin-server krb5-user rsync
slapd ldap-utils promtool jq
python3-reportlab poppler-utils"

. /etc/os-release
version=${VERSION_ID:-13}
[ "${version%%.*}" -lt 13 ] || test="$test sudo-rs"

test_long="$test chromium-headless-shell fonts-dejavu-core"

# tests/conftest.py imports the sandbox.
packages="git mmdebstrap systemd-container iproute2 dpkg-dev python3-pytest python3-pytest-timeout python3-pexpect
python3-aiohttp python3-trustme python3-click python3-rich python3-yaml"

# With people outside of the machines.
fleet="$packages openssh-client"

vm="$fleet qemu-system-x86 qemu-utils e2fsprogs"

bench="$demo $gateway libpam-duo nginx-light libnginx-mod-http-js python3-matplotlib python3-requests"

# These would change the machine's PAM files. They are only downloaded; tests/support/directory.py unpacks them.
unpacked="sssd-common sssd-proxy libpam-sss"
# It would make an account and a service that listens; tests/system/setup/test_node_exporter.py unpacks it.
exporter=prometheus-node-exporter
# It would start a service; tests/support/postgres.py unpacks it.
pooler=pgbouncer
# What runs beside Ansible; tests/gateway/test_ansible_run.py unpacks it.
runs="pssh ansible-mitogen"
# It would make an account, a certificate, a database and a service of the machine. It is only downloaded;
# tests/support/postgres.py unpacks it.
server=postgresql-17

case ${1-} in
    demo) wanted=$demo ;;
    fleet-demo) wanted="$demo $gateway" ;;
    bench) wanted=$bench ;;
    packages) wanted=$packages ;;
    repository) wanted=$repository ;;
    fleet) wanted=$fleet ;;
    vm) wanted=$vm ;;
    test) wanted=$test ;;
    test-long) wanted=$test_long ;;
    *) echo "usage: requirements.sh demo|fleet-demo|test|test-long|bench|packages|repository|fleet|vm" >&2; exit 2 ;;
esac

missing=
for package in $wanted; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
        installed) ;;
        *) missing="$missing $package" ;;
    esac
done
tools() {
    case $1 in test*) ;; *) return 0 ;; esac
    "$(dirname "$0")/python-tools.sh" published-client
    download unpacked "$unpacked"
    download exporter "$exporter"
    [ "$1" = test-long ] || return 0
    "$(dirname "$0")/python-tools.sh" browser
    download pooler "$pooler"
    download runs "$runs"
}
# download FOLDER PACKAGES: with what they depend on.
download() {
    folder=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}/$1
    [ "$(cat "$folder/made-of" 2> /dev/null)" != "$2" ] || return 0
    echo "Downloading Debian packages: $2"
    mkdir -p "$folder"
    rm -f "$folder"/*.deb
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends --download-only -o APT::Sandbox::User=root \
        -o Dir::Cache::archives="$folder" $2 > /dev/null
    echo "$2" > "$folder/made-of"
}
# The package of the server, and its libraries (but that for compiling queries, which is large).
server() {
    case $1 in fleet-demo | test | test-long | bench) ;; *) return 0 ;; esac
    folder=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}/server
    [ ! -x /usr/lib/postgresql/17/bin/postgres ] && ! [ -e "$folder/complete" ] || return 0
    echo "Downloading a Debian package: $server"
    rm -rf "$folder"
    mkdir -p "$folder"
    apt-get update -qq
    libraries=$(apt-cache show "$server" | sed -n 's/^Depends: //p' | head -n 1 | tr ',' '\n' |
        sed 's/|.*//; s/(.*//; s/ //g' | grep '^lib' | grep -v '^libllvm')
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $libraries > /dev/null
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$server")
    # Tests of the gateway unpack it each time that they run, which takes 0.7 s less without compression.
    dpkg-deb --raw-extract "$folder/$server"_*.deb "$folder/contents"
    dpkg-deb -Znone --build "$folder/contents" "$folder" > /dev/null
    rm -r "$folder/contents"
    touch "$folder/complete"
}
[ -n "$missing" ] || { server "$1"; tools "$1"; exit 0; }

[ "$(id -u)" -eq 0 ] || { echo "requirements.sh: must run as root to install$missing" >&2; exit 1; }
command -v apt-get > /dev/null || { echo "requirements.sh: this needs Debian's apt-get" >&2; exit 1; }
echo "Installing Debian packages:$missing"

policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
log=$(mktemp)
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
    > "$log" 2>&1; then
    cat "$log" >&2
    echo "requirements.sh: the packages could not be installed, see above" >&2
    exit 1
fi
rm -f "$log"
# disable PACKAGE UNIT...: a newly installed service does not start with the machine either.
disable() {
    package=$1
    shift
    case $missing in
        *"$package"*) ;;
        *) return 0 ;;
    esac
    [ -d /run/systemd/system ] || return 0
    systemctl disable --quiet "$@"
    echo "The newly installed $package is disabled."
}
disable openssh-server ssh.service ssh.socket
disable slapd slapd.service
disable krb5-kdc krb5-kdc.service
disable krb5-admin-server krb5-admin-server.service
disable nginx-light nginx.service
server "$1"
tools "$1"
