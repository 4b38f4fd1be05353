# shellcheck shell=bash
# Part of tests/clients.sh: Tools that ask one question.
dig_data() {
    inside dig -r +short "$@" | sort | tr '\n' ';'
}

status_of() {
    inside dig -r "$@" | sed -n 's/.*status: \([A-Z]*\),.*/\1/p'
}

# Asks a resolver that forwards the zone to Rollcall for what is there and what is not.
through() {
    local via=$1 how
    for how in +notcp +tcp; do
        is "$via: A $how" '10.0.0.7;10.0.0.8;' "$(dig_data "@$via" "$how" web.svc.internal A)"
        is "$via: AAAA $how" 'fd00::8;' "$(dig_data "@$via" "$how" web.svc.internal AAAA)"
        is "$via: SRV $how" '0 256 8080 i1.web.svc.internal.;0 512 8081 i2.web.svc.internal.;' \
            "$(dig_data "@$via" "$how" _web._tcp.svc.internal SRV)"
        is "$via: a group $how" '0 1 9000 p1.api.payments.svc.internal.;' \
            "$(dig_data "@$via" "$how" _api._udp.payments.svc.internal SRV)"
        is "$via: NXDOMAIN $how" NXDOMAIN "$(status_of "@$via" "$how" nope.svc.internal)"
        is "$via: NODATA $how" NOERROR "$(status_of "@$via" "$how" down.svc.internal)"
        is "$via: an empty name $how" NOERROR "$(status_of "@$via" "$how" _tcp.svc.internal SRV)"
    done
    is "$via: a whole service of 100" 100 "$(inside dig -r +short "@$via" many.svc.internal A | wc -l)"
    is "$via: SRV of a service of 100" 100 "$(inside dig -r +short "@$via" _many._tcp.svc.internal SRV | wc -l)"
    local before
    before=$(questions SRV)
    for _ in {1..10}; do dig_data "@$via" _metrics._tcp.web.svc.internal SRV >/dev/null; done
    say "(10 questions in a row came to Rollcall as $(($(questions SRV) - before)))"
    # A denial says that it holds for 1 s; whoever counts in whole seconds may make two of it.
    register <<<'late/l1 {"address":"10.0.5.1","port":80}'
    deregister late/l1
    is "$via: gone" NOERROR "$(status_of "@$via" late.svc.internal)"
    local asked=${EPOCHREALTIME/./}
    register <<<'late/l1 {"address":"10.0.5.1","port":80}'
    until [ -n "$(dig_data "@$via" late.svc.internal)" ] || [ $((${EPOCHREALTIME/./} - asked)) -gt 5000000 ]; do
        sleep 0.05
    done
    local tenths=$(((${EPOCHREALTIME/./} - asked) / 100000))
    if [ "$tenths" -le 22 ]; then right "$via: back"; else not "$via: back" 'within 2.2 s' "$tenths tenths"; fi
    say "(a denial was forgotten after $((tenths / 10)).$((tenths % 10)) s)"
}

client_dig() {
    services
    say "$(dig -v 2>&1)"
    local how
    for how in '' +tcp +norec +nocookie +noedns +bufsize=4096 +bufsize=512 +dnssec +ednsopt=65001:00ff +qid=0 \
        '+nsid +subnet=192.0.2.0/24 +padding=128' '+tcp +keepalive' +header-only '+edns=1 +noednsnegotiation'; do
        # shellcheck disable=SC2086 # several options in one word
        case $how in
            +header-only) is "dig $how" FORMERR "$(status_of +nocookie @127.0.0.1 $how)" ;;
            +edns=1*) is "dig $how" BADVERS "$(status_of @127.0.0.1 $how web.svc.internal)" ;;
            *)
                is "dig $how SRV" '0 256 8080 i1.web.svc.internal.;0 512 8081 i2.web.svc.internal.;' \
                    "$(dig_data $how @127.0.0.1 _web._tcp.svc.internal SRV)"
                is "dig $how A" '10.0.0.7;10.0.0.8;' "$(dig_data $how @127.0.0.1 web.svc.internal A)"
                ;;
        esac
    done
    through 127.0.0.1
    is 'dig +cookie: a good one' 1 "$(inside dig -r @127.0.0.1 web.svc.internal +cookie | grep -c 'COOKIE: .*(good)')"
    is 'dig says why' 1 "$(inside dig -r @127.0.0.1 down.svc.internal | grep -c 'EDE: .*down: 1 registered, 0 passing')"
    is 'dig -x' 'i1.web.svc.internal.;' "$(dig_data @127.0.0.1 -x 10.0.0.7)"
    is 'dig HTTPS' '1 s1.secure.svc.internal. alpn="h2,http/1.1" port=443 ipv4hint=10.0.2.1;' \
        "$(dig_data @127.0.0.1 secure.svc.internal HTTPS)"
    is 'no complaints' '' "$(inside dig -r @127.0.0.1 _web._tcp.svc.internal SRV | grep -iE 'warn|malformed|extra' |
        grep -v 'recursion requested but not available')"
}

client_kdig() {
    services
    say "$(kdig --version | head -n 1)"
    local how
    for how in '' +tcp '+tcp +keepopen' +cookie +padding=64 +dnssec +nsid '+bufsize=512'; do
        # shellcheck disable=SC2086 # several options in one word
        is "kdig $how" '0 256 8080 i1.web.svc.internal.;0 512 8081 i2.web.svc.internal.;' \
            "$(inside kdig $how +short @127.0.0.1 _web._tcp.svc.internal SRV | sort | tr '\n' ';')"
    done
    is 'kdig says why' 1 "$(inside kdig +edns @127.0.0.1 down.svc.internal | grep -c 'EDE: .*0 passing')"
    is 'kdig: two on one connection' 2 \
        "$(inside kdig +tcp +keepopen @127.0.0.1 +short i1.web.svc.internal A i2.web.svc.internal A | wc -l)"
    is 'kdig falls back to TCP' 100 "$(inside kdig +short @127.0.0.1 many.svc.internal A | grep -c '^10\.0\.3\.')"
    is 'no complaints' '' "$(inside kdig @127.0.0.1 _web._tcp.svc.internal SRV 2>&1 | grep -E '^;; (WARNING|ERROR)')"
}

client_drill() {
    services
    say "$(drill -v 2>&1 | head -n 1)"
    local how
    for how in -u -t; do
        is "drill $how" 2 "$(inside drill "$how" @127.0.0.1 _web._tcp.svc.internal SRV | grep -c '^_web.*SRV')"
        is "drill $how NXDOMAIN" 1 "$(inside drill "$how" @127.0.0.1 nope.svc.internal | grep -c 'rcode: NXDOMAIN')"
        is "drill $how -D" 1 "$(inside drill "$how" -D @127.0.0.1 i1.web.svc.internal | grep -c '^i1.web.*10.0.0.7')"
    done
    is 'drill -a falls back to TCP' 100 "$(inside drill -a @127.0.0.1 many.svc.internal A | grep -c '^many.*10\.0\.3\.')"
    is 'drill -x' 1 "$(inside drill -x @127.0.0.1 10.0.0.7 | grep -c 'PTR.i1.web.svc.internal')"
}

client_dnspython() {
    services
    python_tools
    say "dnspython $DNSPYTHON"
    inside "$tools/venv/bin/python" "$here/wire.py" | tee "$work/wire" | grep -v '^ok'
    say "($(tail -n 1 "$work/wire"))"
    grep -q ', 0 failed$' "$work/wire" || not dnspython 'no failures' "$(tail -n 1 "$work/wire")"
}
