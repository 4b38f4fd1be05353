//! Snapshots: all that a server keeps, as lines, in either direction and never all in memory.

use std::convert::Infallible;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::exchange::{Driver, Fault, connect, rest, send};
use super::{Client, ClientError, problem};

const PATH: &str = "/v1/snapshot";
const MEDIA_TYPE: &str = "application/jsonl";
/// Octets that are read and sent at once.
const CHUNK_OCTETS: usize = 64 << 10;
/// The longest that neither side moves on. A server that has got everything writes it to its disk.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// A snapshot on its way here.
#[derive(Debug)]
pub struct Download {
    address: String,
    body: Incoming,
    /// The connection; it ends with this value.
    _driver: Driver,
}

impl Download {
    /// The next octets; `None` at the end. A snapshot that is whole ends with a line that says so.
    ///
    /// # Errors
    /// When the connection is lost or silent for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let lost = |last: String| ClientError::Unreachable { tried: vec![self.address.clone()], last };
        loop {
            match timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => return Err(lost(format!("silent for {} s", SILENCE_MAX.as_secs()))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(lost(error.to_string())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(octets) = frame.into_data() {
                        return Ok(Some(octets));
                    }
                }
            }
        }
    }
}

impl Client {
    /// All that the server keeps, as lines; the first address that answers is asked.
    ///
    /// # Errors
    /// When no address answered, or one answered with anything but a snapshot.
    pub async fn snapshot(&self) -> Result<Download, ClientError> {
        let (address, head, body, driver) = self.stream(Method::GET, None::<StreamBody<NoFrames>>).await?;
        let media_type = head.headers.get(CONTENT_TYPE);
        if head.status == StatusCode::OK && media_type.is_some_and(|is| is == MEDIA_TYPE) {
            return Ok(Download { address, body, _driver: driver });
        }
        let body = rest(body, &self.limits).await.unwrap_or_default();
        problem::judge(head, &body, &address)?;
        Err(ClientError::Protocol { address, detail: "the answer is no snapshot".to_owned() })
    }

    /// Puts a snapshot in place of all that the server keeps, and returns how much that was and is. It is sent once, to
    /// the first address that takes a connection.
    ///
    /// # Errors
    /// When no address answered or the connection was lost, or the server said no; then nothing has changed unless the
    /// connection was lost behind the last line.
    pub async fn restore(&self, lines: impl Read + Send + 'static) -> Result<Value, ClientError> {
        let (moving, mut moved) = watch::channel(());
        let frames = futures_util::stream::unfold((lines, moving), async |(lines, moving)| {
            let _ = moving.send(());
            let read = tokio::task::spawn_blocking(move || {
                let (mut lines, mut octets) = (lines, Vec::with_capacity(CHUNK_OCTETS));
                let read = lines.by_ref().take(CHUNK_OCTETS as u64).read_to_end(&mut octets);
                (lines, read.map(|_| octets))
            });
            let (lines, octets) = read.await.ok()?;
            let frame = match octets {
                Ok(octets) if octets.is_empty() => return None,
                Ok(octets) => Ok(Frame::data(Bytes::from(octets))),
                Err(error) => Err(error),
            };
            Some((frame, (lines, moving)))
        });
        let body = StreamBody::new(Box::pin(frames));
        let answered = async {
            let (address, head, body, _driver) = self.stream(Method::PUT, Some(body)).await?;
            let body = rest(body, &self.limits).await.unwrap_or_default();
            Ok(problem::judge(head, &body, &address)?.body)
        };
        let mut answered = std::pin::pin!(answered);
        loop {
            let waited = timeout(SILENCE_MAX, async {
                tokio::select! {
                    answer = &mut answered => Some(answer),
                    Ok(()) = moved.changed() => None,
                }
            });
            match waited.await {
                Ok(Some(answer)) => return answer,
                Ok(None) => {}
                Err(_) => {
                    let last = format!("silent for {} s", SILENCE_MAX.as_secs());
                    return Err(ClientError::Unreachable { tried: Vec::new(), last });
                }
            }
        }
    }

    /// Sends a request whose body may go on for long to the first address that takes a connection.
    async fn stream<B>(
        &self,
        method: Method,
        body: Option<B>,
    ) -> Result<(String, super::exchange::Head, Incoming, Driver), ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        let mut last = String::new();
        for position in (0..self.targets.len()).map(|step| (first + step) % self.targets.len()) {
            let target = &self.targets[position];
            let address = target.authority().to_owned();
            tried.push(address.clone());
            let stream = match connect(target, &self.limits).await {
                Ok(stream) => stream,
                Err(Fault::Connect(reason) | Fault::Lost(reason) | Fault::Answer(reason)) => {
                    last = reason;
                    continue;
                }
            };
            let (mut head, none) = target.request(&method, PATH, None, &[])?.into_parts();
            if let Some(authorization) = &self.authorization {
                head.headers.insert(hyper::header::AUTHORIZATION, authorization.clone());
            }
            let sent = match body {
                Some(body) => {
                    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
                    send(stream, Request::from_parts(head, body)).await
                }
                None => send(stream, Request::from_parts(head, none)).await,
            };
            return match sent {
                Ok((head, body, driver)) => {
                    self.preferred.store(position, Ordering::Relaxed);
                    Ok((address, head, body, driver))
                }
                Err(Fault::Answer(detail)) => Err(ClientError::Protocol { address, detail }),
                Err(Fault::Connect(last) | Fault::Lost(last)) => Err(ClientError::Unreachable { tried, last }),
            };
        }
        Err(ClientError::Unreachable { tried, last })
    }
}

/// The frames of a body that is none.
type NoFrames = futures_util::stream::Empty<Result<Frame<Bytes>, Infallible>>;
