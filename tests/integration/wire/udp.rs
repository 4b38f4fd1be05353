//! Datagrams on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rollcall::dns::{Listeners, Settings};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::*;

/// Longer than anything takes that is going to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A served world; it closes when this is dropped.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    _closing: watch::Sender<bool>,
    _world: (Arc<dyn rollcall::store::Store>, rollcall::view::ViewReader),
}

/// Serves one instance as `web`.
pub(super) async fn serve(settings: Settings) -> Served {
    serve_with(0, settings).await
}

/// Serves one instance as `web`, and more than a message holds as `big`.
pub(super) async fn serve_big(settings: Settings) -> Served {
    serve_with(1000, settings).await
}

async fn serve_with(big: usize, settings: Settings) -> Served {
    let world = World::new().await;
    put(&world, "web", "i1", r#"{"address":"10.0.0.1","port":80}"#).await;
    for n in 0..big {
        let body = format!(r#"{{"addresses":["10.1.{}.{}","fd00::{n:x}"],"port":80}}"#, n / 250, n % 250);
        put(&world, "big", &format!("{}{n}", "long-".repeat(11)), &body).await;
    }
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses()[0];
    let (sender, closing) = watch::channel(false);
    tokio::spawn(listeners.serve(Arc::new(world.handler), settings, closing));
    Served { address, _closing: sender, _world: (world.store, world.view) }
}

pub(super) fn web() -> Vec<u8> {
    question(&wire("web.svc.internal"), A)
}

/// Asks over UDP as a new client, until there is a reply: datagrams may be lost where receive buffers are small.
pub(super) async fn ask(server: SocketAddr) -> Reply {
    ask_for(server, &web()).await
}

async fn ask_for(server: SocketAddr, question: &[u8]) -> Reply {
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server).await.unwrap();
    let mut reply = vec![0; 2000];
    let asking = async {
        loop {
            client.send(question).await.unwrap();
            if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(1), client.recv(&mut reply)).await {
                return length;
            }
        }
    };
    let length = tokio::time::timeout(PATIENCE, asking).await.expect("a reply over UDP");
    reply.truncate(length);
    read(reply)
}

#[tokio::test]
async fn odd_datagrams_leave_the_socket_serving() {
    let served = serve(Settings::default()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(served.address).await.unwrap();
    client.send(&[]).await.unwrap();
    client.send(&[0]).await.unwrap();
    client.send(&vec![0xff; 60_000]).await.unwrap();
    // A message in the largest datagram is read to its end: all of it is one option.
    let padding = [vec![0, 12, 0xea, 0x60], vec![0; 60_000]].concat();
    client.send(&with_opt(web(), 1232, 0, &padding)).await.unwrap();
    let mut reply = vec![0; 2000];
    let length = tokio::time::timeout(PATIENCE, client.recv(&mut reply)).await.expect("a reply").unwrap();
    let reply = read(reply[..length].to_vec());
    assert_eq!((reply.rcode, reply.sections[0].len(), reply.opt.is_some()), (NOERROR, 1, true));
}

#[tokio::test]
async fn every_client_is_answered_whichever_socket_hears_it() {
    let served = serve(Settings::default()).await;
    for _ in 0..100 {
        assert_eq!(ask(served.address).await.sections[0].len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_has_closed_leaves_its_port_to_others() {
    let world = World::new().await;
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses()[0];
    let (sender, closing) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(Arc::new(world.handler), Settings::default(), closing));
    assert!(UdpSocket::bind(address).await.is_err());
    // A reply of any kind shows that it serves.
    ask_for(address, &question(&wire("nobody.svc.internal"), A)).await;
    sender.send_replace(true);
    serving.await.unwrap();
    UdpSocket::bind(address).await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_gone_takes_nobody_along() {
    let served = serve(Settings::default()).await;
    for _ in 0..50 {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        gone.send_to(&web(), served.address).await.unwrap();
    }
    assert_eq!(ask(served.address).await.sections[0].len(), 1);
}

#[tokio::test]
async fn replies_come_from_where_they_were_asked_and_fit() {
    let served = serve_big(Settings::default()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&with_opt(question(&wire("big.svc.internal"), SRV), 65_535, 0, &[]), served.address).await.unwrap();
    let mut reply = vec![0; 70_000];
    let received = tokio::time::timeout(PATIENCE, client.recv_from(&mut reply)).await.expect("a reply");
    let (length, from) = received.unwrap();
    assert_eq!(from, served.address);
    assert!(length <= 1232);
    assert!(read(reply[..length].to_vec()).truncated);
}
