"""dnspython asks a Rollcall on 127.0.0.1:53 for every type of record there is, over UDP and TCP.

Every reply has to parse, and to parse again to the same once dnspython has encoded it.
"""

import sys

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

SERVER = "127.0.0.1"
ZONE = "svc.internal."
checks = 0
failures = 0


def check(what, wanted, got):
    global checks, failures
    checks += 1
    if wanted == got:
        print(f"ok: {what}")
    else:
        failures += 1
        print(f"NOT: {what}\n  wanted: {wanted}\n  got:    {got}")


def ask(name, kind, tcp=False, payload=1232, options=()):
    query = dns.message.make_query(name, kind, use_edns=0 if payload else False, payload=payload, options=list(options))
    send = dns.query.tcp if tcp else dns.query.udp
    reply = send(query, SERVER, timeout=3, **({} if tcp else {"raise_on_truncation": False}))
    again = dns.message.from_wire(reply.to_wire(max_size=65535))
    # Sorted, because dnspython shuffles the records of a set when it encodes them.
    check(f"{name} {kind} {'tcp' if tcp else 'udp'}: encoded and parsed again",
          sorted(reply.to_text().splitlines()), sorted(again.to_text().splitlines()))
    return reply


def texts(section):
    return sorted(line for rrset in section for line in rrset.to_text().splitlines())


def each_type():
    """The answer to a question about each type that Rollcall has records of."""
    w1, w2 = "i1.web.svc.internal.", "i2.web.svc.internal."
    table = [
        ("web", "A", ["10.0.0.7", "10.0.0.8"]),
        ("web", "AAAA", ["fd00::8"]),
        ("_web._tcp", "SRV", [f"0 256 8080 {w1}", f"0 512 8081 {w2}"]),
        ("web", "SRV", [f"0 256 8080 {w1}", f"0 512 8081 {w2}"]),
        ("_metrics._tcp.web", "SRV", [f"0 256 9090 {w1}"]),
        ("primary.web", "A", ["10.0.0.7"]),
        ("i1.web", "SRV", [f"0 256 8080 {w1}"]),
        ("i1.web", "TXT", ['"path=/a b" "version=1.4.2"']),
        ("_api._udp.payments", "SRV", ["0 1 9000 p1.api.payments.svc.internal."]),
        ("_web._tcp", "PTR", ["i1._web._tcp.svc.internal.", "i2._web._tcp.svc.internal."]),
        ("i2._web._tcp", "TXT", ['""']),
        ("secure", "HTTPS", ['1 s1.secure.svc.internal. alpn="h2,http/1.1" port="443" ipv4hint="10.0.2.1"']),
        ("", "NS", ["ns.svc.internal."]),
        ("ns", "A", ["10.53.0.1"]),
        ("7.0.0.10.in-addr.arpa.", "PTR", [w1]),
    ]
    for label, kind, wanted in table:
        name = label if label.endswith(".") else f"{label}.{ZONE}".lstrip(".")
        for tcp in (False, True):
            reply = ask(name, kind, tcp)
            got = sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)
            check(f"{name} {kind}", wanted, got)
            check(f"{name} {kind}: flags", "QR AA RD", dns.flags.to_text(reply.flags))
            check(f"{name} {kind}: OPT", (0, 1232), (reply.edns, reply.payload))
    soa = ask(ZONE, "SOA").answer[0]
    check("SOA: its TTL and MINIMUM", (5, 5), (soa.ttl, soa[0].minimum))
    check("SOA: who", "ns.svc.internal. hostmaster.svc.internal.", f"{soa[0].mname} {soa[0].rname}")
    srv = ask(f"_web._tcp.{ZONE}", "SRV")
    check("SRV: addresses of targets", [f"{w1} 5 IN A 10.0.0.7", f"{w2} 5 IN A 10.0.0.8", f"{w2} 5 IN AAAA fd00::8"],
          texts(srv.additional))
    mixed = ask("wEb.SvC.iNtErNaL.", "A")
    check("0x20: question and owner", ("wEb.SvC.iNtErNaL.",) * 2,
          (mixed.question[0].name.to_text(), mixed.answer[0].name.to_text()))


def negative():
    """Codes, the SOA, and the reason in words."""
    for name, kind, rcode, ttl, said in [
        ("nope", "A", "NXDOMAIN", 5, "no such service"),
        ("web", "MX", "NOERROR", 5, "no records of this type"),
        ("i1.web", "AAAA", "NOERROR", 5, ""),
        ("_tcp", "SRV", "NOERROR", 5, ""),
        ("payments", "A", "NOERROR", 5, ""),
        ("down", "A", "NOERROR", 1, "down: 1 registered, 0 passing"),
        ("down", "SRV", "NOERROR", 1, "down: 1 registered, 0 passing"),
    ]:
        reply = ask(f"{name}.{ZONE}", kind)
        got = (dns.rcode.to_text(reply.rcode()), [(s.name.to_text(), s.rdtype, s.ttl) for s in reply.authority])
        check(f"{name} {kind}: code and SOA", (rcode, [(ZONE, dns.rdatatype.SOA, ttl)]), got)
        errors = [option for option in reply.options if option.otype == dns.edns.OptionType.EDE]
        check(f"{name} {kind}: says why ({errors})", True, any(said in (error.text or "") for error in errors) or not said)
        check(f"{name} {kind}: no more than the header and SOA without EDNS", [],
              list(ask(f"{name}.{ZONE}", kind, payload=0).options))
    outside = ask("example.org.", "A")
    check("outside", "REFUSED", dns.rcode.to_text(outside.rcode()))


