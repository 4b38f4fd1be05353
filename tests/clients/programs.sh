# shellcheck shell=bash
# Part of tests/clients.sh: Programs that ask the system's resolver, and resolvers of languages.
# Names for everyone who asks the system's resolver.
common=(web.svc.internal i2.web.svc.internal api.payments.svc.internal down.svc.internal nope.svc.internal
    many.svc.internal)

found_by_libc() {
    printf '%s\n' 'host:web.svc.internal 10.0.0.7 10.0.0.8 fd00::8' 'host:i2.web.svc.internal 10.0.0.8 fd00::8' \
        'host:api.payments.svc.internal 10.0.1.1' "host:down.svc.internal -($1)" "host:nope.svc.internal -($2)" \
        "host:many.svc.internal ${3:-100}"
}

client_glibc() {
    services
    say "$(getconf GNU_LIBC_VERSION)"
    gcc -o "$work/names" "$here/names.c"
    local wanted options
    wanted=$(found_by_libc 'No address associated with hostname' 'Name or service not known')
    for options in '' edns0 'edns0 trust-ad' single-request single-request-reopen use-vc rotate; do
        resolv_conf 'nameserver 127.0.0.1' "${options:+options $options}"
        is "getaddrinfo with options '$options'" "$wanted" "$(inside "$work/names" "${common[@]}")"
    done
    resolv_conf 'nameserver 127.0.0.1' 'search svc.internal payments.svc.internal'
    is 'a short name, by the search list' 'host:web 10.0.0.7 10.0.0.8 fd00::8' "$(inside "$work/names" web)"
    is 'the second of the search list' 'host:api 10.0.1.1' "$(inside "$work/names" api)"
    is 'getent hosts' '10.0.0.7 i1.web.svc.internal' \
        "$(inside getent hosts 10.0.0.7 | tr -s ' ')"
    # Whoever takes the first address takes each of them in turn.
    local firsts
    firsts=$(for _ in {1..20}; do inside getent ahosts many.svc.internal | head -n 1; done | sort -u | wc -l)
    say "(first addresses of 20 look-ups: $firsts distinct)"
}

client_musl() {
    services
    say "musl $(dpkg-query -W -f '${Version}' musl)"
    musl-gcc -static -o "$work/names" "$here/names.c"
    local wanted
    # musl has room for 48 addresses, and before 1.2.4 does not ask again over TCP: it takes what the cut reply has.
    wanted=$(found_by_libc 'Name does not resolve' 'Name does not resolve' '')
    local got some
    got=$(inside "$work/names" "${common[@]}")
    some=$(sed -n 's/^host:many.svc.internal //p' <<<"$got")
    is 'getaddrinfo' "$(sed '$d' <<<"$wanted")" "$(sed '$d' <<<"$got")"
    if [ "${some:-0}" -ge 20 ]; then right "a cut reply: $some addresses"; else not 'a cut reply' 'at least 20' "$some"; fi
    say "(of 100 addresses in a reply without EDNS: $some)"
    resolv_conf 'nameserver 127.0.0.1' 'search svc.internal'
    is 'a short name, by the search list' 'host:web 10.0.0.7 10.0.0.8 fd00::8' "$(inside "$work/names" web)"
    # It asks all at once and takes the first answer that is one: a server of other names beside ours is a lottery.
    resolv_conf 'nameserver 127.0.0.1' 'nameserver 127.0.0.2' 'nameserver 127.0.0.3'
    is 'the others are silent' 'host:web.svc.internal 10.0.0.7 10.0.0.8 fd00::8' "$(inside "$work/names" web.svc.internal)"
}

client_busybox() {
    services
    say "$(busybox | head -n 1 | cut -d' ' -f1-2)"
    is 'nslookup A and AAAA' '10.0.0.7;10.0.0.8;fd00::8;' \
        "$(inside busybox nslookup web.svc.internal | sed -n '4,$s/^Address: //p' | sort | tr '\n' ';')"
    is 'nslookup SRV' 2 "$(inside busybox nslookup -type=srv _web._tcp.svc.internal | grep -c 'service = 0')"
    # What broke when a missing AAAA was NXDOMAIN (slackhq/nebula#1662).
    is 'an address of one family is enough' 0 \
        "$(inside busybox nslookup i1.web.svc.internal >/dev/null && echo 0 || echo 1)"
    is 'NXDOMAIN' 1 "$(inside busybox nslookup nope.svc.internal | grep -c "can't find nope.*NXDOMAIN" | sed 's/2/1/')"
}

