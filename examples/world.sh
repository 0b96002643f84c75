# What the scripts beside this one begin with. They say which programs they `need`, and read this file.
#
# It starts the script again in a private world (own network and mount namespace, own /run and /var/lib), so that nothing on
# this machine is touched, and nothing stays: what is not removed vanishes with the world. Where the kernel allows user
# namespaces it needs no root. Then there are `$bin`, the folder of the programs, and the functions below.

fail() { echo "${0##*/}: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-$here/target/$(uname -m)-unknown-linux-musl/release}
[ $# -le 1 ] || fail "one word at most: the folder with the programs"
for program in bridge host-local netns cnitool; do
    [ -x "$bin/$program" ] || fail "no $program in $bin: \`make build\`, or name the folder with the programs"
done
bin=$(cd "$bin" && pwd)
for program in ip ping unshare "${need[@]}"; do
    command -v "$program" > /dev/null || fail "$program is missing (Debian: apt-get install iproute2 iputils-ping nftables busybox)"
done

if [ -z "${JACKFIELD_WORLD:-}" ]; then
    export JACKFIELD_WORLD=1
    if [ "$(id -u)" = 0 ]; then exec unshare --net --mount "$0" "$bin"; fi
    unshare --user --map-root-user true 2> /dev/null || fail 'this kernel gives no user namespaces to ordinary users: try sudo'
    exec unshare --user --map-root-user --net --mount "$0" "$bin"
fi

mount --make-rprivate /
mount -t tmpfs world /run
mount -t tmpfs world /var/lib
[ -x "$bin/bridge" ] || fail "$bin is out of sight in here, where /run and /var/lib are empty: copy it"
ip link set lo up
export CNI_PATH=$bin PATH=$bin:$PATH

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

# However this ends, nobody stays in the namespaces, and with the script they vanish.
leave() {
    for file in /run/netns/*; do
        [ ! -e "$file" ] || netns pids "${file##*/}" | xargs -r kill || true
    done
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A headline.
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }

# A command, as somebody would type it, and what it says.
run() { printf '$ %s\n' "$*"; "$@"; }
