//! Snapshots: all that a server keeps, as lines, in either direction and never all in memory.

use std::io::Read;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::{Driver, Fault, Head, ask, dial};
use super::exchange::rest;
use super::failover::Call;
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

impl Download {
    /// What to say of one that ended before its last line.
    pub fn cut_short(&self) -> ClientError {
        let detail = "the answer has no line that ends a snapshot".to_owned();
        ClientError::Protocol { address: self.address.clone(), detail }
    }
}

impl Client {
    /// All that the server keeps, as lines; the first address that answers is asked.
    ///
    /// # Errors
    /// When no address answered, or one answered with anything but a snapshot.
    pub async fn snapshot(&self) -> Result<Download, ClientError> {
        let (address, head, body, driver) = self.transfer(Method::GET, Empty::<Bytes>::new()).await?;
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
            let (address, head, body, _driver) = self.transfer(Method::PUT, body).await?;
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

    /// Sends a request whose body may go on for long to the first server that takes a connection.
    async fn transfer<B>(&self, method: Method, body: B) -> Result<(String, Head, Incoming, Driver), ClientError>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let mut tried = Vec::new();
        let mut last = String::new();
        for (position, server) in self.in_turn() {
            let address = server.address().to_owned();
            tried.push(address.clone());
            let mut connection = match dial(server.target(), &self.limits).await {
                Ok(connection) => connection,
                Err(Fault::Connect(reason) | Fault::Lost(reason) | Fault::Silent(reason) | Fault::Answer(reason)) => {
                    last = reason;
                    continue;
                }
            };
            let (mut head, _) = self.request_to(server, &Call::new(method, PATH, None, &[]))?.into_parts();
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            return match ask(&mut connection, Request::from_parts(head, body)).await {
                Ok((head, body)) => {
                    self.prefer(position);
                    Ok((address, head, body, connection.driver))
                }
                Err(Fault::Answer(detail)) => Err(ClientError::Protocol { address, detail }),
                Err(Fault::Connect(last) | Fault::Lost(last) | Fault::Silent(last)) => {
                    Err(ClientError::Unreachable { tried, last })
                }
            };
        }
        Err(ClientError::Unreachable { tried, last })
    }
}
