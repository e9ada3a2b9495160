#!/bin/sh
# Boots systemd on a machine of its own: this one's files seen through an overlay, with processes, mounts and a cgroup
# apart, and no network but loopback. Nothing that happens there is seen here, and all of it is gone at the end.
# For root, in a mount namespace: unshare --mount sh testing/boot.sh [FILE...]
# FILEs are in /srv there. Each time it boots, the pid of its first process is printed. A line on standard input cuts
# the power and boots it again; its end, however it comes about, is the end of the machine.
set -eu
# The end of the input is what ends it: whoever holds that gets these signals, too.
trap '' HUP INT TERM

systemd=/lib/systemd/systemd
[ -x "$systemd" ] || {
    echo "boot.sh: no $systemd: install the package systemd" >&2
    exit 1
}

world=/mnt
root=$world/root
mount --make-rprivate /
mount -t tmpfs world "$world"
mkdir "$world/upper" "$world/work" "$world/cgroup" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$world/upper,workdir=$world/work" "$root"
mount -t cgroup2 cgroup2 "$world/cgroup"
# What is started, mounted and logged here is no business of that machine, and its packages may start services.
rm -rf "$root/etc/systemd/system" "$root/etc/fstab" "$root/var/log/journal" "$root/usr/sbin/policy-rc.d"
mkdir "$root/etc/systemd/system"
[ $# -eq 0 ] || cp "$@" "$root/srv"

# In namespaces and a cgroup of its own: what systemd expects of its surroundings (systemd.io/CONTAINER_INTERFACE).
# shellcheck disable=SC2016 # expanded in that shell
first_steps='
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
for node in full null random tty urandom zero; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs tmp tmp
ip link set lo up
pivot_root . mnt
umount -l /mnt
# Or credentials, which are mounted for one service alone, would not reach it.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$2" --unit=multi-user.target --log-target=journal
'
cgroup=$world/cgroup/rustbalance-$$
# What is of the whole kernel: clock, modules, log, power.
kept_back=-sys_boot,-sys_module,-sys_rawio,-sys_time,-syslog,-wake_alarm,-bpf,-perfmon
kept_back=$kept_back,-audit_control,-mac_admin,-mac_override

boot() {
    echo 0 >"$cgroup/cgroup.procs"
    exec unshare --cgroup --ipc --mount --net --pid --uts --fork --kill-child \
        setpriv --bounding-set="$kept_back" sh -euc "$first_steps" sh "$root" "$systemd"
}

# The pid of the one child that unshare has.
say_first() {
    for _ in $(seq 100); do
        first=$(cat "/proc/$1/task/$1/children" 2>/dev/null) || break
        [ -z "$first" ] || break
        sleep 0.05
    done
    echo "${first:-none}"
}

again=yes
while [ -n "$again" ]; do
    mkdir "$cgroup"
    boot </dev/null >&2 &
    say_first $!
    read -r again || again=
    kill -KILL $! 2>/dev/null || :
    wait
    until grep -q 'populated 0' "$cgroup/cgroup.events"; do
        sleep 0.05
    done
    find "$cgroup" -depth -type d -exec rmdir {} +
done
