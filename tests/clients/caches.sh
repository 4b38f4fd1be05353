# shellcheck shell=bash
# Part of tests/clients.sh: Resolvers that forward the zone to Rollcall.
client_unbound() {
    services
    say "$(unbound -V | head -n 1)"
    {
        printf '%s\n' 'server:' 'interface: 127.0.0.2@53' 'username: ""' 'chroot: ""' 'directory: ""' 'pidfile: ""' \
            'use-syslog: no' 'qname-minimisation-strict: yes' 'harden-below-nxdomain: yes' 'use-caps-for-id: yes' \
            'remote-control:' 'control-enable: no'
        readme stub-zone:
    } >"$work/unbound.conf"
    start "$work/unbound.log" unbound -d -c "$work/unbound.conf"
    until_ok 'unbound answers' inside dig -r +time=1 +tries=1 @127.0.0.2 svc.internal SOA
    through 127.0.0.2
}

client_bind() {
    services
    say "$(named -v)"
    {
        printf '%s\n' 'options {' "directory \"$work\";" 'listen-on { 127.0.0.2; };' 'listen-on-v6 { none; };' \
            'pid-file none;' 'session-keyfile none;' 'recursion yes;' 'validate-except { "svc.internal"; };' '};' \
            'controls { };' 'logging { category default { default_stderr; }; };'
        readme 'zone "svc.internal"'
    } >"$work/named.conf"
    start "$work/named.log" named -f -c "$work/named.conf"
    until_ok 'named answers' inside dig -r +time=1 +tries=1 @127.0.0.2 svc.internal SOA
    through 127.0.0.2
}

client_dnsmasq() {
    services
    say "$(dnsmasq --version | head -n 1 | cut -d' ' -f1-3)"
    {
        printf '%s\n' listen-address=127.0.0.2 bind-interfaces no-resolv no-hosts user=root "pid-file=$work/pid"
        readme server=/
    } >"$work/dnsmasq.conf"
    start "$work/dnsmasq.log" dnsmasq --keep-in-foreground --log-facility=- "--conf-file=$work/dnsmasq.conf"
    until_ok 'dnsmasq answers' inside dig -r +time=1 +tries=1 @127.0.0.2 web.svc.internal
    through 127.0.0.2
}

# Gets a Debian package and unpacks it into a folder: what is installed would change the machine's own resolver.
unpack() {
    local folder=$1
    shift
    mkdir -p "$folder"
    (cd "$folder" && apt-get -q download "$@" && for package in *.deb; do dpkg -x "$package" .; done)
}

client_resolved() {
    services
    unpack "$work/resolved" systemd-resolved libnss-resolve
    say "systemd-resolved $(cd "$work/resolved" && dpkg-deb -f systemd-resolved_*.deb Version)"
    cp /etc/passwd /etc/group "$work"
    grep -q ^systemd-resolve: /etc/passwd || echo 'systemd-resolve:x:64990:64990::/:/usr/sbin/nologin' >>"$work/passwd"
    grep -q ^systemd-resolve: /etc/group || echo 'systemd-resolve:x:64990:' >>"$work/group"
    readme '[Resolve]' >"$work/rollcall.conf"
    # Its own /run, and the user that its package would have made, both seen by it alone.
    cat >"$work/resolved.sh" <<RUN
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind $work/passwd /etc/passwd
mount --bind $work/group /etc/group
mkdir -p /run/systemd/resolved.conf.d /run/dbus
cp $work/rollcall.conf /run/systemd/resolved.conf.d/
SYSTEMD_LOG_LEVEL=debug exec $work/resolved/lib/systemd/systemd-resolved
RUN
    start "$work/resolved.log" unshare -m sh "$work/resolved.sh"
    resolved=$started
    until_ok 'systemd-resolved answers' inside dig -r +time=1 +tries=1 @127.0.0.53 svc.internal SOA
    through 127.0.0.53
    resolv_conf 'nameserver 127.0.0.53' 'options edns0 trust-ad' 'search svc.internal'
    is 'getent through the stub' '10.0.0.7' "$(inside getent ahostsv4 i1.web | awk 'NR == 1 { print $1 }')"
    is 'no feature is given up' 0 "$(grep -c 'degraded feature set' "$work/resolved.log")"
    # On a host whose network has a resolver too, here one that knows example.org. What networkd would write for the link:
    ip -n "$space" address add 10.53.0.2/32 dev lo
    start "$work/dnsmasq.log" dnsmasq --keep-in-foreground --log-facility=- --log-queries --conf-file=/dev/null \
        --listen-address=10.53.0.2 --bind-interfaces --no-resolv --no-hosts --user=root "--pid-file=$work/pid" \
        --address=/example.org/192.0.2.1
    kill "$resolved"
    wait "$resolved" 2>/dev/null
    sed -i "/^SYSTEMD_LOG/i mkdir -p /run/systemd/netif/links; printf '%s\\\\n' ADMIN_STATE=configured OPER_STATE=routable \
        DNS=10.53.0.2 >/run/systemd/netif/links/$(ip -n "$space" -o link show v0 | cut -d: -f1)" "$work/resolved.sh"
    start "$work/resolved-2.log" unshare -m sh "$work/resolved.sh"
    until_ok 'systemd-resolved answers again' inside dig -r +time=1 +tries=1 @127.0.0.53 svc.internal SOA
    is 'beside another resolver: ours' '10.0.0.7;10.0.0.8;' "$(dig_data @127.0.0.53 web.svc.internal)"
    is 'beside another resolver: ours that is not there' NXDOMAIN "$(status_of @127.0.0.53 nope.svc.internal)"
    is 'beside another resolver: ours without answer' NOERROR "$(status_of @127.0.0.53 down.svc.internal)"
    is 'beside another resolver: its name' '192.0.2.1;' "$(dig_data @127.0.0.53 example.org)"
    is 'the other one never sees our names' 0 "$(grep -c 'query.*svc.internal' "$work/dnsmasq.log")"
    say "(with another resolver on a link, foreign names at Rollcall: $(questions REFUSED))"
}
