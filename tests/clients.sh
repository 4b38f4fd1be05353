#!/usr/bin/env bash
# Real resolvers and clients against a real Rollcall. Run by hand, as root on Debian; results are kept in
# docs/interoperability.md.
#
#   tests/clients.sh [NAME…]     all, or those named
#   tests/clients.sh --list
#
# Each client gets a network namespace of its own without a way out, in which /etc/resolv.conf names a Rollcall on
# 127.0.0.1:53. Nothing outside is asked or changed, but for Debian packages that are missing; no daemon is started
# other than in such a namespace, and all end with it. Packages from PyPI go into a folder that is removed.
#
# One line each: `ok NAME …` or `FAILED NAME …`. What was checked and said is in the folder of logs
# (ROLLCALL_CLIENTS_LOGS, else a new one). Exit status 1 when one failed, 2 when it cannot be run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
here=$PWD/tests/clients
export PATH="$PATH:/usr/sbin:/sbin"

DNSPYTHON=2.9.2

# --- What a client needs, and what it is -----------------------------------------------------------------------------

# Names in the order of their running; each is a function `client_NAME` below.
all=(dig kdig drill dnspython glibc musl busybox python node java go unbound bind dnsmasq resolved
    haproxy nginx prometheus dnsviz zonemaster abuse)

# A package for each program, because the program is what a client needs. All need iproute2, curl and python3.
needs() {
    printf '%s\n' 'ip iproute2' 'curl curl' 'python3 python3'
    case $1 in
        dig) echo dig bind9-dnsutils ;;
        kdig) echo kdig knot-dnsutils ;;
        drill) echo drill ldnsutils ;;
        musl) echo musl-gcc musl-tools ;;
        busybox) echo busybox busybox-static ;;
        glibc) echo gcc gcc && echo /usr/include/stdio.h libc6-dev ;;
        node) echo node nodejs ;;
        java) echo javac default-jdk-headless ;;
        go) echo go golang-go && echo gcc gcc && echo /usr/include/stdio.h libc6-dev ;;
        unbound) echo unbound unbound ;;
        bind | zonemaster) echo named bind9 ;;
        dnsmasq) echo dnsmasq dnsmasq-base ;;
        haproxy) echo haproxy haproxy ;;
        nginx) echo nginx nginx-light ;;
        prometheus) echo prometheus prometheus ;;
        dnsviz) echo dnsviz dnsviz ;;
    esac
    case $1 in
        dnspython | abuse) echo ensurepip python3-venv ;;
        zonemaster) echo zonemaster-cli zonemaster-cli ;;
        resolved) echo dnsmasq dnsmasq-base ;;&
        unbound | bind | dnsmasq | resolved) echo dig bind9-dnsutils ;;
    esac
}

has() {
    case $1 in
        /*) [ -e "$1" ] ;;
        ensurepip) python3 -c 'import ensurepip' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

policy=
space=
work=
for part in ground tools programs caches proxies judges; do
    # shellcheck source=/dev/null
    . "$here/$part.sh"
done

# --- Running them ----------------------------------------------------------------------------------------------------

# A folder with what PyPI gives, made once.
python_tools() {
    [ -d "$tools/venv" ] || { python3 -m venv "$tools/venv" && "$tools/venv/bin/pip" -q install "dnspython==$DNSPYTHON"; }
}

run() {
    local name=$1 began=$SECONDS log=$logs/$1/checks.log
    mkdir -p "$logs/$name"
    open_space
    { serve && "client_$name"; } >"$log" 2>&1 </dev/null
    # Whatever ended the server was none of the client's business.
    kill -0 "$server" 2>/dev/null || not 'Rollcall lives on' 'a process' "none; see rollcall.log" >>"$log"
    grep -E '"level":"(ERROR|WARN)"' "$work/rollcall.log" >"$work/complaints"
    [ ! -s "$work/complaints" ] || not 'Rollcall has nothing to complain of' '' "$(head "$work/complaints")" >>"$log"
    cp "$work"/*.log "$logs/$name"
    local verdict=ok count wrong
    wrong=$(sort -u "$work/wrong" 2>/dev/null || true)
    count=$(wc -l <"$work/right" 2>/dev/null || echo 0)
    [ "$count" -gt 0 ] || wrong='nothing was checked'
    [ -z "$wrong" ] || verdict=FAILED
    printf '%s %s:%s; %s checks hold, %s s\n' "$verdict" "$name" "$(tr -s '\n' ' ' <"$work/said")" "$count" \
        $((SECONDS - began))
    if [ "$verdict" = FAILED ]; then
        printf '    %s\n' "${wrong//$'\n'/$'\n'    }"
        printf '    see %s\n' "$logs/$name"
        failed=1
    fi
    close_space
}

[ "${1:-}" != --list ] || { printf '%s\n' "${all[@]}" && exit; }
[ "$(id -u)" -eq 0 ] || die 'network namespaces need root'
if [ $# -gt 0 ]; then chosen=("$@"); else chosen=("${all[@]}"); fi
missing=()
for name in "${chosen[@]}"; do
    [ "$(type -t "client_$name")" = function ] || die "no such client: $name; --list names them"
    while read -r program package; do
        has "$program" || missing+=("$package")
    done < <(needs "$name")
done
logs=${ROLLCALL_CLIENTS_LOGS:-$(mktemp -d /tmp/rollcall-clients.XXXXXX)}
mkdir -p "$logs"
tools=$(mktemp -d)
chmod 755 "$tools"
failed=0
trap finish EXIT
trap 'exit 130' INT TERM
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}" || die "packages cannot be installed, see $logs/install.log"
cargo build --locked -q || die 'Rollcall cannot be built'
rollcall=${CARGO_TARGET_DIR:-$PWD/target}/debug/rollcall
printf 'logs in %s\n' "$logs"
for name in "${chosen[@]}"; do
    run "$name"
done
exit "$failed"
