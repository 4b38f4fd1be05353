# shellcheck shell=bash
# Part of tests/clients.sh: Load balancers and scrapers.
haproxy_servers() {
    inside python3 "$here/haproxy.py" "$work/haproxy.sock" web
}

haproxy_has() {
    [ "$(haproxy_servers | wc -l)" -eq "$1" ]
}

# Starts an HAProxy with what README.md shows, changed by a sed script.
haproxy_start() {
    {
        printf '%s\n' 'global' "stats socket $work/haproxy.sock mode 600 level admin" 'maxconn 100' 'defaults' 'mode http' \
            'timeout connect 1s' 'timeout client 5s' 'timeout server 5s'
        readme 'resolvers rollcall' | sed "$1"
    } >"$work/haproxy.cfg"
    haproxy -c -q -f "$work/haproxy.cfg" || not 'the settings are good' 'exit 0' "$?"
    rm -f "$work/haproxy.sock"
    start "$work/haproxy.log" haproxy -db -f "$work/haproxy.cfg"
    haproxy=$started
    limit=5 until_ok 'HAProxy is there' haproxy_servers
}

haproxy_stop() {
    kill "$haproxy"
    wait "$haproxy" 2>/dev/null
    cat "$work/haproxy.log"
}

# Seconds until HAProxy has so many servers.
haproxy_takes() {
    local began=${EPOCHREALTIME/./} tenths
    until_ok "$1" haproxy_has "$2"
    tenths=$(((${EPOCHREALTIME/./} - began) / 100000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10)) >"$work/took"
}

client_haproxy() {
    say "$(haproxy -v | head -n 1 | cut -d' ' -f1-3);"
    local n wanted got watched
    for n in {1..60}; do
        echo "web/i$n {\"address\":\"10.0.3.$n\",\"port\":$((8000 + n)),\"weight\":$((n * 256))}"
    done | register

    haproxy_start ''
    haproxy_takes 'tcp@: all 60 come up' 60
    say "60 servers after $(<"$work/took") s;"
    wanted=$(for n in {1..60}; do echo "10.0.3.$n:$((8000 + n)) $n no check"; done | sort)
    got=$(haproxy_servers | cut -d' ' -f2- | sort)
    is 'tcp@: addresses, ports and weights are those that were registered' "$wanted" "$got"
    sleep 2
    local refreshes
    refreshes=$(questions SRV)
    watched=$(limit=60 inside python3 "$here/haproxy.py" "$work/haproxy.sock" web watch 15 | tail -n 5)
    refreshes=$(($(questions SRV) - refreshes))
    is 'tcp@: nothing changes while nothing changes' '0 changes, 60 servers' "$(tail -n 1 <<<"$watched" | cut -d' ' -f3-)"
    if [ "$refreshes" -ge 10 ]; then right "tcp@: $refreshes refreshes"; else not 'tcp@: refreshes' '10 or more' "$refreshes"; fi
    say "no change over $refreshes refreshes;"

    deregister web/i7
    haproxy_takes 'tcp@: one that is deregistered goes' 59
    say "one deregistered is gone after $(<"$work/took") s,"
    is 'tcp@: and it is that one' 0 "$(haproxy_servers | grep -c '10\.0\.3\.7:')"
    register <<<'web/i7 {"address":"10.0.3.7","port":8007,"weight":1792}'
    haproxy_takes 'tcp@: one that is registered comes' 60
    say "back after $(<"$work/took") s;"
    for n in 10:25600 11:1 12:257 13:0 14:65535; do
        inside curl -sf -X PATCH "http://127.0.0.1:8500/v1/services/web/instances/i${n%:*}" \
            -H 'content-type: application/json' -d "{\"weight\":${n#*:}}" >/dev/null
    done
    sleep 3
    is 'tcp@: weights that were changed' '10:100 11:1 12:2 13:0 14:256' \
        "$(haproxy_servers | sed -nE 's/^[^ ]* 10\.0\.3\.(1[0-4]):[0-9]* ([0-9]*) .*/\1:\2/p' | sort | xargs)"
    inside curl -sf -X DELETE http://127.0.0.1:8500/v1/services/web >/dev/null
    # An empty answer is `hold other` to HAProxy.
    limit=60 haproxy_takes 'tcp@: when all have gone' 0
    say "all deregistered: none left after $(<"$work/took") s;"
    haproxy_stop

    for n in {1..60}; do
        echo "web/i$n {\"address\":\"10.0.3.$n\",\"port\":$((8000 + n)),\"weight\":$((n * 256))}"
    done | register
    # Over UDP, TC on SRV leaves HAProxy with the part that came, and it asks nobody again.
    haproxy_start 's/tcp@//'
    sleep 3
    got=$(haproxy_servers | wc -l)
    if [ "$got" -gt 20 ] && [ "$got" -lt 60 ]; then right "udp: $got of 60"; else not 'udp: a part of 60' '21 to 59' "$got"; fi
    watched=$(inside python3 "$here/haproxy.py" "$work/haproxy.sock" web watch 12 | tail -n 5)
    is 'udp: the part stays the same' "0 changes, $got servers" "$(tail -n 1 <<<"$watched" | cut -d' ' -f3-)"
    say "over UDP $got of 60, no change over 12 s;"
    haproxy_stop
    # On A it is an error.
    register <<<'many/m<100> {"address":"10.0.3.<>","port":80}'
    haproxy_start 's/_web._tcp.svc.internal/many.svc.internal:80/'
    haproxy_takes 'tcp@: A of a service of 100' 100
    haproxy_stop
    haproxy_start 's/tcp@//; s/_web._tcp.svc.internal/many.svc.internal:80/'
    sleep 4
    is 'udp: A that does not fit' 0 "$(haproxy_servers | wc -l)"
    say 'A of 100: all over TCP, none over UDP;'
    haproxy_stop
    for n in {21..60}; do deregister "web/i$n"; done
    haproxy_start 's/tcp@//'
    haproxy_takes 'udp: 20 that fit come up' 20
    watched=$(limit=60 inside python3 "$here/haproxy.py" "$work/haproxy.sock" web watch 12 | tail -n 5)
    is 'udp: nothing changes while nothing changes' '0 changes, 20 servers' "$(tail -n 1 <<<"$watched" | cut -d' ' -f3-)"
    say "20 of 20 (fits), no change over 12 s"
    haproxy_stop
    haproxy_start 's/hold obsolete.*/& \n    hold other 3s/'
    haproxy_takes 'hold other: 20 come up' 20
    inside curl -sf -X DELETE http://127.0.0.1:8500/v1/services/web >/dev/null
    limit=8 haproxy_takes 'hold other: none left within 8 s' 0
    haproxy_stop
}

