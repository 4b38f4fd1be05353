//! One client of the API on one connection that is kept.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: address.to_string() }
    }

    async fn send(&mut self, method: Method, path: &str, body: String) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.sender.ready().await.unwrap();
        self.sender.send_request(request.body(Full::from(body)).unwrap()).await.unwrap()
    }

    /// Asks, takes the whole answer, and insists on success.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: String) -> Bytes {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }

    pub(crate) async fn put(&mut self, path: &str, body: String) -> Bytes {
        self.ask(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: String) -> Bytes {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Bytes {
        self.ask(Method::GET, path, String::new()).await
    }

    /// The status of a GET, whatever it is.
    pub(crate) async fn status(&mut self, path: &str) -> StatusCode {
        let response = self.send(Method::GET, path, String::new()).await;
        let status = response.status();
        let _ = response.into_body().collect().await.unwrap();
        status
    }

    /// The events of a stream from now on, each with its name and data.
    pub(crate) async fn events(mut self, path: &str) -> Events {
        let response = self.send(Method::GET, path, String::new()).await;
        assert!(response.status().is_success());
        Events { body: response.into_body(), octets: Vec::new(), _client: self }
    }
}

pub(crate) struct Events {
    body: Incoming,
    octets: Vec<u8>,
    _client: Client,
}

impl Events {
    /// The text of the next event of a name.
    pub(crate) async fn next(&mut self, name: &str) -> String {
        loop {
            while let Some(end) = self.octets.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.octets.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                if event.lines().next().and_then(|line| line.strip_prefix("event: ")) == Some(name) {
                    return event;
                }
            }
            let frame = self.body.frame().await.expect("a stream that goes on").unwrap();
            if let Ok(data) = frame.into_data() {
                self.octets.extend_from_slice(&data);
            }
        }
    }
}