client_python() {
    services
    say "$(python3 --version)"
    is 'socket.getaddrinfo' "$(found_by_libc 'No address associated with hostname' 'Name or service not known')" \
        "$(inside python3 "$here/names.py" "${common[@]}")"
}

client_node() {
    services
    say "Node $(node --version)"
    is 'dns.lookup' "$(found_by_libc ENOTFOUND ENOTFOUND)" "$(inside node "$here/names.mjs" "${common[@]/#/host:}")"
    local wanted server
    wanted=$(printf '%s\n' 'a:web.svc.internal 10.0.0.7 10.0.0.8' 'aaaa:web.svc.internal fd00::8' \
        'aaaa:i1.web.svc.internal -(ENODATA)' 'a:nope.svc.internal -(ENOTFOUND)' 'a:down.svc.internal -(ENODATA)' \
        'srv:_web._tcp.svc.internal 0,256,8080,i1.web.svc.internal 0,512,8081,i2.web.svc.internal' \
        'txt:i1.web.svc.internal path=/a b+version=1.4.2' \
        'ptr:_web._tcp.svc.internal i1._web._tcp.svc.internal i2._web._tcp.svc.internal' \
        'reverse:10.0.0.7 i1.web.svc.internal' 'srv:_many._tcp.svc.internal 100' 'a:many.svc.internal 100')
    for server in '' --server=127.0.0.1:8600; do
        is "dns.resolve* and dns.Resolver $server" "$wanted" "$(inside node "$here/names.mjs" ${server:+"$server"} \
            a:web.svc.internal aaaa:web.svc.internal aaaa:i1.web.svc.internal a:nope.svc.internal a:down.svc.internal \
            srv:_web._tcp.svc.internal txt:i1.web.svc.internal ptr:_web._tcp.svc.internal reverse:10.0.0.7 \
            srv:_many._tcp.svc.internal a:many.svc.internal)"
    done
}

client_java() {
    services
    say "$(java -version 2>&1 | head -n 1)"
    is 'InetAddress' "$(found_by_libc UnknownHostException UnknownHostException | sed s/fd00::8/fd00:0:0:0:0:0:0:8/)" \
        "$(inside java "$here/Names.java" dns: "${common[@]/#/host:}")"
    local server
    for server in dns: dns://127.0.0.1:8600; do
        is "JNDI $server" "$(printf '%s\n' \
            'SRV:_web._tcp.svc.internal 0,256,8080,i1.web.svc.internal. 0,512,8081,i2.web.svc.internal.' \
            'A:web.svc.internal 10.0.0.7 10.0.0.8' 'TXT:i2._web._tcp.svc.internal ""' 'SRV:_many._tcp.svc.internal 100' \
            'A:nope.svc.internal -(NameNotFoundException)' 'A:down.svc.internal -(nothing)')" \
            "$(inside java "$here/Names.java" "$server" SRV:_web._tcp.svc.internal A:web.svc.internal \
                TXT:i2._web._tcp.svc.internal SRV:_many._tcp.svc.internal A:nope.svc.internal A:down.svc.internal)"
    done
}

client_go() {
    services
    say "$(go version)"
    GOCACHE="$work/go" GO111MODULE=off CGO_ENABLED=1 go build -o "$work/names" "$here/names.go"
    local wanted how words nodata
    words=(host:web.svc.internal host:i2.web.svc.internal host:api.payments.svc.internal host:down.svc.internal
        host:nope.svc.internal host:many.svc.internal srv:_web._tcp.svc.internal srv:_many._tcp.svc.internal
        txt:i1.web.svc.internal reverse:10.0.0.7)
    wanted=$(
        found_by_libc NODATA 'not found'
        printf '%s\n' 'srv:_web._tcp.svc.internal 0,256,8080,i1.web.svc.internal. 0,512,8081,i2.web.svc.internal.' \
            'srv:_many._tcp.svc.internal 100' 'txt:i1.web.svc.internal path=/a bversion=1.4.2'
    )
    for how in go cgo; do
        nodata='not found'
        # What the C library calls it is not translated to "not found".
        [ "$how" = go ] || nodata='lookup down.svc.internal: No address associated with hostname'
        is "net.Resolver netdns=$how" "${wanted/NODATA/$nodata}" \
            "$(inside env "GODEBUG=netdns=$how" "$work/names" "${words[@]}" | sed '$d')"
    done
    is 'net.Resolver with Dial' "${wanted/NODATA/not found}" \
        "$(inside "$work/names" -server 127.0.0.1:8600 "${words[@]}" | sed '$d')"
    is 'LookupAddr' 'reverse:10.0.0.7 i1.web.svc.internal.' "$(inside env GODEBUG=netdns=go "$work/names" reverse:10.0.0.7)"
}