client_nginx() {
    say "$(nginx -v 2>&1)"
    local n
    for n in 1 2; do
        mkdir -p "$work/www$n"
        echo "a$n" >"$work/www$n/index.html"
        start "$work/www$n.log" python3 -m http.server --bind "127.0.0.1$n" --directory "$work/www$n" 9001
        register <<<"app/a$n {\"address\":\"127.0.0.1$n\",\"port\":9001}"
    done
    {
        printf '%s\n' 'daemon off;' "pid $work/nginx.pid;" 'error_log stderr info;' 'events {}' 'http {' 'access_log off;' \
            "client_body_temp_path $work;" "proxy_temp_path $work;" "fastcgi_temp_path $work;" "uwsgi_temp_path $work;" \
            "scgi_temp_path $work;" 'server {' 'listen 127.0.0.1:8080;'
        readme 'resolver 127' | sed 's/web.svc.internal/app.svc.internal/; s/:8080/:9001/'
        printf '%s\n' '}' '}'
    } >"$work/nginx.conf"
    start "$work/nginx.log" nginx -e stderr -p "$work" -c "$work/nginx.conf"
    until_ok 'nginx answers' inside curl -sf http://127.0.0.1:8080/
    got() {
        for _ in {1..20}; do inside curl -s -o - -w '%{http_code}\n' http://127.0.0.1:8080/; done | sort -u | tr '\n' ' '
    }
    is 'both are used' '200 a1 a2 ' "$(got)"
    deregister app/a1
    sleep 2.2
    is 'one deregistered is not' '200 a2 ' "$(got)"
    deregister app/a2
    sleep 2.2
    is 'nobody: 502' 502 "$(inside curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/)"
    register <<<'app/a1 {"address":"127.0.0.11","port":9001}'
    sleep 2.2
    is 'back' '200 a1 ' "$(got)"
    cat "$work/nginx.log"
}

client_prometheus() {
    services
    say "$(prometheus --version 2>&1 | head -n 1 | cut -d' ' -f1-3)"
    {
        printf '%s\n' 'global:' '  scrape_interval: 5s' '  scrape_timeout: 1s'
        readme scrape_configs: | sed 's/refresh_interval: .*/refresh_interval: 1s/'
        cat <<'CONF'
  - job_name: many
    dns_sd_configs:
      - names: [_many._tcp.svc.internal]
        refresh_interval: 1s
  - job_name: a
    dns_sd_configs:
      - names: [web.svc.internal]
        type: A
        port: 8080
        refresh_interval: 1s
CONF
    } >"$work/prometheus.yml"
    start "$work/prometheus.log" prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
        --web.listen-address=127.0.0.1:9090 --storage.tsdb.retention.time=1h
    targets() {
        inside curl -s 'http://127.0.0.1:9090/api/v1/targets?state=active' | python3 -c '
import json, sys
targets = json.load(sys.stdin)["data"]["activeTargets"]
found = sorted(one["discoveredLabels"]["__address__"] for one in targets if one["scrapePool"] == sys.argv[1])
print(len(found) if len(found) > 10 else " ".join(found))' "$1"
    }
    found() { [ "$(targets "$1")" = "$2" ]; }
    until_ok 'SRV' found web 'i1.web.svc.internal:8080 i2.web.svc.internal:8081'
    until_ok 'SRV of a service of 100' found many 100
    until_ok 'A' found a '10.0.0.7:8080 10.0.0.8:8080'
    deregister web/i1
    until_ok 'one deregistered goes' found web i2.web.svc.internal:8081
    deregister web/i2
    # An empty answer is an answer: it does not keep who was there.
    until_ok 'nobody is left' found web ''
    grep -E 'level=(warn|error)' "$work/prometheus.log" | grep -v scrape | head
}
