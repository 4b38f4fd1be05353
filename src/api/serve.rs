//! Accepting HTTP connections, with limits that one client cannot use up for all.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::Peer;
use super::load::Held;
use crate::net::{Acceptor, BindError, ConnectionLimits, Connections, Pace, Paced, Slot, tcp_listener};

/// Octets of a request's head.
const HEAD_OCTETS_MAX: usize = 32 << 10;

/// Limits of the listeners.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Connections; the one idle longest makes room for a newcomer.
    pub connections: ConnectionLimits,
    /// How long the head of a request may take to arrive, and a connection to be without one.
    pub head_within: Duration,
    /// How fast a client must take its answer, which is in memory until it has.
    pub pace: Pace,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits { per_client: 4096, total: 8192 },
            head_within: Duration::from_secs(30),
            pace: Pace { patience: Duration::from_secs(10), octets_per_second: 64 << 10 },
        }
    }
}

/// Open sockets that nobody accepts on yet.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Opens every address.
    ///
    /// # Errors
    /// The first address that cannot be opened.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        addresses.iter().map(|address| tcp_listener(*address)).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Where the listeners are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `closing` turns true, then finishes the requests that have begun.
    pub async fn serve(self, router: Router, settings: Settings, closing: watch::Receiver<bool>) {
        let connections = Connections::new(settings.connections);
        let mut accepting = JoinSet::new();
        for listener in self.0 {
            let (router, connections, closing) = (router.clone(), connections.clone(), closing.clone());
            accepting.spawn(accept(listener, router, connections, settings, closing));
        }
        accepting.join_all().await;
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    settings: Settings,
    mut closing: watch::Receiver<bool>,
) {
    let mut conversations = JoinSet::new();
    let mut acceptor = Acceptor::new(listener, "HTTP");
    loop {
        let (stream, peer) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            Some(_) = conversations.join_next() => continue,
            () = crate::net::closing(&mut closing) => break,
        };
        if let Some(slot) = connections.admit(peer.ip()) {
            conversations.spawn(converse(stream, peer, router.clone(), slot, settings, closing.clone()));
        }
    }
    drop(acceptor);
    conversations.join_all().await;
}

/// What a connection is busy with. It is idle, and may be closed to make room, when it is busy with neither.
#[derive(Debug, Default)]
struct WorkOf {
    /// From the head of a request to the last frame of its answer.
    answering: bool,
    /// From the first octet written to the last one taken by the kernel.
    writing: bool,
    /// Room of answers whose last frame is made and perhaps not written yet.
    unwritten: Vec<Held>,
}

impl WorkOf {
    fn is_idle(&self) -> bool {
        !self.answering && !self.writing
    }
}

struct Work {
    slot: Slot,
    of: Mutex<WorkOf>,
}

impl Work {
    fn change(&self, edit: impl FnOnce(&mut WorkOf)) {
        let mut of = self.of.lock();
        let was_idle = of.is_idle();
        edit(&mut of);
        match (was_idle, of.is_idle()) {
            (true, false) => self.slot.busy(),
            (false, true) => self.slot.idle(),
            _ => {}
        }
    }

    /// Something waits to be written, or all has been.
    fn writing(&self, is: bool) {
        self.change(|of| {
            of.writing = is;
            if !is {
                of.unwritten.clear();
            }
        });
    }
}

/// Held for as long as an answer is being made, to its last frame.
struct Answering {
    work: Arc<Work>,
    held: Option<Held>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let held = self.held.take();
        self.work.change(|of| {
            of.answering = false;
            // The frames are made, and wait for the peer in the buffers of the connection.
            of.unwritten.extend(held);
        });
    }
}

/// The body of an answer, which its connection is busy with.
struct Answer {
    body: Body,
    #[expect(dead_code, reason = "held until the body is dropped")]
    answering: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    slot: Slot,
    settings: Settings,
    mut closing: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let work = Arc::new(Work { slot, of: Mutex::default() });
    let service = service_fn({
        let work = work.clone();
        move |request: Request<Incoming>| {
            let mut router = router.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            work.change(|of| of.answering = true);
            let mut answering = Answering { work: work.clone(), held: None };
            async move {
                let mut response = router.call(request).await?;
                answering.held = response.extensions_mut().remove();
                Ok::<_, Infallible>(response.map(|body| Answer { body, answering }))
            }
        }
    });
    let stream = Paced::new(stream, settings.pace, {
        let work = work.clone();
        move |is| work.writing(is)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_within)
        .max_buf_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = work.slot.evicted() => return,
        () = crate::net::closing(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %peer, error = %error, "an HTTP connection ended early");
    }
}
