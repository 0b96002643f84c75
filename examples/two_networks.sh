#!/bin/bash
# Two networks that are kept from each other, as Docker makes them, and a published port:
#
#     examples/two_networks.sh [FOLDER_WITH_THE_PROGRAMS]
#
#               outside 192.0.2.2
#                  |
#      host 192.0.2.1, port 8080 ------------.
#                  |                         |
#      bridge front 10.31.0.1        bridge back 10.32.0.1
#          |            |                    |
#         web          app                   db
#
# A network is a bridge and a conflist: `bridge` joins containers to it, `firewall` keeps its bridge from others that have a
# policy too, `portmap` leads ports of the host to a container.
set -euo pipefail
need=(busybox)
. "$(dirname "$0")/world.sh"
export NETCONFPATH=/run/networks

network() { # NAME NUMBER
    cat > "$NETCONFPATH/$1.conflist" << END
{
  "cniVersion": "1.0.0",
  "name": "$1",
  "plugins": [
    {
      "type": "bridge", "bridge": "$1", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{ "subnet": "10.$2.0.0/24" }]],
        "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    { "type": "firewall", "ingressPolicy": "same-bridge" }
  ]
}
END
}

# docker run --network NETWORK --name NAME [--publish ...]
container() { # NAME NETWORK [PORTS]
    run netns add "$1"
    if [ $# = 3 ]; then printf "\$ export CAP_ARGS='%s'\n" "$3"; fi
    printf '$ cnitool add %s /run/netns/%s\n' "$2" "$1"
    CAP_ARGS=${3:-} cnitool add "$2" "/run/netns/$1" > /dev/null
    printf '%s has %s\n' "$1" "$(address "$1")"
}
address() { ip -n "$1" -o -4 address show dev eth0 | sed 's/.* inet \([^/]*\).*/\1/'; }

reaches() { # NAME PROGRAM ...
    printf '$ netns exec %s\n' "$*"
    netns exec "$@" | sed 's/^/    /' || fail "$1 has no answer, and should have one"
}
does_not_reach() {
    printf '$ netns exec %s\n' "$*"
    if netns exec "$@" > /dev/null 2>&1; then fail "$1 has an answer, and should have none"; fi
    echo '    no answer'
}
ask() { echo timeout "$1" busybox wget -q -O - "http://$2/"; } # SECONDS WHERE

say 'Two networks: a conflist for each, which only differ in name and subnet'
mkdir "$NETCONFPATH"
network front 31
network back 32
run cat "$NETCONFPATH/front.conflist"

say 'Three containers; web has a page on port 80, which is port 8080 of the host'
container web front '{"portMappings": [{"hostPort": 8080, "containerPort": 80}]}'
container app front
container db back
web=$(address web) db=$(address db)
mkdir /run/www
echo 'the page of web' > /run/www/index.html
netns exec web busybox httpd -p 80 -h /run/www

say 'Somebody outside, who knows the host and nothing behind it'
run netns add outside
run ip link add up0 type veth peer name eth0 netns outside
run ip address add 192.0.2.1/24 dev up0
run ip link set up0 up
run ip -n outside address add 192.0.2.2/24 dev eth0
run ip -n outside link set eth0 up

say 'Within a network they reach each other'
reaches app ping -q -c 1 -w 20 "$web"
reaches app $(ask 20 "$web")

say 'From one network to the other they do not: firewall drops it in both directions'
does_not_reach db ping -q -c 1 -W 0.2 "$web"
does_not_reach app ping -q -c 1 -W 0.2 "$db"

say 'All of them reach the world, under the address of the host (ipMasq): outside could not answer 10.32.0.2'
reaches db ping -q -c 1 -w 20 192.0.2.2

say 'Whoever is outside reaches what is published, and so does the host itself'
run portmap --list
reaches outside $(ask 20 192.0.2.1:8080)
run $(ask 20 127.0.0.1:8080)

say 'The other network does not: the address of the host is no way around'
does_not_reach db $(ask 0.2 192.0.2.1:8080)

say 'Remove everything'
run kill $(netns pids web)
for attachment in web:front app:front db:back; do
    run cnitool del "${attachment#*:}" "/run/netns/${attachment%:*}"
    run netns delete "${attachment%:*}"
done
run ip link delete up0
run netns delete outside
# No plugin deletes a bridge: a container may be joining it this instant.
run ip link delete front
run ip link delete back

say 'What is left'
left=$(netns list; ip -o link show | grep -v ' lo: ' || true; nft list ruleset 2> /dev/null || true
    find /run/jackfield /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*')
[ -z "$left" ] || fail "something stayed: $left"
echo 'nothing: no namespace, no link, no rule, no lease'
