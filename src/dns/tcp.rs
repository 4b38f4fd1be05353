//! Questions over connections (RFC 7766): length-prefixed, one after another, answered in the order they come.
//!
//! A reply is written before the next question is read, so a client that does not read holds one reply and no more. A
//! connection is busy while its question is being answered; whoever keeps us waiting, with a question or with reading
//! the reply, is idle and makes room for others when there are too many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Handler, Protocol};
use crate::net::{Connections, Slot};

/// Room made for a message before its octets have come.
const MESSAGE_OCTETS_FIRST: usize = 1024;

/// Accepts connections until the task is aborted. A connection ends by itself after `idle` without a whole question.
pub(super) async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    connections: Arc<Connections>,
    idle: Duration,
    closing: watch::Receiver<bool>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                if let Some(slot) = connections.admit(client.ip()) {
                    let (handler, mut closing) = (handler.clone(), closing.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = converse(stream, client, &handler, &slot, idle) => {}
                            () = slot.evicted() => {}
                            () = crate::net::closing(&mut closing) => {}
                        }
                    });
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: waiting frees some, spinning frees none.
                tracing::warn!(error = %error, "accepting a DNS connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Answers questions until the client goes, is too slow, or sends what cannot be answered.
async fn converse(mut stream: TcpStream, client: SocketAddr, handler: &Handler, slot: &Slot, idle: Duration) {
    let _ = stream.set_nodelay(true);
    while let Ok(Ok(message)) = timeout(idle, read_message(&mut stream)).await {
        slot.busy();
        let reply = handler.respond(&message, client, Protocol::Tcp).await;
        slot.idle();
        let Some(reply) = reply else { return };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let mut framed = Vec::with_capacity(2 + reply.len());
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&reply);
        if !matches!(timeout(idle, stream.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// One message. Memory follows what has come, not what the prefix promises.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = Vec::with_capacity(MESSAGE_OCTETS_FIRST.min(length.into()));
    let read = stream.take(length.into()).read_to_end(&mut message).await?;
    if read == usize::from(length) { Ok(message) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}
