# Makes a machine within this machine and keeps it until standard input ends, which it does with the tests, however they
# end. Then the kernel kills what is left inside, and what was made outside is removed.
#
# $1: folder for the machine's files   $2: the runtime   $3: name of the control group for what runs inside
#
# Private are: processes, network, mounts, /etc (a copy), /run, /var/lib, /var/tmp, /dev/shm and /usr/local/bin. So engines use
# their default folders and sockets and can neither find nor disturb an engine of the host.

# Control groups cannot be private where there is version 1. Engines make these, and leave them empty.
groups="default docker libpod_parent $3"
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    for group in $groups; do
        [ -d "$hierarchy/$group" ] || made="$made $hierarchy/$group"
    done
done

unshare --mount --net --pid --ipc --uts --fork --kill-child -- sh -ec '
    # /proc is still that of the outside, which tells our number there.
    read -r outside rest < /proc/self/stat
    mount -t proc proc /proc
    mkdir "$1/etc"
    cp -a /etc/. "$1/etc"
    mount --bind "$1/etc" /etc
    for folder in /run /var/lib /var/tmp /dev/shm /usr/local/bin; do
        mount -t tmpfs -o mode=755 tmpfs "$folder"
    done
    chmod 1777 /var/tmp /dev/shm
    cp "$2" /usr/local/bin/runu
    ip link set lo up
    echo "$outside"
    # Nobody waits for orphans: the kernel buries them.
    exec env --ignore-signal=CHLD cat > /dev/null
' sh "$1" "$2"

rm -rf "$1"
for group in $made; do
    # Another machine may use it, or clear it away, right now.
    find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
done
