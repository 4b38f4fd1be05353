#!/usr/bin/env bash
# Everything that has to hold before a change is taken, and all that CI runs: format, lints, documentation, tests.
#
# Runs from any directory. Installs what the system tests need where it is missing (Debian, as root or through sudo).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Name servers live where only root's PATH looks.
export PATH="$PATH:/usr/sbin:/sbin"

current=
began=
policy=
log=$(mktemp)

finish() {
    local status=$?
    if [ -n "$policy" ]; then
        as_root rm -f "$policy"
    fi
    rm -f "$log"
    if [ "$status" -ne 0 ] && [ -n "$current" ]; then
        printf '== %s: failed after %d s\n' "$current" $((SECONDS - began)) >&2
    fi
}
trap finish EXIT

step() {
    current=$1
    began=$SECONDS
    shift
    printf '== %s\n' "$current"
    "$@"
    printf '== %s: %d s\n' "$current" $((SECONDS - began))
    current=
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

as_root() {
    if is_root; then "$@"; else sudo -n "$@"; fi
}

# Whether what needs root can be done at all.
can_be_root() {
    is_root || sudo -n true 2>/dev/null
}

# A package for each program, because the program is what the tests need.
missing_packages() {
    local program package
    while read -r program package; do
        command -v "$program" >/dev/null || printf '%s\n' "$package"
    done <<'PROGRAMS'
dig bind9-dnsutils
kdig knot-dnsutils
unbound unbound
dnsmasq dnsmasq-base
ip iproute2
curl curl
python3 python3
PROGRAMS
    python3 -c 'import ensurepip' 2>/dev/null || printf '%s\n' python3-venv
}

# Runs a command that says much; what it said is shown when it fails.
quietly() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        return 1
    }
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    # Debian starts a name server as soon as it is installed, unless this says that it may not.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    quietly as_root "${apt[@]}" update
    quietly as_root "${apt[@]}" install --no-install-recommends "$@"
    if [ -n "$policy" ]; then
        as_root rm -f "$policy"
        policy=
    fi
}

# The client without the server: it builds, and brings few packages to whoever uses it.
client_alone() {
    local features=(--no-default-features --features client) packages
    cargo clippy --lib "${features[@]}" --locked -- -D warnings
    packages=$(cargo tree "${features[@]}" --locked --edges normal --prefix none | sed 's/ (\*)$//' | sort -u | wc -l)
    if [ "$packages" -gt 35 ]; then
        printf 'the client alone is %d packages, which is more than 35\n' "$packages" >&2
        return 1
    fi
}

tests() {
    if is_root; then
        ROLLCALL_TEST_SYSTEM=1 cargo test --locked
    else
        cargo test --locked
    fi
}

# Network namespaces need root, building does not: the test program alone runs through sudo.
system_tests() {
    cargo test --locked --test integration \
        --config "target.'cfg(unix)'.runner = ['sudo', '-n', 'env', 'PATH=$PATH', 'ROLLCALL_TEST_SYSTEM=1']" \
        -- system:: partition:: the_script_
}

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ] && can_be_root; then
    step "install ${missing[*]}" install_packages "${missing[@]}"
fi
step 'format' cargo fmt --check
step 'lints' cargo clippy --all-targets --locked -- -D warnings
step 'client alone' client_alone
RUSTDOCFLAGS='-D warnings' step 'documentation' cargo doc --no-deps --locked --document-private-items
step 'tests' tests
step 'API against its document' quietly tests/openapi.sh
if ! is_root && can_be_root; then
    step 'system tests' system_tests
elif ! is_root; then
    echo '== system tests: not run, because they need root or sudo without a password'
fi
printf '== all passed in %d s\n' "$SECONDS"
