#!/bin/sh
# Make the disk image of a Debian 13 machine with SELinux and our packages, and print the folder of image, kernel,
# initrd and snapshots of the booted machine. Usage, as root: image.sh PACKAGES; PACKAGES is a folder of build/deb.
#
# The folder is in PAM_IAMPASS_ROOTS (default: /var/tmp/pam-iampass-roots), like the root from which the image is made
# (packaging/root.sh). It is made again if packages, root or this script have changed; older ones are deleted.
set -eu
packages=$(realpath "$1")
cd "$(dirname "$0")/../.."
release=trixie
dependencies=$(for package in "$packages"/*.deb; do dpkg-deb -f "$package" Depends | tr ',' '\n'; done |
    sed 's/|.*//; s/(.*//; s/:any//; s/ //g' | grep -vE '(^|-)(pam-)?iampass|^systemd' | sort -u)
root=$(packaging/root.sh make $release systemd systemd-sysv udev dbus libpam-systemd linux-image-cloud-amd64 \
    initramfs-tools openssh-server openssh-client sudo procps iproute2 ca-certificates strace \
    selinux-basics selinux-policy-default auditd setools policycoreutils policycoreutils-python-utils \
    libpam-runtime apparmor pamtester polkitd pkexec $dependencies)
key=$({ cat "$packages/commit" "$0" tests/vm/auditing.py tests/vm/second_domain.py tests/vm/qemu.py; qemu-system-x86_64 --version; } |
    sha256sum | cut -c 1-12)
target=$root.vm-$key
if [ -d "$target" ]; then
    echo "$target"
    exit
fi

if [ "${2-}" != --inside ]; then
    exec unshare --mount --propagation private -- "$0" "$packages" --inside
fi

work=$(mktemp -d)
rm -rf "$target.new"
mount -t tmpfs -o mode=0755,size=4g image "$work"
mkdir "$target.new"
cp -a "$root" "$work/root" # in an overlay, setfiles would take each file for one of another file system
machine=$work/root
mount -t proc proc "$machine/proc"
mkdir "$machine/packages"
cp "$packages"/*.deb "$machine/packages"
rm -f "$machine"/packages/*-dbgsym_*
cp tests/vm/auditing.py tests/vm/second_domain.py "$machine/packages"
cat > "$machine/packages/prepare" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
dpkg -i /packages/*.deb
rm /usr/sbin/policy-rc.d

# The people.
for user in alice bob carol dave; do
    useradd --create-home --shell /bin/sh --groups sudo $user
    echo "$user:correct horse" | chpasswd
done
echo "root:root's own" | chpasswd
# bob is confined. Port 2222 is for the tests' own sshd.
printf '%s\n' 'login -a -s staff_u -r s0-s0:c0.c1023 bob' 'port -a -t ssh_port_t -p tcp 2222' |
    semanage import -N -S default
# In the policy of Debian 13, logind may not take the pidfd that pam_systemd sends from su: it loses its connection to
# D-Bus then, and each later login waits 25 s for it.
printf '(allow systemd_logind_t %s (fd (use)))\n' unconfined_t staff_su_t > /packages/logind.cil
# A second policy, which also records the use of our rules, is kept for the tests.
/usr/libexec/selinux/hll/pp /usr/share/selinux/packages/pam_iampass.pp > /root/pam_iampass.cil
python3 /packages/auditing.py < /root/pam_iampass.cil > /packages/auditing.cil
semodule -n -s default -i /packages/logind.cil -i /packages/auditing.cil
cp /etc/selinux/default/policy/policy.* /root/auditing-policy
semodule -n -s default -r auditing
# And two in which sshd's sessions run in a domain of their own: one that our module does not know, and one that it knows.
for domain in sshd_other sshd_session; do
    python3 /packages/second_domain.py /etc/selinux/default/policy/policy.* ${domain}_t ${domain}_exec_t \
        > /packages/$domain.cil
    semodule -n -s default -i /packages/$domain.cil
    cp /etc/selinux/default/policy/policy.* /root/$domain-policy
    semodule -n -s default -r $domain
done
[ -e /root/key ] || ssh-keygen -q -t ed25519 -N '' -f /root/key
for user in root alice bob carol dave; do
    home=$(getent passwd $user | cut -d : -f 6)
    install -d -m 700 -o $user -g $user "$home/.ssh"
    install -m 600 -o $user -g $user /root/key.pub "$home/.ssh/authorized_keys"
done
ssh-keygen -A
sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /root/known-hosts
printf 'MaxStartups 100\nPerSourcePenalties no\n' >> /etc/ssh/sshd_config
mkdir -p /var/log/journal /etc/systemd/logind.conf.d
# The manager of a user takes seconds to start on an emulated processor.
printf '[Login]\nUserStopDelaySec=infinity\n' > /etc/systemd/logind.conf.d/tests.conf
# An emulated processor on a busy machine is slow: nothing is given up or taken for dead because of that.
echo 'LoginGraceTime 1800' >> /etc/ssh/sshd_config
sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 1800/' /etc/login.defs
mkdir -p /etc/systemd/system.conf.d /etc/systemd/system/service.d /etc/systemd/system/pam-iampass-agent.service.d
printf '[Manager]\nDefaultDeviceTimeoutSec=1800\n' > /etc/systemd/system.conf.d/tests.conf
# For all services, also those that have a timeout of their own. A file with the name of another drop-in would be masked.
printf '[Service]\nTimeoutStartSec=1800\n' > /etc/systemd/system/service.d/slow.conf
printf '[Service]\nWatchdogSec=1800\n' > /etc/systemd/system/pam-iampass-agent.service.d/tests.conf

# How the tests get in: an sshd of their own, without PAM.
cat > /etc/ssh/control_config <<'CONTROL'
Port 2222
UsePAM no
PermitRootLogin yes
AuthorizedKeysFile /etc/ssh/control_key.pub
PerSourcePenalties no
MaxStartups 100
MaxSessions 100
PidFile none
CONTROL
cp /root/key.pub /etc/ssh/control_key.pub
cat > /etc/systemd/system/control.service <<'CONTROL'
[Service]
ExecStartPre=/usr/sbin/ip link set eth0 up
ExecStartPre=/usr/sbin/ip address add 10.0.2.15/24 dev eth0
ExecStart=/usr/sbin/sshd -D -f /etc/ssh/control_config
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
KillMode=process
[Install]
WantedBy=multi-user.target
CONTROL
systemctl enable -q control.service ssh.service auditd.service
# A snapshot goes on days later: nothing that was due in between starts then.
systemctl mask -q fstrim.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer logrotate.timer \
    e2scrub_all.timer man-db.timer
echo machine > /etc/hostname
echo '127.0.0.1 localhost machine' > /etc/hosts
echo '10.0.2.2 iampass.test' >> /etc/hosts
: > /etc/fstab
sed -i 's/^SELINUX=.*/SELINUX=enforcing/' /etc/selinux/config
mkdir /root/packages
cp /packages/*.deb /root/packages
rm -rf /packages /var/cache/apt /var/lib/apt/lists
END
chroot "$machine" sh /packages/prepare > "$target.new/log" 2>&1 || { cat "$target.new/log" >&2; exit 1; }
umount "$machine/proc"
chroot "$machine" setfiles -F /etc/selinux/default/contexts/files/file_contexts / >> "$target.new/log" 2>&1 ||
    { tail -n 30 "$target.new/log" >&2; exit 1; }
cp "$machine"/boot/vmlinuz-* "$target.new/vmlinuz"
cp "$machine"/boot/initrd.img-* "$target.new/initrd"
cp "$machine/root/key" "$target.new/key"
mke2fs -q -t ext4 -d "$machine" "$target.new/disk" 3G
umount --lazy "$work"
rmdir "$work"
unshare --net sh -euc 'ip link set lo up; exec /usr/bin/python3 -m tests.vm.snapshots "$0"' "$target.new" >&2
find "$(dirname "$root")" -maxdepth 1 -name "*.vm-*" -mmin +60 -exec rm -rf {} +
mv "$target.new" "$target"
echo "$target"
