//! One request and its answer over one connection.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
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
    /// There was an answer that is not one of this API.
    Answer(String),
}

/// The connection of an answer that is under way; it ends when this is dropped.
pub(super) type Driver = JoinSet<Result<(), hyper::Error>>;

pub(super) async fn exchange(
    target: &Target,
    request: Request<Full<Bytes>>,
    limits: &Limits,
) -> Result<(Head, Bytes), Fault> {
    let stream = connect(target, limits).await?;
    let converse = async {
        let (head, body, _driver) = send(stream, request).await?;
        Ok((head, collect(body, limits.body_octets_max).await?))
    };
    timeout(limits.response_timeout, converse).await.map_err(|_| silent(limits))?
}

/// Sends a request; the body of its answer is still to come.
pub(super) async fn open(
    target: &Target,
    request: Request<Full<Bytes>>,
    limits: &Limits,
) -> Result<(Head, Incoming, Driver), Fault> {
    let stream = connect(target, limits).await?;
    timeout(limits.response_timeout, send(stream, request)).await.map_err(|_| silent(limits))?
}

/// The whole body of an answer after all.
pub(super) async fn rest(body: Incoming, limits: &Limits) -> Result<Bytes, Fault> {
    timeout(limits.response_timeout, collect(body, limits.body_octets_max)).await.map_err(|_| silent(limits))?
}

fn silent(limits: &Limits) -> Fault {
    Fault::Lost(format!("no answer within {} s", limits.response_timeout.as_secs_f32()))
}

pub(super) async fn connect(target: &Target, limits: &Limits) -> Result<TcpStream, Fault> {
    let seconds = limits.connect_timeout.as_secs_f32();
    let stream = timeout(limits.connect_timeout, TcpStream::connect(target.dial()))
        .await
        .map_err(|_| Fault::Connect(format!("no connection within {seconds} s")))?
        .map_err(|error| Fault::Connect(error.to_string()))?;
    // A request is one small write; waiting to fill a segment would only delay it. Failing to ask for that is no fault.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Sends a request over a connection; the body of its answer is still to come.
pub(super) async fn send<B>(stream: TcpStream, request: Request<B>) -> Result<(Head, Incoming, Driver), Fault>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| fault(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| fault(&error))?;
    let (head, body) = response.into_parts();
    Ok((head, body, driver))
}

async fn collect(body: Incoming, body_octets_max: usize) -> Result<Bytes, Fault> {
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
