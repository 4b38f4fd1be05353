//! HTTP probes: one request of HTTP/1.1 on a connection of its own.
//!
//! A peer may send anything: no more than [`HEAD_OCTETS_MAX`] and [`BODY_OCTETS_MAX`] of it is kept, nothing is
//! decompressed, no redirect is followed, and the deadline is the caller's.

use std::net::SocketAddr;
use std::pin::pin;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::outcome::{Failure, failure_of, io_cause};
use crate::model::{HttpCheck, HttpMethod};

/// Octets of the status line and the header section.
const HEAD_OCTETS_MAX: usize = 64 * 1024;
/// Fields of the header section.
const FIELDS_MAX: usize = 128;
/// Octets of the body, when somebody wants to look at it.
const BODY_OCTETS_MAX: usize = 64 * 1024;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("rollcall/", env!("CARGO_PKG_VERSION")));

/// The request that a check describes. All of it can be sent: the model lets nothing else through.
fn request(check: &HttpCheck, target: SocketAddr) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = match check.method {
        HttpMethod::Get => hyper::Method::GET,
        HttpMethod::Head => hyper::Method::HEAD,
    };
    *request.uri_mut() = check.path.as_str().parse().expect("a RequestPath can stand in a request line");
    let fields = request.headers_mut();
    let host = target.to_string().parse().expect("an address is a header value");
    fields.insert(header::HOST, host);
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in check.headers.iter() {
        let name = HeaderName::try_from(name).expect("RequestHeaders have names of headers");
        fields.append(name, HeaderValue::try_from(value).expect("RequestHeaders have values of headers"));
    }
    if !fields.contains_key(header::USER_AGENT) {
        fields.insert(header::USER_AGENT, USER_AGENT);
    }
    request
}

/// Asks on a fresh connection and judges the answer. The connection is closed afterwards.
///
/// # Errors
/// Why the answer is not what the check expects.
pub(super) async fn exchange(stream: TcpStream, target: SocketAddr, check: &HttpCheck) -> Result<(), Failure> {
    let request = request(check, target);
    let failure = |error: hyper::Error| failure_of_exchange(&error, target);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_OCTETS_MAX).max_headers(FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failure)?;
    let mut asked = pin!(async {
        let response = sender.send_request(request).await.map_err(failure)?;
        let status = response.status().as_u16();
        if !check.expect_status.contains(status) {
            return Err(Failure::Status(status, check.expect_status.clone()));
        }
        match &check.expect_body {
            Some(text) if check.method == HttpMethod::Get => {
                let body = read(response.into_body()).await.map_err(failure)?;
                // Octets that are no UTF-8 cannot be part of the text, and must not hide what is around them.
                let found = String::from_utf8_lossy(&body).contains(text.as_str());
                if found { Ok(()) } else { Err(Failure::BodyWithoutText) }
            }
            _ => Ok(()),
        }
    });
    // The connection makes progress only while it is polled. When it ends first, what it has read is still to come.
    tokio::select! {
        biased;
        judged = &mut asked => judged,
        _ = connection => asked.await,
    }
}

/// The beginning of a body, up to [`BODY_OCTETS_MAX`].
async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Vec<u8>, B::Error> {
    let mut read = Vec::new();
    while read.len() < BODY_OCTETS_MAX
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            let room = BODY_OCTETS_MAX - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(read)
}

