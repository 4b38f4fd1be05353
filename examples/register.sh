#!/bin/sh
# Keeps an instance listed for as long as this script runs: registers it with a lease, renews the lease, registers
# again when the lease is gone, and at the end drains, waits until no cache holds it, and deregisters. End the service
# after this script. Start it beside a service that cannot do this itself.
#
#   examples/register.sh SERVICE ID PORT [ADDRESS]
#   examples/register.sh web "$(hostname)" 8080
#
# ADDRESS is where the service listens; without it Rollcall takes the address that the request comes from.
#
# In a rolling restart the new script may start before the old one has ended: it takes the registration over, and the
# old one leaves it alone.
#
#   ROLLCALL_HTTP_ADDR   where Rollcall's API is            (localhost:8500)
#   LEASE_TTL            how long it stays listed when this script dies without a word, at least 2s  (15s)
#   RENEW_EVERY          seconds between renewals; a third of LEASE_TTL survives a lost one           (5)
#   DRAIN_MAX            seconds that the end may take until no cache holds it; 0 leaves at once              (30)
#   GENERATION           a number that grows with each start  (seconds since 1970)
set -eu

if [ $# -lt 3 ] || [ $# -gt 4 ]; then
    echo "usage: $0 SERVICE ID PORT [ADDRESS]" >&2
    exit 2
fi
service=$1 id=$2 port=$3 address=${4:-}
lease_ttl=${LEASE_TTL:-15s}
renew_every=${RENEW_EVERY:-5}
drain_max=${DRAIN_MAX:-30}
generation=${GENERATION:-$(date +%s)}

case $port in
    '' | *[!0-9]* | 0* | ??????*)
        echo "$0: PORT is a number from 1 to 65535, not '$port'" >&2
        exit 2
        ;;
esac

api=${ROLLCALL_HTTP_ADDR:-localhost:8500}
instance="http://${api#http://}/v1/services/$service/instances/$id"

body="{\"port\": $port, \"lease_ttl\": \"$lease_ttl\", \"generation\": $generation"
if [ -n "$address" ]; then
    body="$body, \"address\": \"$address\""
fi
body="$body}"

# How long an answer may take.
seconds=5

# Sends a request and leaves the response's status in $status, its body in $answer. No response at all is status 000.
call() {
    answer=$(curl --silent --max-time "$seconds" --write-out '\n%{http_code}' "$@") || true
    status=$(printf '%s\n' "$answer" | tail -n 1)
    answer=$(printf '%s\n' "$answer" | sed '$d')
}

# The revision of the instance in $answer.
revision_of_answer() {
    printf '%s\n' "$answer" | sed -n 's/.*"revision":\([0-9][0-9]*\).*/\1/p'
}

register() {
    call --request PUT "$instance" --header 'content-type: application/json' --data "$body"
    case $status in
        200 | 201)
            echo "$service/$id is registered"
            revision=$(revision_of_answer)
            # From here on there is something of ours to take away, and not before: what is listed under this id until
            # then is another's.
            trap leave EXIT
            ;;
        # The server is starting, or away: the next round tries again.
        000 | 503) echo "$service/$id is not registered yet: no answer from $api" >&2 ;;
        # It says what is wrong with the registration, and saying the same again would not help.
        *)
            echo "$service/$id cannot be registered: $answer" >&2
            exit 1
            ;;
    esac
}

renew() {
    call --request POST "$instance/renew"
    case $status in
        200) ;;
        # 410: the lease has lapsed, because this machine slept or the network was cut for too long.
        # 404: the instance is not there, because somebody deregistered it or the server restarted without a store.
        404 | 410) register ;;
        # Whatever it is, the lease lives on for a while, and the next renewal may work.
        *) echo "$service/$id was not renewed: status $status from $api" >&2 ;;
    esac
}

# On any end, so that nobody is sent to a service that has gone.
leave() {
    trap - EXIT
    kill "$pause" 2>/dev/null || true
    # Out of answers now, but only as what we registered: 412 if it has changed since, and then we look whether it is ours.
    for _ in 1 2 3 4 5; do
        [ "$drain_max" -gt 0 ] || break
        seconds=$drain_max
        call --request POST "$instance/drain?wait=true" --header "if-match: \"$revision\""
        seconds=5
        [ "$status" = 412 ] || break
        call "$instance"
        case $status$answer in
            200*"\"generation\":$generation,"*) revision=$(revision_of_answer) ;;
            *) break ;;
        esac
    done
    for _ in 1 2 3 4 5; do
        call --request DELETE "$instance" --header "if-match: \"$revision\""
        case $status in
            # 404 is fine: it had left already.
            204 | 404)
                echo "$service/$id has left"
                return
                ;;
            412) ;;
            *) break ;;
        esac
        # 412: it has changed since we registered it. Its health most likely, and then it is still ours.
        call "$instance"
        case $status$answer in
            200*"\"generation\":$generation,"*) revision=$(revision_of_answer) ;;
            200*)
                echo "$service/$id stays: another start of it has registered it anew"
                return
                ;;
        esac
    done
    echo "$service/$id was not deregistered: status $status from $api; it leaves when its lease ends" >&2
}

pause=
revision=
trap 'exit 0' HUP INT TERM

register
while :; do
    # A shell handles signals only between commands, or while it waits for one in the background.
    sleep "$renew_every" &
    pause=$!
    wait "$pause"
    # What is listed under this id before we have registered is another's, and its lease is not ours to renew.
    if [ -n "$revision" ]; then renew; else register; fi
done
