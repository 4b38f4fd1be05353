//! One request and its answer, within limits of time, over a connection that is kept or a new one.

use http_body_util::Full;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;

use super::Limits;
use super::address::Target;
use super::connection::{Connection, Driver, Fault, Head, ask, collect, connect};
use super::pool::Pool;

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
