//! HTTP probes: one request of HTTP/1.1 on a connection of its own.
//!
//! Nothing is decompressed and no redirect is followed.

use std::io;
use std::net::SocketAddr;
use std::task::{Poll, ready};

use super::answer::{Answer, Fault, Head};
use super::dialogue::{Dialogue, Line};
use super::outcome::{Failure, failure_of};
use crate::model::{HttpCheck, HttpMethod, StatusRanges};

/// The request that a check describes. All of it can be sent: the model lets nothing else through.
fn request(check: &HttpCheck, host: &str) -> Vec<u8> {
    let mut request = Vec::with_capacity(256);
    let mut write = |parts: &[&str]| parts.iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
    write(&[check.method.as_str(), " ", check.path.as_str(), " HTTP/1.1\r\nhost: ", host]);
    write(&["\r\nconnection: close\r\n"]);
    let mut named = false;
    for (name, value) in check.headers.iter() {
        named |= name.eq_ignore_ascii_case("user-agent");
        write(&[name, ": ", value, "\r\n"]);
    }
    if !named {
        write(&[concat!("user-agent: rollcall/", env!("CARGO_PKG_VERSION"), "\r\n")]);
    }
    write(&["\r\n"]);
    request
}

/// One request and what comes back.
#[derive(Debug)]
pub(super) struct Exchange {
    target: SocketAddr,
    request: Vec<u8>,
    written: usize,
    answer: Answer,
    method: HttpMethod,
    expect_status: StatusRanges,
    expect_body: Option<String>,
    /// What to think of the answer, once that is known. The rest of it is heard all the same: a service whose answers
    /// are cut off would complain of every probe.
    judged: Option<Result<(), Failure>>,
}

impl Exchange {
    /// What a check asks, and expects. `host` is for whom the request is.
    pub(super) fn new(check: &HttpCheck, target: SocketAddr, host: &str) -> Self {
        Self {
            target,
            request: request(check, host),
            written: 0,
            answer: Answer::default(),
            method: check.method,
            expect_status: check.expect_status.clone(),
            expect_body: check.expect_body.clone(),
            judged: None,
        }
    }