fn failure_of_exchange(error: &hyper::Error, target: SocketAddr) -> Failure {
    if let Some(cause) = io_cause(error) {
        failure_of(cause, target)
    } else if error.is_parse_too_large() {
        Failure::HeadTooLarge(target)
    } else if error.is_parse() {
        Failure::NotHttp(target)
    } else {
        Failure::Closed(target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Outcome;
    use super::super::probe::probe;
    use super::super::support::{Manners, heard, http_check, listen, refusing};
    use super::*;
    use crate::model::{CheckKind, Duration, RequestHeaders};

    /// What a probe makes of a listener: nothing when it passes, else the reason.
    async fn reason(manners: Manners, adjust: impl FnOnce(&mut HttpCheck)) -> Option<String> {
        let target = listen(manners).await;
        let mut check = http_check(adjust);
        if matches!(manners, Manners::Hang | Manners::Dribble(_)) {
            check.timeout = Duration::from_millis(100);
        }
        match probe(target, &check).await {
            Outcome::Passed => None,
            Outcome::Failed(failure) => {
                let text = failure.to_string();
                assert!(text.len() <= 200 && !text.contains(char::is_control), "{text:?}");
                Some(text.replace(&target.to_string(), "TARGET"))
            }
            Outcome::Abandoned => panic!("abandoned"),
        }
    }

    fn no_change(_: &mut HttpCheck) {}

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nI am fit";

    #[tokio::test]
    async fn expected_status_passes_and_any_other_fails() {
        assert_eq!(reason(Manners::Say(OK), no_change).await, None);
        assert_eq!(reason(Manners::Say("HTTP/1.0 204 No Content\r\n\r\n"), no_change).await, None);
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(reason(Manners::Say(busy), no_change).await.unwrap(), "status 503, expected 200-299");
        assert_eq!(reason(Manners::Say(busy), |http| http.expect_status = "503".parse().unwrap()).await, None);
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(reason(Manners::Say(elsewhere), no_change).await.unwrap(), "status 302, expected 200-299");
        assert_eq!(reason(Manners::Say(elsewhere), |http| http.expect_status = "302".parse().unwrap()).await, None);
    }

    #[tokio::test]
    async fn body_must_contain_the_expected_text() {
        let expect = |text: &'static str| move |http: &mut HttpCheck| http.expect_body = Some(text.to_owned());
        assert_eq!(reason(Manners::Say(OK), expect("am fit")).await, None);
        let without = "body does not contain the expected text";
        assert_eq!(reason(Manners::Say(OK), expect("am ill")).await.unwrap(), without);
        let until_close = "HTTP/1.1 200 OK\r\n\r\nI am fit";
        assert_eq!(reason(Manners::Say(until_close), expect("am fit")).await, None);
        let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nbomb";
        assert_eq!(reason(Manners::Say(packed), expect("bomb")).await, None, "nothing is decompressed");
        let endless = Manners::Repeat("HTTP/1.1 200 OK\r\n\r\n", "again and again ");
        assert_eq!(reason(endless, expect("and again")).await, None);
        assert_eq!(reason(endless, expect("enough")).await.unwrap(), without);
        assert_eq!(reason(endless, no_change).await, None, "nobody looks at it");
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nI am";
        let closed = "connection closed by TARGET before the end of its answer";
        assert_eq!(reason(Manners::Say(short), expect("am")).await.unwrap(), closed);
    }

    #[tokio::test]
    async fn peers_without_manners_fail_for_their_own_reason() {
        let silent = "no complete answer from TARGET within 100ms";
        let large = "the header section that TARGET sends is too large";
        let many = Manners::Repeat("HTTP/1.1 200 OK\r\n", "a: b\r\n");
        let long = Manners::Repeat("HTTP/1.1 200 OK\r\na: ", "bbbbbbbbbbbbbbbb");
        for (manners, expected) in [
            (Manners::Hang, silent),
            (Manners::Dribble("HTTP/1.1 200 OK\r\na: "), silent),
            (Manners::Reset, "connection reset by TARGET"),
            (Manners::Say(""), "connection closed by TARGET before the end of its answer"),
            (Manners::Say("SSH-2.0-OpenSSH_9.9\r\n"), "the answer of TARGET is not HTTP/1"),
            (many, large),
            (long, large),
        ] {
            assert_eq!(reason(manners, no_change).await.unwrap(), expected, "{manners:?}");
        }
        let body = |http: &mut HttpCheck| http.expect_body = Some("fit".to_owned());
        assert_eq!(reason(Manners::Dribble("HTTP/1.1 200 OK\r\n\r\n"), body).await.unwrap(), silent);
        let (target, _held) = refusing();
        assert_eq!(probe(target, &http_check(no_change)).await, Outcome::Failed(Failure::Refused(target)));
    }

    #[tokio::test]
    async fn request_is_what_the_check_describes() {
        let check = http_check(|http| {
            http.path = "/healthz?deep=1".parse().unwrap();
            http.method = HttpMethod::Head;
            let headers = [("X-Token", "a b"), ("x-token", "c")].map(|(n, v)| (n.to_owned(), v.to_owned()));
            http.headers = RequestHeaders::new(headers).unwrap();
        });
        let (target, request) = heard(OK).await;
        assert_eq!(probe(target, &check).await, Outcome::Passed);
        let request = request.await.unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "HEAD /healthz?deep=1 HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\nx-token: a b\r\n\
             x-token: c\r\nuser-agent: rollcall/{version}\r\n\r\n"
        );
        assert_eq!(request, expected);
    }

    #[test]
    fn every_check_that_the_model_allows_can_be_sent() {
        for octet in 0..=0x7f_u8 {
            for text in [format!("/{}", char::from(octet)), format!("/?{}", char::from(octet))] {
                if let Ok(path) = text.parse() {
                    let CheckKind::Http(http) = http_check(|http| http.path = path).kind else { unreachable!() };
                    assert_eq!(request(&http, SocketAddr::from(([127, 0, 0, 1], 80))).uri(), text.as_str());
                }
            }
            let pairs = [(char::from(octet).to_string(), String::new()), ("a".into(), char::from(octet).to_string())];
            for pair in pairs {
                if let Ok(headers) = RequestHeaders::new([pair]) {
                    let CheckKind::Http(http) = http_check(|http| http.headers = headers).kind else { unreachable!() };
                    assert!(request(&http, SocketAddr::from(([127, 0, 0, 1], 80))).headers().len() > 2);
                }
            }
        }
    }
}
