#!/bin/bash
# Two network namespaces on one bridge: `make demo`, or examples/demo.sh FOLDER_WITH_THE_PROGRAMS
#
# Everything happens in a private world (world.sh), so that nothing on this machine is touched. Where the kernel allows
# user namespaces it needs no root.
set -euo pipefail
need=()
. "$(dirname "$0")/world.sh"
export NETCONFPATH=$here/conf
pods=(red blue)

pod() { printf '$ netns exec %s\n' "$*"; "$bin/netns" exec "$@"; }

remove() {
    trap '' INT TERM HUP
    for name in "${pods[@]}"; do
        [ -e "/run/netns/$name" ] || continue
        run cnitool del jackfield "/run/netns/$name"
        run netns delete "$name"
    done
    # No plugin deletes a bridge, for another container may be joining it this instant.
    if ip link show jack0 >/dev/null 2>&1; then echo '$ ip link delete jack0'; ip link delete jack0; fi
}

# However this ends, nothing stays.
on_exit() {
    local code=$?
    leave
    if [ $code = 0 ]; then return; fi
    set +e
    if [ $code -gt 128 ]; then say 'interrupted: removing everything'; else say 'failed: removing everything'; fi
    remove
    exit $code
}
trap on_exit EXIT

say 'In a private world, where /run and /var/lib are empty:'
printf '$ export CNI_PATH=%s\n$ export NETCONFPATH=%s\n' "$CNI_PATH" "$NETCONFPATH"

say 'Two namespaces, and an attachment to the network of conf/10-jackfield.conflist for each'
for name in "${pods[@]}"; do
    run netns add "$name"
    run cnitool add jackfield "/run/netns/$name"
    echo
done

say 'What they have got: addresses and routes of both families'
for name in "${pods[@]}"; do
    pod "$name" ip -brief address show dev eth0
    pod "$name" ip route
    pod "$name" ip -6 route show default
done

address() { "$bin/netns" exec "$1" ip -o "$2" address show dev eth0 scope global | sed -n 's/.* inet6* \([^/]*\).*/\1/p'; }
blue4=$(address blue -4) blue6=$(address blue -6)

say 'red talks to blue, and to its gateway on the bridge'
pod red ping -c 2 -i 0.2 -W 2 "$blue4"
pod red ping -c 2 -i 0.2 -W 2 "$blue6"
pod red ping -c 1 -W 2 -q 10.22.0.1

say 'The picture: who is wired to whom'
run netns graph "${pods[@]}"

say 'CHECK compares the kernel with what ADD answered'
run cnitool check jackfield /run/netns/red
echo 'red is as it should be'

say 'Remove everything'
remove

say 'What is left'
left=$(ls /run/netns; ip -o link show | grep -v ' lo: ' || true
    find /run/jackfield /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*' 2>/dev/null || true)
if [ -n "$left" ]; then echo "$left"; exit 1; fi
echo 'nothing: no namespace, no link, no lease'
