#!/bin/bash
# This machine's node of a Ray cluster, in the foreground: Ctrl-C or SIGTERM ends it, and no other Ray.
#   infra/machines/start-node.sh head ADDRESS [OPTIONS OF ray start]
#   infra/machines/start-node.sh worker ADDRESS HEAD [OPTIONS OF ray start]
# ADDRESS is the machine's own in the network by which the machines reach each other, HEAD that of the first
# (HEAD:PORT if that was started with another --port than 6379). The token lies in $RAY_AUTH_TOKEN_PATH, or
# else in ~/moinho-token; the first machine makes it, the others need a copy.
set -euo pipefail

fail() {
    echo "start-node.sh: $*" >&2
    exit 2
}

usage="use: start-node.sh head ADDRESS [OPTIONS], or start-node.sh worker ADDRESS HEAD [OPTIONS]"
role=${1:-} address=${2:-}
case "$role" in
    head) [ $# -ge 2 ] || fail "$usage" && shift 2 ;;
    worker) [ $# -ge 3 ] || fail "$usage" && head=$3 && shift 3 ;;
    *) fail "$usage" ;;
esac

interface=$(PATH=$PATH:/usr/sbin ip -o -4 address show to "$address" | awk '{print $2; exit}')
[ -n "$interface" ] || fail "$address is no address of this machine; \`ip -4 address\` shows those it has"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/moinho-token}
token=$RAY_AUTH_TOKEN_PATH
if [ "$role" = head ] && [ ! -e "$token" ]; then
    (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$token")
    echo "a new token lies in $token; copy it to the other machines, mode 600"
fi
[ -s "$token" ] || fail "no token in $token; copy it from the first machine, mode 600"
[ -z "$(find -L "$token" -perm /077)" ] || fail "others may read $token; chmod 600 $token"

# Ray's sockets want a short path; a folder that another user made before is not ours to use.
folder=/tmp/moinho-ray-$(id -u)
mkdir -p -m 700 "$folder"
[ -O "$folder" ] || fail "$folder belongs to another user"
export RAY_TMPDIR=$folder RAY_USAGE_STATS_ENABLED=0
# Gloo, by which the workers of a training find each other, would take the address of the machine's name.
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$interface}

options=(
    --block --node-ip-address="$address" --temp-dir="$folder/ray"
    --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0
)
if [ "$role" = head ]; then
    options+=(--head --port=6379 --dashboard-host="$address" --dashboard-port=8265)
else
    case "$head" in *:*) ;; *) head=$head:6379 ;; esac
    options+=(--address="$head")
fi
exec ray start "${options[@]}" "$@"
