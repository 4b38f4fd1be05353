//! Messages to the octet: what is dropped, what is refused, and with which code.

use super::*;

async fn world() -> World {
    let world = World::new().await;
    put(&world, "web", "i1", r#"{"address":"10.0.0.1","port":80}"#).await;
    world
}

/// What a message must get over either protocol: silence, or a code, with OPT or not.
async fn expect(what: &str, message: &[u8], wanted: Option<(u16, bool)>) {
    let world = world().await;
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let reply = send(&world, message, protocol).await;
        let got = reply.as_ref().map(|reply| (reply.rcode, reply.opt.is_some()));
        assert_eq!(got, wanted, "{what} over {protocol:?}");
        if let Some(opt) = reply.and_then(|reply| reply.opt) {
            assert_eq!((opt.class, (opt.ttl >> 16) & 0xff), (1232, 0), "{what}: our payload size, version 0");
            assert!(opt.data.is_empty(), "{what}: no options");
        }
    }
}

fn web() -> Vec<u8> {
    question(&wire("web.svc.internal"), A)
}

fn edns(message: Vec<u8>) -> Vec<u8> {
    with_opt(message, 1232, 0, &[])
}

/// A message with other flags.
fn flagged(mut message: Vec<u8>, first: u8, second: u8) -> Vec<u8> {
    message[2] = first;
    message[3] = second;
    message
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_gets_silence() {
    expect("a response", &flagged(web(), 0x80, 0), None).await;
    expect("a response with OPT", &flagged(edns(web()), 0x84, 0), None).await;
    for length in 0..12 {
        expect("less than a header", &web()[..length], None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn counts_that_do_not_fit_are_formerr() {
    expect("a header alone", &header([1, 0], [0; 4]), Some((FORMERR, false))).await;
    expect("no question, OPT", &edns(header([1, 0], [0; 4])), Some((FORMERR, true))).await;
    let mut two = web();
    two.extend_from_slice(&web()[12..]);
    two[5] = 2;
    expect("two questions", &two, Some((FORMERR, false))).await;
    expect("two questions, OPT", &edns(two), Some((FORMERR, true))).await;
    for section in 0..4 {
        let mut counts = [1, 0, 0, 0];
        counts[section] = 65_535;
        let mut message = header([1, 0], counts);
        expect("65,535 promised, nothing there", &message, Some((FORMERR, false))).await;
        message.extend_from_slice(&web()[12..]);
        expect("65,535 promised, a question there", &message, Some((FORMERR, false))).await;
    }
    for cut in 12..web().len() {
        expect("cut short", &web()[..cut], Some((FORMERR, false))).await;
    }
    let message = edns(web());
    for cut in web().len()..message.len() {
        // The count says that there is an OPT; it is one only when it is whole.
        expect("an OPT cut short", &message[..cut], Some((FORMERR, false))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn opcodes_other_than_query_are_notimp() {
    for opcode in 1..16u8 {
        expect("an opcode", &flagged(web(), opcode << 3, 0), Some((NOTIMP, false))).await;
        expect("an opcode, OPT", &flagged(edns(web()), opcode << 3 | 1, 0x20), Some((NOTIMP, true))).await;
        expect("an opcode in a header", &flagged(header([0; 2], [0; 4]), opcode << 3, 0), Some((NOTIMP, false))).await;
    }
    // An UPDATE names its zone, its prerequisites and what to change; nothing of it is looked at but the OPT.
    let mut update = question(&wire("svc.internal"), SOA);
    update[2] = 5 << 3;
    update[9] = 1;
    update.extend([&wire("web.svc.internal")[..], &[0, 255, 0, 255, 0, 0, 0, 0, 0, 0]].concat());
    expect("an update", &update, Some((NOTIMP, false))).await;
    expect("an update, OPT", &edns(update), Some((NOTIMP, true))).await;
}

#[tokio::test(start_paused = true)]
async fn edns_is_answered_with_edns() {
    expect("a plain OPT", &edns(web()), Some((NOERROR, true))).await;
    expect("version 1", &with_opt(web(), 1232, 1 << 16, &[]), Some((BADVERS, true))).await;
    expect("version 255 and odd flags", &with_opt(web(), 0, 0x00ff_7fff, &[]), Some((BADVERS, true))).await;
    expect("an rcode in the request", &with_opt(web(), 1232, 0xff00_0000, &[]), Some((NOERROR, true))).await;
    expect("two OPT", &edns(edns(web())), Some((FORMERR, true))).await;
    let mut misplaced = web();
    misplaced[7] = 1;
    misplaced.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    expect("an OPT in the answer section is none", &misplaced, Some((FORMERR, false))).await;
    let mut named = web();
    named[11] = 1;
    named.extend([&wire("x")[..], &[0, 41, 4, 208, 0, 0, 0, 0, 0, 0]].concat());
    expect("an OPT that is not at the root is none", &named, Some((FORMERR, false))).await;
}

#[tokio::test(start_paused = true)]
async fn edns_options_are_ignored_unless_they_do_not_add_up() {
    // A thousand, of lengths 0, 1 and 2.
    let thousand: Vec<u8> =
        (0..1000u16).flat_map(|n| [0xfd, 0xe9, 0, (n % 3) as u8, 7, 7][..4 + usize::from(n % 3)].to_vec()).collect();
    for (what, options) in [
        ("an unknown one", vec![0xfd, 0xe9, 0, 3, 1, 2, 3]),
        ("an empty one", vec![0xfd, 0xe9, 0, 0]),
        ("code 0", vec![0, 0, 0, 1, 0]),
        ("padding", [vec![0, 12, 0, 100], vec![0; 100]].concat()),
        ("a thousand", thousand),
    ] {
        expect(what, &with_opt(web(), 1232, 0, &options), Some((NOERROR, true))).await;
    }
    for (what, options) in [
        ("a length beyond the record", vec![0xfd, 0xe9, 0, 9, 1, 2, 3]),
        ("a length far beyond the record", vec![0xfd, 0xe9, 0xff, 0xff]),
        ("a code alone", vec![0xfd, 0xe9]),
        ("half a code", vec![0xfd]),
        ("half a length", vec![0xfd, 0xe9, 0]),
        ("a whole one and a bit", vec![0xfd, 0xe9, 0, 1, 9, 0]),
    ] {
        expect(what, &with_opt(web(), 1232, 0, &options), Some((FORMERR, true))).await;
    }
    let mut beyond = edns(web());
    let length = beyond.len();
    beyond[length - 1] = 1;
    expect("an OPT that is longer than the message", &beyond, Some((FORMERR, true))).await;
    let padded = with_opt(web(), 1232, 0, &[vec![0, 12, 0xff, 0x00], vec![0; 0xff00]].concat());
    expect("64 KB of padding", &padded, Some((NOERROR, true))).await;
}

#[tokio::test(start_paused = true)]
async fn classes_other_than_internet_are_refused() {
    for class in [0u16, 2, 3, 4, 254, 255, 4096] {
        let mut message = web();
        let end = message.len();
        message[end - 2..].copy_from_slice(&class.to_be_bytes());
        expect("a class", &message, Some((REFUSED, false))).await;
        expect("a class, OPT", &edns(message), Some((REFUSED, true))).await;
    }
    for (kind, over) in [(252, "AXFR"), (251, "IXFR")] {
        expect(over, &question(&wire("svc.internal"), kind), Some((REFUSED, false))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_question_is_formerr() {
    // There is nothing before the question that it could point at but the header, which is not the same in the reply.
    for (what, name) in [
        ("a pointer to itself", vec![0xc0, 12]),
        ("a loop of two", vec![0xc0, 14, 0xc0, 12]),
        ("a pointer forward", vec![0xc0, 20, 0, 0, 0, 0, 0, 0, 3, b'w', b'e', b'b', 0]),
        ("a pointer into the header", vec![0xc0, 4]),
        ("a pointer to the id", vec![0xc0, 0]),
        ("a label and a pointer to it", vec![3, b'w', b'e', b'b', 0xc0, 12]),
        ("a label and a pointer into the header", vec![3, b'w', b'e', b'b', 0xc0, 6]),
        ("a label of type 01", vec![0x41, 0]),
        ("a label of type 10", vec![0x81, 0]),
    ] {
        expect(what, &question(&name, A), Some((FORMERR, false))).await;
    }
}

/// A question with further records, whose owners point from each to the one before.
fn chained(records: u16, owner: &[u8]) -> Vec<u8> {
    let mut message = web();
    let mut last = 12;
    for n in 1..=records {
        let at = message.len();
        message.extend_from_slice(owner);
        message.extend((0xc000 | last as u16).to_be_bytes());
        message.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        last = at;
        message[10..12].copy_from_slice(&n.to_be_bytes());
    }
    message
}

#[tokio::test(start_paused = true)]
async fn chains_of_pointers_are_short() {
    expect("records that point at the question", &chained(16, &[]), Some((NOERROR, false))).await;
    expect("ever longer names", &chained(16, b"\x01a"), Some((NOERROR, false))).await;
    let labels = [&[60][..], &[b'a'; 60]].concat();
    expect("a name that gets too long", &chained(5, &labels), Some((FORMERR, false))).await;
    // Each name would be read through all before it: a message of 64 KB would cost as much as thousands.
    for records in [17, 126, 800] {
        expect("a long chain", &chained(records, &[]), Some((FORMERR, false))).await;
        expect("a long chain", &chained(records, b"\x01a"), Some((FORMERR, false))).await;
    }
    let at = web().len() as u8;
    for target in [at, at + 1, at + 12, 0xff] {
        let mut message = web();
        message[11] = 1;
        message.extend([0xc0, target, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        expect("a record that points at itself or further", &message, Some((FORMERR, false))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_octets() {
    let below = |label: &[u8]| [&[label.len() as u8][..], label, &wire("svc.internal")].concat();
    for label in [&b"\0"[..], b"\xff", b"a.b", b"\x1b[2J", b"\n\"'\\", b"*", b"_", &[b'x'; 63], "wéb".as_bytes()] {
        let reply = send(&world().await, &question(&below(label), A), Protocol::Udp).await.unwrap();
        assert_eq!((reply.rcode, reply.authoritative), (NXDOMAIN, true), "{label:?}");
        assert_eq!(reply.question, [&below(label)[..], &[0, 1, 0, 1]].concat(), "echoed to the octet");
        assert_eq!(reply.sections[1][0].owner, wire("svc.internal"));
        // The same octets where an instance, a transport or a port would stand.
        for rest in ["web.svc.internal", "_tcp.svc.internal", "_tcp.web.svc.internal"] {
            let name = [&[label.len() as u8][..], label, &wire(rest)].concat();
            expect(rest, &question(&name, SRV), Some((NXDOMAIN, false))).await;
        }
    }
    let many = [b"\x01a".repeat(127), vec![0]].concat();
    expect("127 labels", &question(&many, A), Some((REFUSED, false))).await;
    let most = [b"\x01a".repeat(120), wire("svc.internal")].concat();
    assert_eq!(most.len(), 254);
    expect("as many labels as fit below the zone", &question(&most, A), Some((NXDOMAIN, false))).await;
    let x = [&[63][..], &[b'x'; 63]].concat();
    let long = [x.repeat(3), [&[48][..], &[b'x'; 48]].concat(), wire("svc.internal")].concat();
    assert_eq!(long.len(), 255);
    expect("255 octets", &question(&long, A), Some((NXDOMAIN, false))).await;
    let longer = [x.repeat(3), [&[49][..], &[b'x'; 49]].concat(), wire("svc.internal")].concat();
    expect("256 octets", &question(&longer, A), Some((FORMERR, false))).await;
    expect("the root", &question(&[0], NS), Some((REFUSED, false))).await;
}

#[tokio::test(start_paused = true)]
async fn octets_after_the_message_are_ignored() {
    // As BIND and NSD do; none of them come back.
    let world = world().await;
    let clean = send(&world, &edns(web()), Protocol::Udp).await.unwrap();
    let trailing = send(&world, &[edns(web()), vec![0xee; 700]].concat(), Protocol::Udp).await.unwrap();
    assert_eq!(trailing.octets, clean.octets);
}

#[tokio::test(start_paused = true)]
async fn header_bits_are_copied_or_cleared_as_they_should_be() {
    let world = world().await;
    for (first, second, kept) in [(0, 0, [0, 0]), (1, 0x10, [1, 0x10]), (0x07, 0xff, [1, 0x10]), (0, 0xe0, [0, 0])] {
        for message in [web(), question(&wire("example.com"), A), question(&wire("nope.svc.internal"), A)] {
            let reply = send(&world, &flagged(message, first, second), Protocol::Udp).await.unwrap();
            assert_eq!(reply.octets[2] & 0x01, kept[0], "RD is copied");
            assert_eq!(reply.octets[3] & 0xf0, kept[1], "CD is copied (RFC 4035 §3.1.6); RA, Z and AD are clear");
            assert!(!reply.truncated, "TC of a request means nothing");
        }
    }
    let asked = with_opt(web(), 1232, 0xffff, &[]);
    let reply = send(&world, &asked, Protocol::Udp).await.unwrap();
    assert_eq!(reply.opt.unwrap().ttl, 0x8000, "DO is copied (RFC 3225 §3), other flags are clear");
}

#[tokio::test(start_paused = true)]
async fn any_gets_one_set_of_records() {
    let world = world().await;
    put(&world, "six", "i1", r#"{"addresses":["fd00::1"],"port":80}"#).await;
    for (name, wanted) in [
        ("svc.internal", SOA),
        ("web.svc.internal", SRV),
        ("_web._tcp.svc.internal", SRV),
        ("i1.web.svc.internal", A),
        ("six.svc.internal", SRV),
        ("ns.svc.internal", A),
    ] {
        let reply = send(&world, &question(&wire(name), ANY), Protocol::Udp).await.unwrap();
        let types: Vec<u16> = reply.sections[0].iter().map(|record| record.record_type).collect();
        assert_eq!(types, [wanted], "{name}");
        assert!(reply.sections[1].is_empty());
    }
    for (name, rcode) in [("_tcp.svc.internal", NOERROR), ("nope.svc.internal", NXDOMAIN)] {
        let reply = send(&world, &question(&wire(name), ANY), Protocol::Udp).await.unwrap();
        assert_eq!((reply.rcode, reply.sections[1].len()), (rcode, 1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn owners_keep_the_case_of_the_question() {
    let world = world().await;
    for name in ["wEb.SVC.inTERnal", "_WEB._TcP.svC.internal", "I1.web.svc.INTERNAL", "SVC.internal"] {
        for record_type in [A, SRV, NS, SOA, ANY] {
            let reply = send(&world, &edns(question(&wire(name), record_type)), Protocol::Udp).await.unwrap();
            assert_eq!(reply.question[..wire(name).len()], wire(name));
            for record in &reply.sections[0] {
                assert_eq!(record.owner, wire(name));
            }
            for record in &reply.sections[2] {
                let host = if record_type == NS { "ns.svc.internal" } else { "i1.web.svc.internal" };
                assert_eq!(record.owner.to_ascii_lowercase(), wire(host));
            }
        }
    }
}

/// A message with a record of a type and data in its additional section.
fn with_record(mut message: Vec<u8>, record_type: u16, data: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.push(0);
    message.extend([record_type.to_be_bytes(), [0, 255]].concat());
    message.extend([0; 4]);
    message.extend((data.len() as u16).to_be_bytes());
    message.extend_from_slice(data);
    message
}

#[tokio::test(start_paused = true)]
async fn signatures_that_nobody_can_check_are_refused() {
    const NOTAUTH: u16 = 9;
    let world = world().await;
    // TSIG and SIG(0), whole and with lengths that do not add up.
    let tsig = [&wire("hmac-sha256")[..], &[0; 6], &[1, 44], &[0, 16], &[7; 16], &[0; 6]].concat();
    for record_type in [250, 24] {
        for data in [&tsig[..], &tsig[..tsig.len() - 1], &tsig[..9], &[], &[0xff; 300]] {
            let reply = send(&world, &with_record(web(), record_type, data), Protocol::Udp).await.unwrap();
            assert!([NOTAUTH, FORMERR].contains(&reply.rcode), "{record_type}, {} octets: {}", data.len(), reply.rcode);
            assert!(reply.sections.iter().all(Vec::is_empty));
        }
    }
    let tkey = send(&world, &question(&wire("key.svc.internal"), 249), Protocol::Udp).await.unwrap();
    assert_eq!(tkey.rcode, NOTIMP);
}
