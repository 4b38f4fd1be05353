//! A server for tests that says what it is told and remembers what it heard.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server that gives each connection the next of its answers.
pub(crate) struct FakeServer {
    /// Where it listens.
    pub(crate) address: String,
    requests: watch::Receiver<Vec<String>>,
}

impl FakeServer {
    /// A server with raw answers, one for each connection; further connections are closed.
    pub(crate) async fn start<I>(answers: I) -> Self
    where
        I: IntoIterator<Item = String, IntoIter: Send + 'static>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, requests) = watch::channel(Vec::new());
        let answers = answers.into_iter();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                heard.send_modify(|requests| requests.push(request));
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, requests }
    }

    /// The requests so far, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Waits until there were so many requests.
    pub(crate) async fn heard(&self, requests: usize) {
        let _ = self.requests.clone().wait_for(|heard| heard.len() >= requests).await.unwrap();
    }
}

/// An answer of a status line's rest (`200 OK`), a media type and a body.
pub(crate) fn answer(status: &str, media_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A JSON answer.
pub(crate) fn json(status: &str, body: &serde_json::Value) -> String {
    answer(status, "application/json", &body.to_string())
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text.into_owned();
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return String::from_utf8_lossy(&request).into_owned();
        }
    }
}
