//! The smallest HTTP server that can be probed: `/` says who it is, `/healthz` whether it is well.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Connections served at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long one connection may last.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// A listener that fails has run out of descriptors; they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A service of the demonstration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) started: Instant,
    /// Whether it is well so long after its start.
    pub(super) healthy: fn(Duration) -> bool,
}

impl Site {
    /// Answers on `listener` until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                let answer = service_fn(async |request: hyper::Request<_>| {
                    Ok::<_, Infallible>(self.answer(request.uri().path(), self.started.elapsed()))
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                // How a visitor leaves is the visitor's business.
                let _ = timeout(CONNECTION_LIFETIME, connection).await;
                drop(place);
            });
        }
    }

    fn answer(&self, path: &str, elapsed: Duration) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            "/" => (StatusCode::OK, format!("this is {}\n", self.name)),
            "/healthz" if (self.healthy)(elapsed) => (StatusCode::OK, "well\n".to_owned()),
            "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, "not well\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there is / and /healthz\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn health_follows_the_clock() {
        let site = Site { name: "x", started: Instant::now(), healthy: |elapsed| elapsed < Duration::from_secs(1) };
        assert_eq!(site.answer("/healthz", Duration::ZERO).status(), StatusCode::OK);
        assert_eq!(site.answer("/healthz", Duration::from_secs(1)).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(site.answer("/other", Duration::ZERO).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn sites_answer_over_http() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Site { name: "web", started: Instant::now(), healthy: |_| true }.serve(listener));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("this is web\n"), "{answer}");
    }
}
