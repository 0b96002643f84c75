#!/bin/bash
# Draws a small node with three networks: examples/graph.sh FOLDER_WITH_THE_PROGRAMS [FORMAT] > graph.svg
#
# docs/graph.svg was made by this. Everything happens in a private world, see demo.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$(cd "${1:-$here/target/$(uname -m)-unknown-linux-musl/release}" && pwd)
format=${2:-svg}

if [ -z "${JACKFIELD_GRAPH:-}" ]; then
    export JACKFIELD_GRAPH=1
    exec unshare --user --map-root-user --net --mount --pid --fork --mount-proc "$0" "$bin" "$format"
fi

mount --make-rprivate /
mount -t tmpfs graph /run
mount -t tmpfs graph /var/lib
ip link set lo up
export CNI_PATH=$bin NETCONFPATH=$here/conf

attach() { # NETWORK NAME
    [ -e "/run/netns/$2" ] || { "$bin/netns" add "$2"; "$bin/netns" exec "$2" ip link set lo up; }
    CNI_IFNAME=${3:-eth0} "$bin/cnitool" add "$1" "/run/netns/$2" > /dev/null
}
attach jackfield web-1
attach jackfield web-2
attach jackfield api
attach published api eth1
attach published db
attach routed batch
"$bin/netns" add idle

"$bin/netns" graph --format "$format"