    fn ask(&mut self, line: &mut Line<'_>) -> Poll<Result<(), Failure>> {
        while self.written < self.request.len() {
            match line.stream.write(&self.request[self.written..]) {
                Ok(0) => return Poll::Ready(Err(Failure::Closed(self.target))),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(failure_of(&error, self.target))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What to think of the answer as far as it has come.
    fn judge(&self, head: Option<Head>) -> Poll<Result<(), Failure>> {
        let Some(Head { status, .. }) = head else { return Poll::Pending };
        if !self.expect_status.contains(status) {
            return Poll::Ready(Err(Failure::Status(status, self.expect_status.clone())));
        }
        let Some(text) = self.expect_body.as_ref().filter(|_| self.method == HttpMethod::Get) else {
            return Poll::Ready(Ok(()));
        };
        match self.answer.body() {
            Ok(None) => Poll::Pending,
            // Octets that are no UTF-8 cannot be part of the text, and must not hide what is around them.
            Ok(Some(body)) if String::from_utf8_lossy(&body).contains(text.as_str()) => Poll::Ready(Ok(())),
            Ok(Some(_)) => Poll::Ready(Err(Failure::BodyWithoutText)),
            Err(fault) => Poll::Ready(Err(self.failure(fault))),
        }
    }

    fn failure(&self, fault: Fault) -> Failure {
        match fault {
            Fault::NotHttp => Failure::NotHttp(self.target),
            Fault::HeadTooLarge => Failure::HeadTooLarge(self.target),
            Fault::CutShort => Failure::Closed(self.target),
        }
    }
}

impl Dialogue for Exchange {
    fn advance(&mut self, line: &mut Line<'_>) -> Poll<Result<(), Failure>> {
        ready!(self.ask(line))?;
        while line.readable {
            let octets = match ready!(line.read(self.answer.room())) {
                Ok(octets) => octets,
                Err(error) => return Poll::Ready(self.found().unwrap_or(Err(failure_of(&error, self.target)))),
            };
            let to_head = self.method == HttpMethod::Head;
            let come = if octets == 0 {
                self.answer.end().and_then(|()| self.answer.take(&[], to_head))
            } else {
                self.answer.take(&line.scratch[..octets], to_head)
            };
            let is_over = come.is_err() || self.answer.is_over();
            if self.judged.is_none() {
                let head = come.map_err(|fault| self.failure(fault))?;
                if let Poll::Ready(judged) = self.judge(head) {
                    self.judged = Some(judged);
                }
            }
            if is_over && let Some(judged) = self.found() {
                return Poll::Ready(judged);
            }
        }
        Poll::Pending
    }

    fn found(&mut self) -> Option<Result<(), Failure>> {
        self.judged.take()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::outcome::Outcome;
    use super::super::support::{Manners, heard, http_check, listen, probe, refusing};
    use super::*;
    use crate::model::{CheckKind, CheckSpec, Duration, RequestHeaders};

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

    #[test]
    fn an_answer_is_heard_to_its_end_and_counts_before_that() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(target).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut stream, mut peer) = (mio::net::TcpStream::from_std(stream), listener.accept().unwrap().0);
        let CheckKind::Http(check) = http_check(no_change).kind else { panic!() };
        let mut exchange = Exchange::new(&check, target, "host");
        let mut scratch = vec![0; super::super::dialogue::ANSWER_OCTETS_MAX];
        let mut advance = |exchange: &mut Exchange| {
            exchange.advance(&mut Line { stream: &mut stream, readable: true, scratch: &mut scratch })
        };
        let (head, body) = OK.split_at(OK.len() - 5);

        peer.write_all(head.as_bytes()).unwrap();
        while exchange.judged.is_none() {
            assert!(advance(&mut exchange).is_pending(), "the rest is still to come");
        }
        assert!(matches!(exchange.found(), Some(Ok(()))), "it would count if its time were up");
        exchange.judged = Some(Ok(()));
        peer.write_all(body.as_bytes()).unwrap();
        let ended = loop {
            if let Poll::Ready(ended) = advance(&mut exchange) {
                break ended;
            }
        };
        assert!(ended.is_ok() && exchange.answer.is_over());
    }

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
        for endless in [
            Manners::Repeat("HTTP/1.1 200 OK\r\n\r\n", "again and again "),
            Manners::Repeat("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", "again and again "),
            Manners::Repeat("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "10\r\nagain and again \r\n"),
        ] {
            assert_eq!(reason(endless, expect("and again")).await, None);
            assert_eq!(reason(endless, expect("enough")).await.unwrap(), without);
            assert_eq!(reason(endless, no_change).await, None, "nobody looks at it");
        }
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
            (Manners::Greet("220 mail.example ESMTP\r\n"), "the answer of TARGET is not HTTP/1"),
            (Manners::Repeat("", "HTTP/1.1 100 Continue\r\n\r\n"), large),
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
            "HEAD /healthz?deep=1 HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\nX-Token: a b\r\n\
             x-token: c\r\nuser-agent: rollcall/{version}\r\n\r\n"
        );
        assert_eq!(request, expected);
    }

    #[test]
    fn every_check_that_the_model_allows_is_one_request() {
        let parsed = |check: &CheckSpec| {
            let CheckKind::Http(http) = &check.kind else { unreachable!() };
            let octets = request(http, "127.0.0.1:80");
            let mut fields = [httparse::EMPTY_HEADER; 20];
            let mut request = httparse::Request::new(&mut fields);
            assert_eq!(request.parse(&octets), Ok(httparse::Status::Complete(octets.len())), "{octets:?}");
            (request.path.unwrap().to_owned(), request.headers.len())
        };
        for octet in 0..=0x7f_u8 {
            for text in [format!("/{}", char::from(octet)), format!("/?{}", char::from(octet))] {
                if let Ok(path) = text.parse() {
                    assert_eq!(parsed(&http_check(|http| http.path = path)), (text, 3));
                }
            }
            let pairs = [(char::from(octet).to_string(), String::new()), ("a".into(), char::from(octet).to_string())];
            for pair in pairs {
                if let Ok(headers) = RequestHeaders::new([pair]) {
                    assert_eq!(parsed(&http_check(|http| http.headers = headers)).1, 4);
                }
            }
        }
    }
}
