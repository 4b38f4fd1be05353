//! A connection to one server: how it comes to be, and what is asked over it.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Limits;
use super::address::Target;

/// Status and headers of an answer.
pub(super) type Head = hyper::http::response::Parts;

/// How far an exchange came.
#[derive(Debug)]
pub(super) enum Fault {
    /// There was no connection, so nothing was asked.
    Connect(String),
    /// The request may have arrived; the answer did not.
    Lost(String),
    /// The same, and whoever was asked may be there no longer without having said so.
    Silent(String),
    /// There was an answer that is not one of this API.
    Answer(String),
}

/// A connection with nothing under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection<B = Full<Bytes>> {
    pub(super) sender: http1::SendRequest<B>,
    pub(super) driver: Driver,
}

impl Connection {
    /// Whether the other side has not closed it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// The connection of an answer that is under way; it ends when this is dropped.
pub(super) type Driver = JoinSet<Result<(), hyper::Error>>;

/// Connects.
pub(super) async fn connect(target: &Target, limits: &Limits) -> Result<Connection, Fault> {
    dial(target, limits).await
}

/// Connects, for requests with bodies of another kind.
pub(super) async fn dial<B>(target: &Target, limits: &Limits) -> Result<Connection<B>, Fault>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let seconds = limits.connect_timeout.as_secs_f32();
    let late = |_| Fault::Connect(format!("no connection within {seconds} s"));
    #[cfg(test)]
    if let Some(stream) = super::fake::dial(target.dial().0) {
        let stream = timeout(limits.connect_timeout, stream).await.map_err(late)?;
        return handshake(stream.map_err(|error| Fault::Connect(error.to_string()))?).await;
    }
    let stream = timeout(limits.connect_timeout, TcpStream::connect(target.dial()))
        .await
        .map_err(late)?
        .map_err(|error| Fault::Connect(error.to_string()))?;
    // A request is one small write; waiting to fill a segment would only delay it. Failing to ask for that is no fault.
    let _ = stream.set_nodelay(true);
    handshake(stream).await
}

async fn handshake<B>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Connection<B>, Fault>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| fault(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Connection { sender, driver })
}

/// Sends a request; the body of its answer is still to come.
pub(super) async fn ask<B>(connection: &mut Connection<B>, request: Request<B>) -> Result<(Head, Incoming), Fault>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let sender = &mut connection.sender;
    sender.ready().await.map_err(|error| fault(&error))?;
    let response = sender.send_request(request).await.map_err(|error| fault(&error))?;
    Ok(response.into_parts())
}

/// The whole body of an answer.
pub(super) async fn collect(body: Incoming, body_octets_max: usize) -> Result<Bytes, Fault> {
    match Limited::new(body, body_octets_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Fault::Answer(format!("the answer is larger than {body_octets_max} octets")))
        }
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(fault(&error)),
            Err(error) => Err(Fault::Lost(error.to_string())),
        },
    }
}

fn fault(error: &hyper::Error) -> Fault {
    let detail = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse() { Fault::Answer(format!("not HTTP: {detail}")) } else { Fault::Lost(detail) }
}
