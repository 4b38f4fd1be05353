//! gRPC probes: one call of `grpc.health.v1.Health/Check` over HTTP/2 without TLS, on a connection of its own.
//!
//! The library that speaks HTTP/2 is made for sockets of a runtime. Here it has two buffers in their place, and goes on
//! whenever something has come; all that it waits for is in them.

use std::fmt;
use std::future::Future;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dialogue::{ANSWER_OCTETS_MAX, Dialogue, Line};
use super::outcome::{Failure, failure_of};
use crate::model::HealthService;

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Octets of header sections, as HTTP/2 counts them (RFC 9113 §6.5.2).
const HEADERS_OCTETS_MAX: u32 = 16 * 1024;
/// Octets of the message of an answer, which are 2 as a rule.
const MESSAGE_OCTETS_MAX: usize = 1024;
/// Octets before a message: whether it is compressed, and how long it is.
const PREFIX_OCTETS: usize = 5;

/// What HTTP/2 begins with (RFC 9113 §3.4), and where it stands in a frame (§4.1).
const SETTINGS: u8 = 4;
const KIND_AT: usize = 3;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(PartialEq, Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The health that passes.
const SERVING: i32 = 1;

type CallFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// One call, and what comes of it.
pub(super) struct Call {
    target: SocketAddr,
    buffers: Arc<Mutex<Buffers>>,
    call: CallFuture,
    alarm: Arc<Alarm>,
    /// Octets that were read.
    read: usize,
    /// What frame came first.
    first_frame: Option<u8>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("target", &self.target).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Call {
    /// Asks for the health of a service.
    pub(super) fn new(service: &HealthService, target: SocketAddr) -> Self {
        let buffers = Arc::<Mutex<Buffers>>::default();
        let question = Question { service: service.as_str().to_owned() };
        let call = Box::pin(call(End(buffers.clone()), question, target));
        Self { target, buffers, call, alarm: Arc::default(), read: 0, first_frame: None }
    }

    /// Goes on with what has come.
    fn go_on(&mut self) -> Poll<Result<(), Failure>> {
        let waker = Waker::from(self.alarm.clone());
        loop {
            self.alarm.0.store(false, Ordering::Relaxed);
            let advanced = self.call.as_mut().poll(&mut Context::from_waker(&waker));
            // Parts of it wake each other.
            match advanced {
                Poll::Pending if self.alarm.0.load(Ordering::Relaxed) => {}
                Poll::Ready(Err(Failure::Http2(target, _)))
                    if self.first_frame.is_some_and(|kind| kind != SETTINGS) =>
                {
                    return Poll::Ready(Err(Failure::NotHttp2(target)));
                }
                advanced => return advanced,
            }
        }
    }

    /// Sends what there is to send, as far as the line lets it.
    fn flush(&self, line: &mut Line<'_>) -> io::Result<()> {
        let mut buffers = self.buffers.lock();
        let mut sent = 0;
        let flushed = loop {
            if sent == buffers.outbound.len() {
                break Ok(());
            }
            match line.stream.write(&buffers.outbound[sent..]) {
                Ok(0) => break Err(io::ErrorKind::BrokenPipe.into()),
                Ok(octets) => sent += octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        buffers.outbound.drain(..sent);
        flushed
    }
}

impl Dialogue for Call {
    fn advance(&mut self, line: &mut Line<'_>) -> Poll<Result<(), Failure>> {
        loop {
            let advanced = self.go_on();
            let flushed = self.flush(line);
            if advanced.is_ready() {
                return advanced;
            }
            if let Err(error) = flushed {
                return Poll::Ready(Err(failure_of(&error, self.target)));
            }
            if !line.readable {
                return Poll::Pending;
            }
            // What it sends back is never more than what has come, so this bounds both.
            let room = ANSWER_OCTETS_MAX - self.read;
            if room == 0 {
                return Poll::Ready(Err(Failure::TooMuch(self.target)));
            }
            match line.read(room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failure_of(&error, self.target))),
                Poll::Ready(Ok(0)) if self.buffers.lock().ended => {
                    return Poll::Ready(Err(Failure::Closed(self.target)));
                }
                Poll::Ready(Ok(0)) => self.buffers.lock().ended = true,
                Poll::Ready(Ok(octets)) => {
                    if let Some(at) = KIND_AT.checked_sub(self.read)
                        && let Some(kind) = line.scratch[..octets].get(at)
                    {
                        self.first_frame = Some(*kind);
                    }
                    self.read += octets;
                    self.buffers.lock().inbound.extend_from_slice(&line.scratch[..octets]);
                }
            }
        }
    }
}

/// Whether the call wants to go on although nothing has come.
#[derive(Debug, Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What has come and not been looked at, and what is to be sent.
#[derive(Debug, Default)]
struct Buffers {
    inbound: Vec<u8>,
    /// Whether the peer has ended its side.
    ended: bool,
    outbound: Vec<u8>,
}

/// The connection, as the library sees it. It never wakes anybody: whoever fills the buffers has it go on.
struct End(Arc<Mutex<Buffers>>);

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.lock();
        let octets = buffers.inbound.len().min(into.remaining());
        if octets == 0 && !buffers.ended {
            return Poll::Pending;
        }
        into.put_slice(&buffers.inbound[..octets]);
        buffers.inbound.drain(..octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().outbound.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The call from its first octet to its last.
async fn call(end: End, question: Question, target: SocketAddr) -> Result<(), Failure> {
    let fault = |error: h2::Error| fault_of(&error, target);
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEADERS_OCTETS_MAX);
    let (requests, connection) = builder.handshake(end).await.map_err(fault)?;
    let exchange = pin!(exchange(requests, question, target));
    match select(exchange, pin!(connection)).await {
        Either::Left((result, _)) => result,
        // A peer may have said why before it left.
        Either::Right((Err(error), _)) if error.is_go_away() => Err(fault_of(&error, target)),
        // The exchange learns of the end.
        Either::Right((_, exchange)) => exchange.await,
    }
}

async fn exchange(
    requests: h2::client::SendRequest<Cursor<Vec<u8>>>,
    question: Question,
    target: SocketAddr,
) -> Result<(), Failure> {
    let fault = |error: h2::Error| fault_of(&error, target);
    let mut requests = requests.ready().await.map_err(fault)?;
    let request = http::Request::post(format!("http://{target}{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .body(())
        .expect("an address and a path make a url");
    let (response, mut body) = requests.send_request(request, false).map_err(fault)?;
    body.send_data(Cursor::new(framed(&question)), true).map_err(fault)?;
    let (head, mut body) = response.await.map_err(fault)?.into_parts();
    if head.status != http::StatusCode::OK {
        let expected = "200".parse().expect("200 is a status");
        return Err(Failure::Status(head.status.as_u16(), expected));
    }
    let content = head.headers.get("content-type").map_or(&b""[..], |value| value.as_bytes());
    if !content.starts_with(b"application/grpc") {
        return Err(Failure::NotGrpc(target));
    }
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(fault)?;
        if message.len() + data.len() > PREFIX_OCTETS + MESSAGE_OCTETS_MAX {
            return Err(Failure::TooMuch(target));
        }
        message.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).map_err(fault)?;
    }
    // Without a message the status may come with the head.
    let trailers = body.trailers().await.map_err(fault)?.unwrap_or(head.headers);
    let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
    match status.ok_or(Failure::NotGrpc(target))? {
        0 => {}
        status => return Err(Failure::GrpcStatus(status)),
    }
    match health_in(&message).ok_or(Failure::NotGrpc(target))? {
        SERVING => Ok(()),
        other => Err(Failure::Health(other)),
    }
}

/// What an error of the library means.
fn fault_of(error: &h2::Error, target: SocketAddr) -> Failure {
    match (error.get_io(), error.reason()) {
        // What is left of a connection that has ended.
        (Some(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Failure::Closed(target),
        (Some(error), _) => failure_of(error, target),
        (None, reason) => Failure::Http2(target, reason.unwrap_or(h2::Reason::PROTOCOL_ERROR)),
    }
}

/// A message as gRPC sends it.
fn framed(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("names are short");
    let mut octets = vec![0];
    octets.extend(length.to_be_bytes());
    octets.extend(message.encode_to_vec());
    octets
}

/// The health that an answer tells; none when it is no answer. Nothing is decompressed.
fn health_in(octets: &[u8]) -> Option<i32> {
    let (prefix, message) = octets.split_first_chunk::<PREFIX_OCTETS>()?;
    let [0, length @ ..] = prefix else { return None };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return None;
    }
    Health::decode(message).ok().map(|health| health.status)
}

#[cfg(test)]
mod tests;
