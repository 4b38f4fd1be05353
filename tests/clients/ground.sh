# shellcheck shell=bash
# Part of tests/clients.sh: the ground that clients stand on.
die() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 2
}

install_packages() {
    local status=0
    # Debian starts a daemon as soon as it is installed, unless this says that it may not.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    {
        apt-get -q -y -o DPkg::Lock::Timeout=300 update &&
            DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
    } >"$logs/install.log" 2>&1 || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    policy=
    return "$status"
}

# A network namespace, and the files that its programs see in /etc. It has loopback and a cable that ends in itself:
# some programs ask for nothing before the host has an address of its own.
open_space() {
    space=rollcall-clients-$$
    work=$(mktemp -d)
    chmod 755 "$work"
    {
        ip netns add "$space" &&
            ip -n "$space" link set lo up &&
            ip -n "$space" address add 127.0.0.2/8 dev lo &&
            ip -n "$space" link add v0 type veth peer name v1 &&
            ip -n "$space" address add 10.53.0.1/24 dev v0 &&
            ip -n "$space" link set v0 up &&
            ip -n "$space" link set v1 up
    } || die 'a network namespace cannot be made'
    mkdir -p "/etc/netns/$space"
    echo 'hosts: files dns' >"/etc/netns/$space/nsswitch.conf"
    resolv_conf 'nameserver 127.0.0.1'
}

resolv_conf() {
    printf '%s\n' "$@" >"/etc/netns/$space/resolv.conf"
}

# Ends what runs in the namespace: nothing is there that was not started here.
close_space() {
    [ -n "$space" ] || return 0
    local pids
    for signal in TERM TERM KILL; do
        mapfile -t pids < <(ip netns pids "$space" 2>/dev/null)
        [ "${#pids[@]}" -gt 0 ] || break
        kill "-$signal" "${pids[@]}" 2>/dev/null
        for _ in {1..30}; do
            [ -n "$(ip netns pids "$space")" ] || break
            sleep 0.1
        done
    done
    ip netns del "$space" 2>/dev/null
    rm -rf "/etc/netns/$space" "$work"
    space=
}

finish() {
    close_space
    [ -z "$policy" ] || rm -f "$policy"
    [ -z "${tools:-}" ] || rm -rf "$tools"
}

# Runs a program in the namespace, for no longer than a minute or `limit` seconds.
inside() {
    timeout -k 5 "${limit:-60}" ip netns exec "$space" env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY "$@"
}

# Starts a program in the namespace that stays until the client is done; its pid is in `started`.
start() {
    local log=$1
    shift
    ip netns exec "$space" "$@" >"$log" 2>&1 &
    started=$!
}

# Waits until a command succeeds, for at most 20 s or `limit` seconds.
until_ok() {
    local what=$1 deadline=$((SECONDS + ${limit:-20}))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            not "$what" 'this to succeed' "$*"
            return 1
        fi
        sleep 0.2
    done
    right "$what"
}

# What was found out, in the log; the failures are counted in a file because parts run in subshells.
right() {
    printf 'ok: %s\n' "$1"
    echo >>"$work/right"
}

not() {
    printf 'NOT: %s\n--- wanted:\n%s\n--- got:\n%s\n---\n' "$1" "$2" "$3"
    echo "$1" >>"$work/wrong"
}

is() {
    if [ "$2" = "$3" ]; then right "$1"; else not "$@"; fi
}

# Adds to the line that is printed for this client.
say() {
    printf ' %s' "$1" >>"$work/said"
}

# A Rollcall in the namespace.
serve() {
    start "$work/rollcall.log" env -i PATH="$PATH" "$rollcall" serve --memory \
        --dns 127.0.0.1:53,127.0.0.1:8600,10.53.0.1:53 --ns-address 10.53.0.1 --http 127.0.0.1:8500 \
        --reverse 10.0.0.0/8 --log-format json
    server=$started
    until_ok 'Rollcall is ready' inside curl -sf http://127.0.0.1:8500/readyz
}

register() {
    inside python3 "$here/register.py"
}

services() {
    register <<'SERVICES'
web/i1 {"address":"10.0.0.7","port":8080,"weight":256,"tags":["primary"],"ports":{"metrics":9090},"meta":{"path":"/a b","version":"1.4.2"}}
web/i2 {"addresses":["10.0.0.8","fd00::8"],"port":8081,"weight":512}
api.payments/p1 {"address":"10.0.1.1","port":9000,"protocol":"udp"}
secure/s1 {"address":"10.0.2.1","port":443,"https":true,"meta":{"alpn":"h2,http/1.1"}}
down/d1 {"address":"10.0.4.1","port":80}
many/m<100> {"address":"10.0.3.<>","port":80}
SERVICES
    inside curl -sf -X PATCH http://127.0.0.1:8500/v1/services/down/instances/d1 -H 'content-type: application/json' \
        -d '{"state":"maintenance"}' >/dev/null
}

# How many questions of a type, or with a response code, Rollcall has answered.
questions() {
    inside curl -s http://127.0.0.1:8500/metrics |
        awk -v "of=\"$1\"" '/^rollcall_dns_requests/ && index($0, of) { n += $2 } END { print n + 0 }'
}

deregister() {
    inside curl -sf -X DELETE "http://127.0.0.1:8500/v1/services/${1%/*}/instances/${1#*/}" >/dev/null
}


# The settings that README.md shows: the block that has a line beginning so.
readme() {
    awk -v line="$1" '
        /^```/ { if (found) { printf "%s", block; exit } open = !open; block = ""; next }
        open { block = block $0 "\n"; if (index($0, line) == 1) found = 1 }' README.md
}
