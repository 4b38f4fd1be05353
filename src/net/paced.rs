//! A stream whose peer must read what it asked for.
//!
//! An answer is held in memory until the peer has taken it. One that does not read, or reads an octet now and then,
//! would hold it for as long as it likes; here it loses the connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How fast a peer must take what is written to it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long it may take nothing.
    pub patience: Duration,
    /// What it must take on average beyond that.
    pub octets_per_second: u32,
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer reads more slowly than its pace.
///
/// An answer of n octets is taken within the patience and n divided by the rate, or the connection ends. A stream on
/// which nothing waits to be written has no deadline.
#[derive(Debug)]
pub struct Paced<S, F> {
    stream: S,
    pace: Pace,
    /// Hears whether something waits to be written.
    pending: F,
    /// When the peer must have taken more; none while nothing waits to be written.
    due: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl<S, F: FnMut(bool)> Paced<S, F> {
    /// A stream at a pace; `pending` hears when the first octet is written and when all have been flushed.
    pub fn new(stream: S, pace: Pace, pending: F) -> Self {
        Self { stream, pace, pending, due: None, alarm: Box::pin(sleep_until(Instant::now())) }
    }

    /// Judges what became of a write.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let latest = now + self.pace.patience;
        let due = self.due.unwrap_or(latest);
        if self.due.is_none() {
            (self.pending)(true);
        }
        match written {
            Poll::Ready(Ok(octets)) => {
                let earned = Duration::from_secs_f64(octets as f64 / f64::from(self.pace.octets_per_second));
                self.due = Some((due + earned).min(latest));
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                self.due = Some(due);
                self.alarm.as_mut().reset(due);
                ready!(self.alarm.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads too slowly")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Paced<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(bool) + Unpin> AsyncWrite for Paced<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.due.take().is_some() {
            (self.pending)(false);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const PACE: Pace = Pace { patience: Duration::from_secs(10), octets_per_second: 100 };

    fn paced() -> (Paced<DuplexStream, impl FnMut(bool)>, DuplexStream) {
        let (near, far) = duplex(16);
        (Paced::new(near, PACE, |_| ()), far)
    }

    /// Reads so many octets a second until the other end goes.
    async fn read(mut far: DuplexStream, octets_per_second: usize) -> usize {
        let (mut octets, mut buf) = (0, vec![0; octets_per_second]);
        while let Ok(n @ 1..) = far.read(&mut buf).await {
            octets += n;
            tokio::time::sleep(Duration::from_secs_f64(n as f64 / octets_per_second as f64)).await;
        }
        octets
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_left() {
        let (mut near, _far) = paced();
        let began = Instant::now();
        assert_eq!(near.write_all(&[0; 17]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // 16 octets went out, and earn nothing beyond the patience.
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_dribbles_is_left_and_a_brisk_one_is_served() {
        let (mut near, far) = paced();
        let reading = tokio::spawn(read(far, 10));
        assert_eq!(near.write_all(&[0; 10_000]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(near);
        assert!(reading.await.unwrap() < 200, "ten a second for some eleven seconds");

        let (mut near, far) = paced();
        let reading = tokio::spawn(read(far, 200));
        near.write_all(&[0; 10_000]).await.unwrap();
        drop(near);
        assert_eq!(reading.await.unwrap(), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_answers_costs_nothing() {
        let (near, mut far) = duplex(16);
        let pending = AtomicBool::new(false);
        let mut near = Paced::new(near, PACE, |is| pending.store(is, Ordering::Relaxed));
        for _ in 0..2 {
            near.write_all(&[0; 16]).await.unwrap();
            assert!(pending.load(Ordering::Relaxed));
            near.flush().await.unwrap();
            assert!(!pending.load(Ordering::Relaxed));
            tokio::time::advance(Duration::from_secs(3600)).await;
            far.read_exact(&mut [0; 16]).await.unwrap();
        }
    }
}
