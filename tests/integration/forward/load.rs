//! Many questions at once, and questions that go in circles.

use super::*;

#[tokio::test]
async fn the_same_question_is_asked_once_for_all_who_wait() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    let question = with_edns("www.example.org.");
    let replies = futures(20, || server.ask(&question)).await;
    assert!(replies.iter().all(|reply| reply.answers.len() == 2));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(server.count("dns_forward_cache_total{result=\"joined\"}"), 19);
}

/// Runs so many of the same at once.
async fn futures<T, F: Future<Output = T>>(count: usize, make: impl Fn() -> F) -> Vec<T> {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn those_who_wait_are_bounded() {
    let upstream = Upstream::start(silent);
    let mut settings = hasty(&[upstream.address]);
    settings.in_flight = FlightLimits { total: 8, per_net: 5 };
    let server = Server::new(settings);
    let next = AtomicUsize::new(0);
    let replies = futures(40, || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let client = format!("127.0.{}.1:40000", number / 20);
        let (server, question) = (&server, with_edns(&format!("n{number}.example.org.")));
        async move { server.ask_from(&client, &question, Protocol::Udp).await }
    })
    .await;
    assert!(replies.iter().all(failed));
    let full = replies.iter().filter(|reply| why(reply) == Some(0)).count();
    assert_eq!(full, 32);
    assert_eq!(server.count("dns_forwarded_total{result=\"full\"}"), 32);
    assert_eq!(server.count("dns_forward_in_flight"), 0, "places are free again");
}

/// A server with sockets of its own, for as long as the sender is held.
fn listen(handler: Arc<Handler>, listeners: Listeners) -> watch::Sender<bool> {
    let (closing, signal) = watch::channel(false);
    tokio::spawn(listeners.serve(handler, dns::Settings::default(), signal));
    closing
}

fn listeners() -> (Listeners, SocketAddr) {
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses()[0];
    (listeners, address)
}

#[tokio::test]
async fn loops_end_in_servfail() {
    // To itself, and two to each other.
    for count in [1, 2] {
        let (listeners, addresses): (Vec<_>, Vec<_>) = (0..count).map(|_| listeners()).unzip();
        let servers: Vec<Server> = (1..=count).map(|next| Server::new(hasty(&[addresses[next % count]]))).collect();
        let _open: Vec<_> = listeners.into_iter().zip(&servers).map(|(l, s)| listen(s.handler.clone(), l)).collect();
        let reply = timeout(10 * HASTY.total, servers[0].ask(&with_edns("www.example.org."))).await.unwrap();
        assert!(failed(&reply), "{reply}");
        for server in &servers {
            let asked = server.count("dns_forward_cache_total{result=\"joined\"}");
            assert!(asked <= 10, "{asked} questions went round");
        }
    }
}

#[tokio::test]
async fn own_names_do_not_wait_for_upstreams() {
    let upstream = Upstream::start(silent);
    let server = Server::new(hasty(&[upstream.address]));
    let (listeners, address) = listeners();
    let _open = listen(server.handler.clone(), listeners);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    let mut reply = [0; 1500];
    for name in ["foreign.example.org.", "svc.internal."] {
        socket.send(&with_edns(name).to_vec().unwrap()).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let length = timeout(10 * HASTY.total, socket.recv(&mut reply)).await.unwrap().unwrap();
        order.push(Message::from_vec(&reply[..length]).unwrap().metadata.response_code);
    }
    assert_eq!(order, [ResponseCode::NoError, ResponseCode::ServFail]);
}
