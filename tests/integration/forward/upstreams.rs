//! What upstreams do wrong, and what becomes of it.

use super::*;

#[tokio::test]
async fn what_the_upstream_had_to_cut_is_fetched_over_tcp() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 200);
        if !seen.over_tcp {
            reply.answers.truncate(3);
            reply.metadata.truncation = true;
        }
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    let whole = server.ask_from(LOCAL, &with_edns("big.example.org."), Protocol::Tcp).await;
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    assert_eq!(upstream.seen().iter().map(|seen| seen.over_tcp).collect::<Vec<_>>(), [false, true]);
    // The same for a client over UDP, as far as it fits.
    let cut = server.ask(&with_edns("big.example.org.")).await;
    assert!(cut.metadata.truncation && (40..200).contains(&cut.answers.len()) && cut.edns.is_some());
    assert!(cut.to_vec().unwrap().len() <= 1232);
    let small = server.ask(&query("big.example.org.", RecordType::A)).await;
    assert!(small.metadata.truncation && small.to_vec().unwrap().len() <= 512 && !small.answers.is_empty());
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn silence_ends_in_servfail_within_the_time_there_is() {
    let upstream = Upstream::start(silent);
    let server = Server::new(hasty(&[upstream.address]));
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(22), "{reply}");
    assert!(began.elapsed() >= HASTY.total && began.elapsed() < 10 * HASTY.total, "{:?}", began.elapsed());
    let tries = upstream.seen().len();
    assert!((2..=3).contains(&tries), "{tries}");
    // The failure itself is kept for a moment, so that a name that cannot be resolved does not keep everyone busy.
    assert!(failed(&server.ask(&with_edns("www.example.org.")).await));
    assert_eq!(upstream.seen().len(), tries);
    let ports: std::collections::HashSet<u16> = upstream.seen().iter().map(|seen| seen.from.port()).collect();
    assert_eq!(ports.len(), tries, "each try has a port of its own");
}

#[tokio::test]
async fn nobody_at_the_address_is_a_network_error() {
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::new(settings(&[free]));
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(23), "{reply}");
    assert!(began.elapsed() < Times::default().attempt, "the network said so at once");
}

#[tokio::test]
async fn the_next_upstream_is_asked_when_one_cannot() {
    for rcode in [ResponseCode::Refused, ResponseCode::ServFail, ResponseCode::NotImp, ResponseCode::FormErr] {
        let cannot = Upstream::start(move |seen: &Seen| one(&seen.reply(rcode)));
        let can = Upstream::start(well);
        let server = Server::before(&[&cannot, &can]);
        assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1], "{rcode}");
        assert_eq!((cannot.seen().len(), can.seen().len()), (1, 1), "{rcode}");
    }
}

#[tokio::test]
async fn an_upstream_that_was_silent_is_asked_last() {
    let (slow, quick) = (Upstream::start(silent), Upstream::start(well));
    let server = Server::new(hasty(&[slow.address, quick.address]));
    for name in ["a.example.org.", "b.example.org.", "c.example.org."] {
        assert_eq!(last_octets(&server.ask(&with_edns(name)).await), [0, 1]);
    }
    assert_eq!((slow.seen().len(), quick.seen().len()), (1, 3));
}

#[tokio::test]
async fn when_no_upstream_can_the_reason_of_the_last_is_told() {
    let upstreams = [(); 2].map(|()| Upstream::start(|seen| one(&seen.reply(ResponseCode::Refused))));
    let server = Server::before(&[&upstreams[0], &upstreams[1]]);
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(22), "{reply}");
    assert!(began.elapsed() < Times::default().attempt, "nobody is asked twice who has said no");
    assert_eq!(upstreams.map(|upstream| upstream.seen().len()), [1, 1]);
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without() {
    let upstream = Upstream::start(|seen| match seen.question.edns {
        Some(_) => {
            let mut reply = seen.reply(ResponseCode::FormErr);
            reply.edns = None;
            one(&reply)
        }
        None => well(seen),
    });
    let server = Server::before(&[&upstream]);
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.len() == 2 && reply.edns.is_some(), "{reply}");
}

