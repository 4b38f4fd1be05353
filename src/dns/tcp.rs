//! Questions over connections (RFC 7766): length-prefixed, answered as each becomes ready.
//!
//! What this server knows itself is answered at once and in order; what must be asked elsewhere waits without holding
//! up what came after it (RFC 7766 §6.2.1.1). Replies are written before more questions are read, so a client that does
//! not read holds one write and the questions that wait, and no more.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Handler, Protocol};
use crate::net::{Acceptor, Connections, Slot};

/// Questions of one connection that may wait for somebody else's answer.
const WAITING_MAX: usize = 64;
/// Octets of replies that are gathered for one write.
const GATHERED_OCTETS: usize = 32 << 10;
/// Octets read at once.
const READ_OCTETS: usize = 4 << 10;

type Reply<'h> = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'h>>;

/// Accepts connections until the task is aborted. A connection ends by itself after `idle` without a whole question.
pub(super) async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    connections: Arc<Connections>,
    idle: Duration,
    closing: watch::Receiver<bool>,
) {
    let mut acceptor = Acceptor::new(listener, "DNS");
    loop {
        let (stream, client) = acceptor.accept().await;
        if let Some(slot) = connections.admit(client.ip()) {
            let (handler, mut closing) = (handler.clone(), closing.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = Conversation::new(&handler, client).hold(stream, &slot, idle) => {}
                    () = slot.evicted() => {}
                    () = crate::net::closing(&mut closing) => {}
                }
            });
        }
    }
}

/// A message that cannot be answered, after which a connection is of no use.
struct Unanswerable;

/// What has come over a connection and what is still to be said.
struct Conversation<'h> {
    handler: &'h Handler,
    client: SocketAddr,
    /// Octets read that are no whole message yet, or whose turn has not come.
    read: Vec<u8>,
    waiting: FuturesUnordered<Reply<'h>>,
    replies: Vec<u8>,
}

impl<'h> Conversation<'h> {
    fn new(handler: &'h Handler, client: SocketAddr) -> Self {
        Self { handler, client, read: Vec::new(), waiting: FuturesUnordered::new(), replies: Vec::new() }
    }

    /// Answers questions until the client goes, is too slow, or sends what cannot be answered.
    async fn hold(mut self, mut stream: TcpStream, slot: &Slot, idle: Duration) {
        let _ = stream.set_nodelay(true);
        let (mut reader, mut writer) = stream.split();
        let (mut deadline, mut ended) = (Instant::now() + idle, false);
        loop {
            match self.answer().await {
                Ok(0) => {}
                Ok(_) => {
                    deadline = Instant::now() + idle;
                    // Idle anew: whoever asked last makes room last.
                    slot.idle();
                }
                Err(Unanswerable) => return,
            }
            if !self.replies.is_empty() {
                // Waiting for the client is idling too: whoever does not read makes room for others.
                if !matches!(timeout(idle, writer.write_all(&self.replies)).await, Ok(Ok(()))) {
                    return;
                }
                self.replies.clear();
                continue;
            }
            if ended && self.waiting.is_empty() {
                return;
            }
            let more = !ended && self.waiting.len() < WAITING_MAX;
            if self.waiting.is_empty() {
                self.read.reserve(READ_OCTETS.min(self.missing()));
                match timeout_at(deadline, reader.read_buf(&mut self.read)).await {
                    Ok(Ok(0)) => ended = true,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
                continue;
            }
            slot.busy();
            self.read.reserve(READ_OCTETS.min(self.missing()));
            tokio::select! {
                Some(reply) = self.waiting.next() => {
                    deadline = Instant::now() + idle;
                    if push(&mut self.replies, reply).is_err() {
                        return;
                    }
                }
                read = reader.read_buf(&mut self.read), if more => match read {
                    Ok(0) => ended = true,
                    Ok(_) => {}
                    Err(_) => return,
                },
            }
            slot.idle();
        }
    }

    /// Octets that the next message still needs, with its prefix.
    fn missing(&self) -> usize {
        let whole = self.read.first_chunk().map_or(2, |prefix| 2 + usize::from(u16::from_be_bytes(*prefix)));
        whole.saturating_sub(self.read.len()).max(1)
    }

    /// Answers the whole messages that have come, as far as there is room for the replies; says how many.
    async fn answer(&mut self) -> Result<usize, Unanswerable> {
        let (mut at, mut answered) = (0, 0);
        while self.replies.len() < GATHERED_OCTETS && self.waiting.len() < WAITING_MAX {
            let Some(prefix) = self.read[at..].first_chunk() else { break };
            let length = usize::from(u16::from_be_bytes(*prefix));
            let Some(message) = self.read.get(at + 2..at + 2 + length) else { break };
            let (handler, client, message) = (self.handler, self.client, message.to_vec());
            let mut reply: Reply<'h> = Box::pin(async move { handler.respond(&message, client, Protocol::Tcp).await });
            match std::future::poll_fn(|context| Poll::Ready(reply.as_mut().poll(context))).await {
                Poll::Ready(reply) => push(&mut self.replies, reply)?,
                Poll::Pending => self.waiting.push(reply),
            }
            at += 2 + length;
            answered += 1;
        }
        self.read.drain(..at);
        Ok(answered)
    }
}

/// Adds a reply with its length in front.
fn push(replies: &mut Vec<u8>, reply: Option<Vec<u8>>) -> Result<(), Unanswerable> {
    let reply = reply.ok_or(Unanswerable)?;
    let length = u16::try_from(reply.len()).map_err(|_| Unanswerable)?;
    replies.extend_from_slice(&length.to_be_bytes());
    replies.extend_from_slice(&reply);
    Ok(())
}
