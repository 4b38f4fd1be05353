#!/usr/bin/env bash
# The API against its document: is that OpenAPI 3.1, and does the server do what it says, whatever it is sent?
#
#   tests/openapi.sh [ARGUMENT…]    further arguments go to schemathesis; a long run is `--max-time 600 --seed 7`
#
# What schemathesis and the validator need comes from PyPI, once, into target/. The server keeps nothing, listens on ports
# of loopback that are free, and ends with this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

here=$PWD/tests/openapi
work=$PWD/target/openapi
venv=$work/venv
server=

finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
}
trap finish EXIT

# Made anew when the requirements have changed, or when the last attempt did not come to its end.
make_venv() {
    if cmp -s "$here/requirements.txt" "$venv/made-of.txt" && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/made-of.txt"
}

# Sets `address` to where the server listens, which its log tells.
start_server() {
    cargo build --quiet --locked --bin rollcall
    # Its log is looked at before it may have begun.
    : >"$work/server.log"
    "${CARGO_TARGET_DIR:-target}/debug/rollcall" serve --memory --dns 127.0.0.1:0 --http 127.0.0.1:0 --log-format json \
        >"$work/server.log" 2>&1 &
    server=$!
    address=
    for _ in {1..100}; do
        address=$(sed -n 's/.*"http\.address":"\([^"]*\)".*/\1/p' "$work/server.log")
        [ -z "$address" ] || return 0
        kill -0 "$server" || break
        sleep 0.1
    done
    cat "$work/server.log" >&2
    return 1
}

# The server ends as it should, and has not said that it is at fault.
stop_server() {
    local status=0
    kill "$server"
    wait "$server" || status=$?
    server=
    if [ "$status" -ne 0 ] || grep -E '"level":"ERROR"|panicked' "$work/server.log" >&2; then
        printf 'the server ended with %d; it said what stands in %s\n' "$status" "$work/server.log" >&2
        return 1
    fi
}

mkdir -p "$work"
make_venv
"$venv/bin/openapi-spec-validator" "$here/document.json"
start_server
# Somebody to report on; hooks.py knows of it.
ROLLCALL_HTTP_ADDR=$address "${CARGO_TARGET_DIR:-target}/debug/rollcall" register reported --id r1 --address 10.9.9.9 \
    --port 80 --check ttl --output json >"$work/reported.json"
cd "$work"
SCHEMATHESIS_HOOKS="$here/hooks.py" PYTHONDONTWRITEBYTECODE=1 "$venv/bin/schemathesis" \
    --config-file "$here/schemathesis.toml" run "http://$address/openapi.json" "$@"
stop_server
