//! Which upstream is asked when, and what it comes to.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use super::Times;
use super::exchange::exchange;
use super::failure::Failure;
use super::metrics::Metrics;
use super::reply::{Answer, Reply, SERVFAIL};
use super::upstream::Upstream;
use super::wire::Asked;
use crate::zone::ExtendedError;

/// INFO-CODEs (RFC 8914 §4).
const NO_REACHABLE_AUTHORITY: u16 = 22;
const NETWORK_ERROR: u16 = 23;

/// The order of asking: as written, those that failed lately last.
fn in_order(upstreams: &[Arc<Upstream>], now: Instant) -> Vec<Arc<Upstream>> {
    let mut order = upstreams.to_vec();
    order.sort_by_key(|upstream| upstream.is_held(now));
    order
}

/// The words for what an upstream said instead of an answer.
fn refusal(upstream: SocketAddr, reply: Reply) -> ExtendedError {
    // What it says of itself is worth more than what we can say of it.
    reply.extended_error.unwrap_or_else(|| {
        let rcode = ResponseCode::from((reply.rcode >> 4) as u8, (reply.rcode & 0x0f) as u8);
        ExtendedError { code: NO_REACHABLE_AUTHORITY, text: format!("{upstream}: {rcode}") }
    })
}

/// Asks one upstream after the other, those that say nothing again and again, until one knows or time is up.
pub(super) async fn ask(
    upstreams: &[Arc<Upstream>],
    asked: &Asked,
    times: &Times,
    ttl_max: u32,
    metrics: &Metrics,
) -> Result<Reply, Answer> {
    let deadline = Instant::now() + times.total;
    let mut why = None;
    let mut open = in_order(upstreams, Instant::now());
    while !open.is_empty() && Instant::now() < deadline {
        let mut silent = Vec::new();
        for upstream in open {
            let began = Instant::now();
            if began >= deadline {
                break;
            }
            let outcome = exchange(&upstream, asked, times, ttl_max, deadline).await;
            let now = Instant::now();
            metrics.exchanged(&outcome, now - began);
            let address = upstream.address();
            upstream.hold(outcome.is_err().then(|| now + times.hold_down));
            match outcome {
                Ok(reply) if reply.is_final() => return Ok(reply),
                // What a server says is a better reason than that another does not speak.
                Ok(reply) => why = Some(refusal(address, reply)),
                Err(Failure::Silent) => {
                    why.get_or_insert_with(|| {
                        let text = format!("{address}: no reply in time");
                        ExtendedError { code: NO_REACHABLE_AUTHORITY, text }
                    });
                    silent.push(upstream);
                }
                Err(Failure::Network(error)) => {
                    tracing::debug!(dns.upstream = %address, error = %error, "an upstream cannot be asked");
                    why.get_or_insert_with(|| ExtendedError {
                        code: NETWORK_ERROR,
                        text: format!("{address}: {error}"),
                    });
                }
            }
        }
        open = silent;
    }
    Err(Answer::empty(SERVFAIL, why, Instant::now()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_upstream_that_failed_is_asked_last_for_a_while() {
        let upstreams: Vec<Arc<Upstream>> = ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"]
            .map(|address| Arc::new(Upstream::new(address.parse().unwrap())))
            .into();
        let now = Instant::now();
        let order = |now| in_order(&upstreams, now).iter().map(|u| u.address().to_string()).collect::<Vec<_>>();
        upstreams[0].hold(Some(now + Duration::from_secs(10)));
        assert_eq!(order(now), ["10.0.0.2:53", "10.0.0.3:53", "10.0.0.1:53"]);
        assert_eq!(order(now + Duration::from_secs(10)), ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"]);
        upstreams[0].hold(None);
        assert_eq!(order(now)[0], "10.0.0.1:53");
    }
}