/// What is sent before the true reply must not be believed, and must not keep it from being believed.
async fn assert_ignored(what: &str, forge: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) {
    let upstream = Upstream::start(move |seen: &Seen| {
        let truth = seen.addresses(60, 2).to_vec().unwrap();
        if seen.over_tcp { vec![truth] } else { vec![forge(seen), truth] }
    });
    let server = Server::before(&[&upstream]);
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert_eq!(last_octets(&reply), [0, 1], "{what}");
}

#[tokio::test]
async fn only_a_matching_reply_is_used() {
    let forged = |seen: &Seen, change: &dyn Fn(&mut Message)| {
        let mut reply = seen.addresses(60, 7);
        change(&mut reply);
        reply.to_vec().unwrap()
    };
    assert_ignored("another id", move |seen| forged(seen, &|reply| reply.metadata.id ^= 1)).await;
    assert_ignored("another name", move |seen| {
        let other = Name::from_ascii("wwx.example.org.").unwrap();
        forged(seen, &|reply| {
            reply.queries[0].set_name(other.clone());
        })
    })
    .await;
    assert_ignored("another type", move |seen| {
        forged(seen, &|reply| {
            reply.queries[0].set_query_type(RecordType::AAAA);
        })
    })
    .await;
    assert_ignored("no question", move |seen| forged(seen, &|reply| reply.queries.clear())).await;
    assert_ignored("a query", move |seen| forged(seen, &|reply| reply.metadata.message_type = MessageType::Query))
        .await;
    assert_ignored("other letters", move |seen| {
        let lower = seen.question.queries[0].name().to_lowercase();
        forged(seen, &|reply| {
            reply.queries[0].set_name(lower.clone());
        })
    })
    .await;
    assert_ignored("nothing", |_| vec![]).await;
    assert_ignored("a fragment", move |seen| forged(seen, &|_| ())[..50].to_vec()).await;
    assert_ignored("garbage", |_| vec![0xa5; 4096]).await;
    assert_ignored("a huge datagram", move |seen| {
        let mut reply = forged(seen, &|_| ());
        reply.resize(60_000, 0xff);
        reply[4..12].fill(0xff);
        reply
    })
    .await;
}

#[tokio::test]
async fn a_reply_from_elsewhere_is_not_used() {
    let elsewhere = Arc::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let upstream = Upstream::start(move |seen: &Seen| {
        let forged = seen.addresses(60, 7).to_vec().unwrap();
        elsewhere.send_to(&forged, seen.from).unwrap();
        one(&seen.addresses(60, 2))
    });
    let server = Server::before(&[&upstream]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1]);
}

#[tokio::test]
async fn guessing_ids_leads_to_tcp() {
    let upstream = Upstream::start(|seen| {
        if seen.over_tcp {
            return well(seen);
        }
        let mut forged = seen.addresses(60, 7);
        let guess = |step: u16| {
            forged.metadata.id = seen.question.metadata.id.wrapping_add(step);
            forged.to_vec().unwrap()
        };
        (1..100).chain([0]).map(guess).collect()
    });
    let server = Server::before(&[&upstream]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1]);
    assert!(upstream.seen().last().unwrap().over_tcp);
}

#[tokio::test]
async fn a_server_that_does_not_keep_letters_is_found_out_once() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 2);
        let lower = reply.queries[0].name().to_lowercase();
        reply.queries[0].set_name(lower);
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    for name in ["a-name-with-letters.example.org.", "another-name-with-letters.example.org."] {
        assert_eq!(last_octets(&server.ask(&with_edns(name)).await), [0, 1]);
    }
    assert_eq!(upstream.seen().iter().map(|seen| seen.over_tcp).collect::<Vec<_>>(), [false, true, false]);
}
