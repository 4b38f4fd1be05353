# shellcheck shell=bash
# Part of tests/clients.sh: Testers of zones and servers, and abuse.
client_dnsviz() {
    services
    # dnsviz looks for a way out before it asks anything.
    ip -n "$space" route add default dev v0
    say "$(dpkg-query -W -f 'dnsviz ${Version}' dnsviz)"
    local names=(svc.internal web.svc.internal i1.web.svc.internal _web._tcp.svc.internal secure.svc.internal
        down.svc.internal nope.svc.internal many.svc.internal _services._dns-sd._udp.svc.internal)
    inside dnsviz probe -4 -A -E -n -R A,AAAA,SRV,TXT,PTR,HTTPS,NS,SOA,MX,CNAME \
        -x svc.internal+:ns.svc.internal=10.53.0.1 "${names[@]}" >"$work/probe.json"
    cp "$work/probe.json" "$logs/dnsviz"
    is 'names that were analysed' "${#names[@]}" \
        "$(python3 -c 'import json, sys; print(sum(name[0:5] != "_meta" for name in json.load(sys.stdin)))' \
            <"$work/probe.json")"
    is 'they exist, but for one' '8 NOERROR 1 NXDOMAIN' \
        "$(dnsviz grok -l info <"$work/probe.json" | grep -oE '^ {8}"status": "[A-Z]+"' | sort | uniq -c |
            sed 's/"status": //' | tr -d '"' | xargs)"
    is 'no errors, no warnings' '' "$(dnsviz grok -l warning <"$work/probe.json")"
}

# What is unavoidable with one name server on a private address and short TTLs: docs/interoperability.md justifies each.
zonemaster_unavoidable=(
    NAMESERVER_IP_PRIVATE_NETWORK NAMESERVER_IP_WITHOUT_REVERSE
    NOT_ENOUGH_NS_DEL NOT_ENOUGH_NS_CHILD NOT_ENOUGH_IPV4_NS_CHILD NOT_ENOUGH_IPV4_NS_DEL NO_IPV6_NS_CHILD NO_IPV6_NS_DEL
    NEITHER_DNSKEY_NOR_DS NOT_SIGNED RNAME_MAIL_DOMAIN_INVALID Z09_MISSING_MAIL_TARGET
    REFRESH_MINIMUM_VALUE_LOWER RETRY_MINIMUM_VALUE_LOWER EXPIRE_MINIMUM_VALUE_LOWER SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER
)

client_zonemaster() {
    services
    say "$(zonemaster-cli --version | tr -s ' \n\t' ' ' | grep -o 'CLI.*Engine version: [v0-9.]*')"
    ip -n "$space" address add 10.53.0.2/32 dev lo
    # A root and a parent zone of our own, so that the zone is found as any zone is.
    cat >"$work/named.conf" <<CONF
options {
    directory "$work"; listen-on { 10.53.0.2; }; listen-on-v6 { none; };
    pid-file none; session-keyfile none; recursion no;
};
controls { };
zone "." { type primary; file "root.zone"; };
zone "internal" { type primary; file "internal.zone"; };
CONF
    printf '%s\n' '$TTL 3600' '. SOA a.root. hostmaster.root. 1 7200 3600 1209600 3600' '. NS a.root.' \
        'a.root. A 10.53.0.2' 'internal. NS ns.internal.' 'ns.internal. A 10.53.0.2' >"$work/root.zone"
    printf '%s\n' '$TTL 3600' '@ SOA ns hostmaster 1 7200 3600 1209600 3600' '@ NS ns' 'ns A 10.53.0.2' \
        'svc NS ns.svc' 'ns.svc A 10.53.0.1' >"$work/internal.zone"
    printf '%s\n' '. 3600 NS a.root.' 'a.root. 3600 A 10.53.0.2' >"$work/hints"
    start "$work/named.log" named -g -c "$work/named.conf"
    until_ok 'the root answers' inside dig -r +time=1 +tries=1 @10.53.0.2 internal SOA
    inside zonemaster-cli --hints "$work/hints" --no-ipv6 --no-progress --level INFO --show-testcase svc.internal |
        tee "$logs/zonemaster/zonemaster.txt"
    local tags
    tags=$(inside zonemaster-cli --hints "$work/hints" --no-ipv6 --no-progress --level NOTICE --raw svc.internal |
        awk '$1 ~ /^[0-9.]+$/ { print $3 }' | sort -u)
    is 'it was tested' 1 "$(grep -c 'A single SOA serial number was found' "$logs/zonemaster/zonemaster.txt")"
    is 'nothing but what is unavoidable' '' \
        "$(comm -23 <(echo "$tags") <(printf '%s\n' "${zonemaster_unavoidable[@]}" | sort))"
    say "($(wc -l <<<"$tags") kinds of remark, all unavoidable)"
}

client_abuse() {
    services
    # As many as a service may have.
    register <<<'huge/h<1000> {"address":"fd00::<>","port":80}'
    python_tools
    local seed=${ROLLCALL_CLIENTS_SEED:-$RANDOM}
    limit=200 inside "$tools/venv/bin/python" "$here/abuse.py" "$server" "${ROLLCALL_CLIENTS_ABUSE_SECONDS:-20}" "$seed" |
        tee "$work/abuse"
    is 'nothing gave way' '' "$(grep ^NOT "$work/abuse")"
    say "$(grep ^seed "$work/abuse")"
    is 'still whole' 1000 "$(inside dig -r +short @127.0.0.1 huge.svc.internal AAAA | wc -l)"
}
