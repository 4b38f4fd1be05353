//! One request and its answer over one connection.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Limits;
use super::address::Target;
use super::pool::Pool;

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
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
}

impl Connection {
    /// Whether the other side has not closed it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// The connection of an answer that is under way; it ends when this is dropped.
pub(super) type Driver = JoinSet<Result<(), hyper::Error>>;

/// Asks over a connection of the pool, or over a new one.
///
/// A connection that has waited may have been closed by the other side just now, which tells nothing of whether it heard
/// the request. So only a request that can be `repeated` goes over one, and goes over a new one after that.
pub(super) async fn exchange(
    target: &Target,
    pool: &Pool,
    request: Request<Full<Bytes>>,
    repeatable: bool,
    limits: &Limits,
) -> Result<(Head, Bytes), Fault> {
    if repeatable && let Some(connection) = pool.take() {
        match converse(connection, pool, request.clone(), limits).await {
            Err(Fault::Connect(_) | Fault::Lost(_)) => {}
            answered => return answered,
        }
    }
    converse(connect(target, limits).await?, pool, request, limits).await
}

/// Asks and waits for the whole answer; a connection that can be used again goes to the pool.
async fn converse(
    mut connection: Connection,
    pool: &Pool,
    request: Request<Full<Bytes>>,
    limits: &Limits,
) -> Result<(Head, Bytes), Fault> {
    let converse = async {
        let (head, body) = ask(&mut connection, request).await?;
        let body = collect(body, limits.body_octets_max).await?;
        // Open still, and ready for another, unless one of the two sides said that this was the last.
        if connection.sender.ready().await.is_ok() {
            pool.put(connection);
        }
        Ok((head, body))
    };
    timeout(limits.response_timeout, converse).await.map_err(|_| silent(limits))?
}

/// Sends a request over a connection of its own; the body of its answer is still to come.
pub(super) async fn open(
    target: &Target,
    request: Request<Full<Bytes>>,
    limits: &Limits,
) -> Result<(Head, Incoming, Driver), Fault> {
    let mut connection = connect(target, limits).await?;
    let (head, body) =
        timeout(limits.response_timeout, ask(&mut connection, request)).await.map_err(|_| silent(limits))??;
    Ok((head, body, connection.driver))
}

/// The whole body of an answer after all.
pub(super) async fn rest(body: Incoming, limits: &Limits) -> Result<Bytes, Fault> {
    timeout(limits.response_timeout, collect(body, limits.body_octets_max)).await.map_err(|_| silent(limits))?
}

fn silent(limits: &Limits) -> Fault {
    Fault::Silent(format!("no answer within {} s", limits.response_timeout.as_secs_f32()))
}

async fn connect(target: &Target, limits: &Limits) -> Result<Connection, Fault> {
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

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Connection, Fault> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| fault(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Connection { sender, driver })
}

async fn ask(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<(Head, Incoming), Fault> {
    let sender = &mut connection.sender;
    sender.ready().await.map_err(|error| fault(&error))?;
    let response = sender.send_request(request).await.map_err(|error| fault(&error))?;
    Ok(response.into_parts())
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
