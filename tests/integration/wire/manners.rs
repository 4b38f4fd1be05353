//! What replies say beside the answer: cookies, the server's name, keepalive, questions about the server itself.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::support::world::answering;

const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

async fn options(options: &[u8], protocol: Protocol) -> (u16, Vec<u8>) {
    let world = World::new().await;
    put(&world, "web", "i1", r#"{"address":"10.0.0.1","port":80}"#).await;
    let message = with_opt(question(&wire("web.svc.internal"), A), 1232, 0, options);
    let reply = send(&world, &message, protocol).await.unwrap();
    (reply.rcode, reply.opt.unwrap().data)
}

#[tokio::test(start_paused = true)]
async fn a_cookie_comes_back_with_one_of_ours() {
    let (rcode, data) = options(&COOKIE, Protocol::Udp).await;
    assert_eq!((rcode, &data[..4], data.len()), (NOERROR, &[0, 10, 0, 24][..], 28));
    assert_eq!(data[4..12], COOKIE[4..], "the client's own");
    assert_eq!(data[12..16], [1, 0, 0, 0], "version 1 of RFC 9018");
    let again = [&[0, 10, 0, 24][..], &data[4..]].concat();
    assert_eq!(options(&again, Protocol::Udp).await.1.len(), 28, "with ours it is taken too");
}

#[tokio::test(start_paused = true)]
async fn a_cookie_of_an_impossible_length_is_formerr() {
    for length in [0u8, 1, 7, 9, 15, 41] {
        let option = [&[0, 10, 0, length][..], &vec![7; length.into()]].concat();
        assert_eq!(options(&option, Protocol::Udp).await.0, FORMERR, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_without_question_is_answered_for_its_cookie_alone() {
    let world = World::new().await;
    let cookie = with_opt(header([0, 0], [0; 4]), 1232, 0, &COOKIE);
    let reply = send(&world, &cookie, Protocol::Udp).await.unwrap();
    assert_eq!((reply.rcode, reply.opt.unwrap().data.len()), (NOERROR, 28));
    let none = with_opt(header([0, 0], [0; 4]), 1232, 0, &[]);
    assert_eq!(send(&world, &none, Protocol::Udp).await.unwrap().rcode, FORMERR);
}

#[tokio::test(start_paused = true)]
async fn the_server_names_itself_when_asked_and_configured() {
    assert_eq!(options(&[0, 3, 0, 0], Protocol::Udp).await.1, b"\0\x03\0\x07n1.test");
    assert_eq!(options(&[], Protocol::Udp).await.1, b"");
}

#[tokio::test(start_paused = true)]
async fn keepalive_is_for_connections() {
    assert_eq!(options(&[0, 11, 0, 0], Protocol::Tcp).await.1, [0, 11, 0, 2, 0, 100]);
    assert_eq!(options(&[0, 11, 0, 0], Protocol::Udp).await.1, b"");
}

#[tokio::test(start_paused = true)]
async fn questions_about_the_server_are_answered_as_configured() {
    let world = World::new().await;
    for (name, wanted) in [
        ("id.server.", Some("n1.test")),
        ("HOSTNAME.bind.", Some("n1.test")),
        ("version.bind.", None),
        ("version.server.", None),
        ("authors.bind.", None),
        ("svc.internal.", None),
    ] {
        let mut query = Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT);
        query.set_query_class(DNSClass::CH);
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.add_query(query);
        let reply = world.ask(&message, Protocol::Udp).await;
        let texts: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(texts.first().map(String::as_str), wanted, "{name}");
        assert!(reply.answers.iter().all(|record| record.dns_class == DNSClass::CH));
        let rcode = if wanted.is_some() { NOERROR } else { REFUSED };
        assert_eq!(u16::from(reply.metadata.response_code), rcode, "{name}");
    }
}

/// The handler is hickory-server's too: its transports can be attached.
#[tokio::test]
async fn a_server_of_the_library_answers_through_the_handler() {
    let world = World::new().await;
    put(&world, "web", "i1", r#"{"addresses":["10.0.0.1","fd00::1"],"port":80}"#).await;
    let handler = rollcall::dns::Handler::new(Arc::clone(&world.zone), answering(1232), &mut Default::default());
    let mut server = hickory_server::Server::new(handler);
    let listener = rollcall::net::tcp_listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    server.register_listener(listener, Duration::from_secs(5), 1024);

    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("_web._tcp.svc.internal.").unwrap(), RecordType::SRV));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.edns = Some(edns);
    let octets = message.to_vec().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(&[&(octets.len() as u16).to_be_bytes()[..], &octets].concat()).await.unwrap();
    let mut reply = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut reply).await.unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert!(reply.metadata.authoritative && reply.edns.is_some());
    assert!(matches!(&reply.answers[0].data, RData::SRV(srv) if srv.port == 80));
    assert_eq!(reply.additionals.len(), 2);
    server.shutdown_gracefully().await.unwrap();
}
