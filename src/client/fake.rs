//! Servers for tests that say what they are told and remember what they heard: over TCP, or within this process, where
//! simulated time can pass.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
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
                heard.send_modify(|requests| requests.extend(request));
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
pub(crate) fn json(status: &str, body: &Value) -> String {
    answer(status, "application/json", &body.to_string())
}

/// The next request; none when the connection ends before there is a whole one.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

/// A request as a [`FakeRegistry`] hears it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Method and path with its query.
    pub(crate) line: String,
    pub(crate) head: String,
    /// `null` when it has none.
    pub(crate) body: Value,
}

/// What a [`FakeRegistry`] makes of a request.
pub(crate) enum Said {
    /// An answer with a status and a JSON body, with the connection kept.
    Answer(u16, Value),
    /// The same with a header.
    Headed(u16, &'static str, Value),
    /// The same after some time.
    Late(Duration, u16, Value),
    /// Events, and silence after them.
    Events(String),
    /// Events, after which the connection ends.
    LastEvents(String),
    /// Nothing, for ever.
    Silence,
    /// The connection ends.
    Close,
}

type Script = dyn FnMut(&Heard) -> Said + Send;

/// A server within this process, for tests with simulated time.
pub(crate) struct FakeRegistry {
    /// What a client is given as its address.
    pub(crate) address: String,
    shared: Arc<FakeShared>,
}

struct FakeShared {
    /// Whether connections are refused.
    is_away: Mutex<bool>,
    script: Mutex<Box<Script>>,
    heard: watch::Sender<Vec<Heard>>,
    connections: watch::Sender<usize>,
}

thread_local! {
    static REGISTRIES: RefCell<HashMap<String, Arc<FakeShared>>> = RefCell::default();
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to a server within this process, if the host is one.
pub(super) fn dial(host: &str) -> Option<impl Future<Output = io::Result<DuplexStream>> + use<>> {
    let shared = REGISTRIES.with_borrow(|registries| registries.get(host).cloned())?;
    Some(async move {
        if *lock(&shared.is_away) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        shared.connections.send_modify(|connections| *connections += 1);
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move { shared.serve(theirs).await });
        Ok(ours)
    })
}

impl FakeRegistry {
    /// A server that answers as the script says.
    pub(crate) fn start(script: impl FnMut(&Heard) -> Said + Send + 'static) -> Self {
        REGISTRIES.with_borrow_mut(|registries| {
            let host = format!("registry-{}.invalid", registries.len());
            let shared = Arc::new(FakeShared {
                is_away: Mutex::new(false),
                script: Mutex::new(Box::new(script)),
                heard: watch::channel(Vec::new()).0,
                connections: watch::channel(0).0,
            });
            registries.insert(host.clone(), shared.clone());
            Self { address: host, shared }
        })
    }

    /// The requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.borrow().clone()
    }

    /// Methods and paths so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.line).collect()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// From now on connections are refused, or taken again. Those that stand stay.
    pub(crate) fn go_away(&self, is_away: bool) {
        *lock(&self.shared.is_away) = is_away;
    }
}

impl FakeShared {
    async fn serve(&self, mut stream: DuplexStream) {
        while let Some(request) = read_request(&mut stream).await {
            let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
            let line = head.split(" HTTP/1.1").next().unwrap_or_default().to_owned();
            let body = serde_json::from_str(body).unwrap_or_default();
            let heard = Heard { line, head: head.to_owned(), body };
            let said = if *lock(&self.is_away) { Said::Close } else { (lock(&self.script))(&heard) };
            self.heard.send_modify(|all| all.push(heard));
            if self.say(&mut stream, said).await.is_none() {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    async fn say(&self, stream: &mut (impl AsyncWrite + Unpin), said: Said) -> Option<()> {
        let (status, header, body) = match said {
            Said::Answer(status, body) => (status, "x-none: 0", body),
            Said::Headed(status, header, body) => (status, header, body),
            Said::Late(after, status, body) => {
                tokio::time::sleep(after).await;
                (status, "x-none: 0", body)
            }
            Said::Silence => {
                std::future::pending::<()>().await;
                return None;
            }
            Said::Close => return None,
            Said::Events(events) | Said::LastEvents(events) if events.is_empty() => return None,
            Said::Events(ref events) | Said::LastEvents(ref events) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                stream.write_all(format!("{head}{events}").as_bytes()).await.ok()?;
                if matches!(said, Said::Events(_)) {
                    std::future::pending::<()>().await;
                }
                return None;
            }
        };
        let body = if status == 204 { String::new() } else { body.to_string() };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} Fake\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.ok()
    }
}
