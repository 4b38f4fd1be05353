//! One request and its answer over one connection.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Bytes;
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

pub(super) async fn exchange(
    target: &Target,
    request: Request<Full<Bytes>>,
    limits: &Limits,
) -> Result<(Head, Bytes), Fault> {
    let seconds = limits.connect_timeout.as_secs_f32();
    let stream = timeout(limits.connect_timeout, TcpStream::connect(target.dial()))
        .await
        .map_err(|_| Fault::Connect(format!("no connection within {seconds} s")))?
        .map_err(|error| Fault::Connect(error.to_string()))?;
    // A request is one small write; waiting to fill a segment would only delay it. Failing to ask for that is no fault.
    let _ = stream.set_nodelay(true);
    let seconds = limits.response_timeout.as_secs_f32();
    timeout(limits.response_timeout, converse(stream, request, limits.body_octets_max))
        .await
        .map_err(|_| Fault::Lost(format!("no answer within {seconds} s")))?
}

async fn converse(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
    body_octets_max: usize,
) -> Result<(Head, Bytes), Fault> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| fault(&error))?;
    // Dropped with this function, whichever way it ends, and the connection with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| fault(&error))?;
    let (head, body) = response.into_parts();
    match Limited::new(body, body_octets_max).collect().await {
        Ok(body) => Ok((head, body.to_bytes())),
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
