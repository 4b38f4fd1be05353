//! What clients get, and what nobody learns.

use super::*;

#[tokio::test]
async fn an_answer_is_passed_on_and_kept() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    for _ in 0..2 {
        let reply = server.ask(&with_edns("WWW.Example.org.")).await;
        assert_eq!(last_octets(&reply), [0, 1]);
        assert!(reply.metadata.recursion_available && !reply.metadata.authoritative && reply.edns.is_some());
        assert_eq!(reply.queries[0].name().to_string(), "WWW.Example.org.");
        assert_eq!(reply.answers[0].name.to_string(), "WWW.Example.org.");
    }
    let plain = server.ask(&query("www.example.org.", RecordType::A)).await;
    assert!(plain.edns.is_none() && plain.answers.len() == 2);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(server.count("dns_forward_cache_total{result=\"hit\"}"), 2);
    assert_eq!(server.count("dns_forwarded_total{result=\"noerror\"}"), 3);
    assert_eq!(server.count("dns_forward_in_flight"), 0);
    let asked = &upstream.seen()[0].question;
    assert!(asked.metadata.recursion_desired && asked.metadata.authentic_data);
    assert_eq!(asked.edns.as_ref().map(Edns::max_payload), Some(1232));
}

#[tokio::test]
async fn a_kept_answer_grows_old_and_dies() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    server.ask(&with_edns("www.example.org.")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.iter().all(|record| record.ttl == 40), "{reply}");
    tokio::time::advance(Duration::from_secs(40)).await;
    tokio::time::resume();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.iter().all(|record| record.ttl == 60), "{reply}");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_does_not_exist_is_kept_as_long_as_its_soa_says() {
    let upstream = Upstream::start(|seen| one(&seen.absent(30)));
    let server = Server::before(&[&upstream]);
    server.ask(&with_edns("nope.example.")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(29)).await;
    let reply = server.ask(&with_edns("nope.example.")).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities.len(), 1);
    assert_eq!(upstream.seen().len(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    server.ask(&with_edns("nope.example.")).await;
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn our_own_names_never_leave() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    for (name, rcode) in [
        ("nope.svc.internal.", ResponseCode::NXDomain),
        ("a.b.c.SVC.Internal.", ResponseCode::NXDomain),
        ("svc.internal.", ResponseCode::NoError),
        ("7.0.0.10.in-addr.arpa.", ResponseCode::NXDomain),
    ] {
        let reply = server.ask(&with_edns(name)).await;
        assert_eq!(reply.metadata.response_code, rcode, "{name}");
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available, "{name}");
    }
    for opcode in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut message = query("www.example.org.", RecordType::SOA);
        message.metadata.op_code = opcode;
        let reply = server.ask(&message).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
        assert!(reply.metadata.recursion_available);
    }
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::Unknown(249), RecordType::OPT] {
        let reply = server.ask(&query("www.example.org.", kind)).await;
        assert_ne!(reply.metadata.response_code, ResponseCode::NoError, "{kind}");
    }
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    assert_eq!(server.ask(&chaos).await.metadata.response_code, ResponseCode::Refused);
    // Which resolver to use instead of this one is not for others to say.
    let reply = server.ask(&query("_dns.resolver.arpa.", RecordType::SVCB)).await;
    assert!(reply.metadata.response_code == ResponseCode::NoError && reply.answers.is_empty());
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn who_is_not_allowed_or_does_not_ask_for_it_is_refused() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    let reply = server.ask_from("192.0.2.1:40000", &with_edns("www.example.org."), Protocol::Udp).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(18)));
    assert!(!reply.metadata.recursion_available);
    let own = server.ask_from("192.0.2.1:40000", &with_edns("svc.internal."), Protocol::Udp).await;
    assert!(own.metadata.authoritative && !own.metadata.recursion_available);
    let mut iterative = with_edns("www.example.org.");
    iterative.metadata.recursion_desired = false;
    let reply = server.ask(&iterative).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(20)));
    assert!(reply.metadata.recursion_available);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn the_longest_domain_is_asked() {
    let (corp, public) = (Upstream::start(|seen| one(&seen.addresses(60, 1))), Upstream::start(well));
    let mut settings = settings(&[public.address]);
    settings.rules.push(rule(Some("corp.example"), &[corp.address]));
    let server = Server::new(settings);
    assert_eq!(last_octets(&server.ask(&with_edns("db.corp.example.")).await), [0]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.")).await), [0, 1]);
    assert_eq!((corp.seen().len(), public.seen().len()), (1, 1));

    let only_corp = Settings::new(vec![rule(Some("corp.example"), &[corp.address])], vec![ALLOWED.parse().unwrap()]);
    let reply = Server::new(only_corp).ask(&with_edns("www.example.")).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(20)));
}

#[tokio::test]
async fn signatures_and_bogus_answers_are_for_those_who_want_them() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 1);
        reply.metadata.authentic_data = true;
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    let plain = server.ask(&with_edns("www.example.org.")).await;
    assert!(!plain.metadata.authentic_data, "nobody asked");
    let mut wants_ad = with_edns("www.example.org.");
    wants_ad.metadata.authentic_data = true;
    assert!(server.ask(&wants_ad).await.metadata.authentic_data);
    assert_eq!(upstream.seen().len(), 1);
    let mut wants_signatures = with_edns("www.example.org.");
    wants_signatures.metadata.checking_disabled = true;
    wants_signatures.edns.as_mut().unwrap().set_dnssec_ok(true);
    let reply = server.ask(&wants_signatures).await;
    assert!(reply.metadata.authentic_data && reply.metadata.checking_disabled);
    assert!(reply.edns.is_some_and(|edns| edns.flags().dnssec_ok));
    let seen = upstream.seen();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    let flags = |seen: &Seen| {
        (seen.question.metadata.checking_disabled, seen.question.edns.as_ref().unwrap().flags().dnssec_ok)
    };
    assert_eq!((flags(first), flags(second)), ((false, false), (true, true)));
}