def cookies():
    """RFC 7873 and RFC 9018: a client's cookie comes back with one of the server's, which is taken again."""
    client = bytes(range(8))

    def cookie(data):
        reply = ask(f"web.{ZONE}", "A", options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, data)])
        found = [option.to_wire() for option in reply.options if option.otype == dns.edns.OptionType.COOKIE]
        return reply.rcode(), found[0] if found else b""

    rcode, first = cookie(client)
    check("cookie: length and the client's half", (0, 24, client), (rcode, len(first), first[:8]))
    rcode, second = cookie(first)
    check("cookie: with the server's half", (0, 24, client), (rcode, len(second), second[:8]))
    check("cookie: of an impossible length", dns.rcode.FORMERR, cookie(client[:3])[0])


def sizes():
    """What does not fit says so, and comes whole over TCP."""
    for name, kind in [(f"many.{ZONE}", "A"), (f"_many._tcp.{ZONE}", "SRV"), (f"_many._tcp.{ZONE}", "PTR")]:
        for payload, most in [(0, 512), (512, 512), (1232, 1232), (4096, 1232)]:
            reply = ask(name, kind, payload=payload)
            size, some = len(reply.to_wire(max_size=65535)), len(reply.answer[0]) if reply.answer else 0
            check(f"{name} {kind} with {payload}: TC, {some} records", True,
                  bool(reply.flags & dns.flags.TC) and 0 < some < 100 and size <= most)
            same = ask(name, kind, payload=payload)
            check(f"{name} {kind} with {payload}: the same for the same client", texts(reply.answer), texts(same.answer))
        whole = ask(name, kind, tcp=True)
        check(f"{name} {kind} over TCP", (100, False), (len(whole.answer[0]), bool(whole.flags & dns.flags.TC)))
        query = dns.message.make_query(name, kind, use_edns=0)
        reply, tcp = dns.query.udp_with_fallback(query, SERVER, timeout=3)
        check(f"{name} {kind}: the fallback", (100, True), (len(reply.answer[0]), tcp))


def browsing():
    """DNS-SD (RFC 6763) from the list of types down to the addresses, as a browser does it."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [SERVER]
    ptr = lambda name: sorted(str(one.target) for one in resolver.resolve(name, "PTR"))
    types = ptr(f"_services._dns-sd._udp.{ZONE}")
    check("browsing: types", [f"_down._tcp.{ZONE}", f"_many._tcp.{ZONE}", f"_secure._tcp.{ZONE}", f"_web._tcp.{ZONE}"],
          types)
    check("browsing: types of a group", [f"_api._udp.payments.{ZONE}"], ptr(f"_services._dns-sd._udp.payments.{ZONE}"))
    found = []
    for kind in types:
        try:
            instances = ptr(kind)
        except dns.resolver.NoAnswer:
            found.append((kind, "nobody"))
            continue
        for instance in instances[:2]:
            srv = resolver.resolve(instance, "SRV")[0]
            txt = resolver.resolve(instance, "TXT")[0].strings
            addresses = [str(address) for address in resolver.resolve(srv.target, "A")]
            found.append((instance.removesuffix("." + ZONE), srv.port, txt, addresses))
    check("browsing: instances", [
        (f"_down._tcp.{ZONE}", "nobody"),
        ("m1._many._tcp", 80, (b"",), ["10.0.3.1"]),
        ("m10._many._tcp", 80, (b"",), ["10.0.3.10"]),
        ("s1._secure._tcp", 443, (b"alpn=h2,http/1.1",), ["10.0.2.1"]),
        ("i1._web._tcp", 8080, (b"path=/a b", b"version=1.4.2"), ["10.0.0.7"]),
        ("i2._web._tcp", 8081, (b"",), ["10.0.0.8"]),
    ], found)
    check("an address by name", "i1.web.svc.internal.", str(resolver.resolve_address("10.0.0.7")[0].target))
    check("a name's addresses", ["10.0.0.7", "10.0.0.8", "fd00::8"],
          sorted(resolver.resolve_name(f"web.{ZONE}").addresses()))
    check("the zone of a name", ZONE, str(dns.resolver.zone_for_name(f"i1.web.{ZONE}", resolver=resolver)))
    for name, kind, problem in [("nope", "A", dns.resolver.NXDOMAIN), ("down", "A", dns.resolver.NoAnswer)]:
        try:
            resolver.resolve(f"{name}.{ZONE}", kind)
            check(f"{name} is not there", problem, None)
        except dns.exception.DNSException as got:
            check(f"{name} is not there", problem, type(got))


for part in (each_type, negative, cookies, sizes, browsing):
    part()
print(f"{checks} checks, {failures} failed")
sys.exit(failures > 0)
