#!/bin/bash
# The network of a container step by step, by hand and by plugins:
#
#     examples/by_hand.sh [FOLDER_WITH_THE_PROGRAMS]
#
# Two hosts, which are network namespaces here, each get a bridge with one container. On the host `hand` every step is a
# command, and below it is written who does the same on the host `plug`, where one call does all of it. In the end both are
# compared.
#
#                    outside
#         198.51.100.1   203.0.113.1
#              |              |
#     uplink 198.51.100.2  uplink 203.0.113.2
#            hand           plug
#        br0 10.9.0.1    br0 10.9.0.1
#              |              |
#      eth0 10.9.0.2      eth0 10.9.0.2
#          hand-box       plug-box
set -euo pipefail
need=(nft)
. "$(dirname "$0")/world.sh"
export NETCONFPATH=/run/networks

# Who does it on the other host: the key of the configuration, and what is sent to the kernel.
plugins() { printf '    | %-42s %s\n' "$1" "$2"; }
# A command on one of the hosts.
on() { netns exec "$@"; }
hand() { run on hand "$@" | sed "1s/^\\$ on hand /$ /"; }

say 'Two hosts, and something outside that knows no way to 10.9.0.0/24'
netns add outside
for host in hand:198.51.100 plug:203.0.113; do
    name=${host%:*} prefix=${host#*:}
    netns add "$name"
    ip -n "$name" link add uplink type veth peer name "$name" netns outside
    ip -n "$name" address add "$prefix.2/24" dev uplink
    ip -n outside address add "$prefix.1/24" dev "$name"
    ip -n "$name" link set uplink up
    ip -n outside link set "$name" up
    echo "$name has $prefix.2, outside is $prefix.1"
done

say '1. A network namespace: links, addresses, routes and rules of its own, and nothing in it but lo'
run ip netns add hand-box
run ip -n hand-box link set lo up
plugins 'netns add plug-box' 'unshare(2), and a mount that keeps the namespace'
plugins '"type": "loopback"' 'RTM_NEWLINK: lo, up'
run netns add plug-box

say '2. A bridge: a switch in the kernel'
hand ip link add br0 type bridge
hand ip link set br0 up
plugins '"type": "bridge", "bridge": "br0"' 'RTM_NEWLINK: br0, kind bridge, up; one that is there is taken'

say '3. A veth pair: a cable with two ends, one of them in the container'
hand ip link add veth0 type veth peer name eth0 netns hand-box
plugins 'CNI_NETNS, CNI_IFNAME' 'RTM_NEWLINK: kind veth, its peer eth0 in the namespace'

say '4. The end on the host becomes a port of the bridge'
hand ip link set veth0 master br0 up
plugins '' 'RTM_NEWLINK: IFLA_MASTER, up'

say '5. The end in the container gets an address'
run ip -n hand-box address add 10.9.0.2/24 broadcast 10.9.0.255 dev eth0
run ip -n hand-box link set eth0 up
plugins '"ipam": {"type": "host-local", ...}' 'a free address of the subnet, and a file that says who has it'
plugins '' 'RTM_NEWADDR; RTM_NEWLINK: eth0, up'

say '6. The bridge gets one too, and is the gateway'
hand ip address add 10.9.0.1/24 broadcast 10.9.0.255 dev br0
plugins '"isGateway": true' 'RTM_NEWADDR'

say '7. What is not on the cable goes to the gateway'
run ip -n hand-box route add default via 10.9.0.1
plugins '"routes": [{"dst": "0.0.0.0/0"}]' 'RTM_NEWROUTE: default, RTA_GATEWAY'

say '8. The host passes on what is not for itself'
hand sysctl -w net.ipv4.ip_forward=1
plugins '"isGateway": true' 'the same file below /proc/sys'

say '9. What leaves the subnet gets the address of the host, for nobody out there knows the way back'
hand nft add table ip by_hand
hand nft 'add chain ip by_hand post { type nat hook postrouting priority srcnat; }'
hand nft add rule ip by_hand post ip saddr 10.9.0.0/24 ip daddr != 10.9.0.0/24 masquerade
plugins '"ipMasq": true' 'NFT_MSG_NEWTABLE, NEWCHAIN, NEWRULE, NEWSETELEM, in one batch'

say 'On the other host: the configuration, and one call'
mkdir "$NETCONFPATH"
cat > "$NETCONFPATH/boxes.conflist" << END
{
  "cniVersion": "1.0.0",
  "name": "boxes",
  "plugins": [
    {
      "type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{ "subnet": "10.9.0.0/24" }]],
        "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "loopback" }
  ]
}
END
run cat "$NETCONFPATH/boxes.conflist"
echo '$ cnitool add boxes /run/netns/plug-box'
on plug cnitool add boxes /run/netns/plug-box > /dev/null

# What makes the network, without what is different each time: names of host ends, MAC addresses, indexes.
facts() { # HOST
    local box=$1-box
    echo 'host: bridges'; ip -n "$1" -o link show type bridge | sed 's/^[0-9]*: \([^:]*\):.*\(mtu [0-9]*\).*/\1 \2/'
    echo 'host: ports of br0'; ip -n "$1" -o link show type veth master br0 | sed 's/.*\(mtu [0-9]*\).*/a veth, \1/'
    echo 'host: address of br0'; ip -n "$1" -o -4 address show dev br0 | sed 's/.* \(inet [^\\]*[^\\ ]\) *\\.*/\1/'
    echo 'host: forwarding'; on "$1" cat /proc/sys/net/ipv4/ip_forward
    echo 'container: addresses'; ip -n "$box" -o -4 address | sed 's/^[0-9]*: \([^ ]* *inet [^\\]*[^\\ ]\) *\\.*/\1/'
    echo 'container: links'; ip -n "$box" -o link | sed 's/^[0-9]*: \([^:@]*\).*\(mtu [0-9]*\).*/\1 \2/'
    echo 'container: routes'; ip -n "$box" -4 route
}

say 'The same network?'
facts hand > /run/hand
facts plug > /run/plug
cat /run/hand
diff /run/hand /run/plug || fail 'by hand (<) and by the plugin (>) there are different networks'
echo 'By hand and by the plugin: no difference.'

say 'And it works the same: to the gateway, and outside, where only the address of the host can be answered'
for host in hand:198.51.100.1 plug:203.0.113.1; do
    run netns exec "${host%:*}-box" ping -q -c 1 -w 20 10.9.0.1 | grep -e '^\$' -e received
    run netns exec "${host%:*}-box" ping -q -c 1 -w 20 "${host#*:}" | grep -e '^\$' -e received
done

say 'The whole picture'
run netns graph

say 'Away with it: by hand each thing by itself'
hand nft delete table ip by_hand
hand ip link delete veth0
hand ip link delete br0
run ip netns delete hand-box

say 'By the plugin in one call, which leaves the bridge: another container may be joining it this instant'
echo '$ cnitool del boxes /run/netns/plug-box'
on plug cnitool del boxes /run/netns/plug-box
run netns delete plug-box
run ip -n plug link delete br0

say 'What is left'
left=$(for host in hand plug; do ip -n "$host" -o link | grep -v -e ' lo: ' -e ' uplink@' || true; on "$host" nft list ruleset; done
    find /run/jackfield /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*')
[ -z "$left" ] || fail "something stayed: $left"
for host in hand plug outside; do netns delete "$host"; done
echo 'nothing: no link, no rule, no lease'
