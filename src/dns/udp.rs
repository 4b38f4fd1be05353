//! Questions in datagrams: one socket for each local address, so that the reply leaves from where it was asked.
//!
//! A socket has a thread of its own, which takes what has come in one call and sends what it has to say in another, and
//! is in no runtime: what it costs to be woken is paid for a batch. A question that waits for an upstream is handed to the
//! task that belongs to the socket, and its reply leaves through the same one.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{SockaddrIn, SockaddrIn6};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::datagrams::{Client, Inbox, Outbox};
use super::handler::{Begun, Later};
use super::{Handler, Protocol};

/// From one failure to receive to the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an error says that an earlier reply found nobody (ICMP unreachable). That concerns no other client.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

/// Whether nothing has come for as long as a socket waits, or a signal has.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// A question that waits for an upstream, and who asked it. They are as many as the forwarder lets wait.
type Waiting = (Later, SocketAddr);

/// A thread that answers on a socket, for as long as this lives.
struct Answering {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    fn begin(socket: UdpSocket, handler: Arc<Handler>, waiting: UnboundedSender<Waiting>) -> io::Result<Self> {
        let (socket, stop) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let is_v4 = socket.local_addr()?.is_ipv4();
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("dns-udp".to_owned()).spawn({
            let (socket, stop) = (socket.clone(), stop.clone());
            move || {
                // Upstreams are asked in tasks.
                let _within = runtime.enter();
                match is_v4 {
                    true => answer::<SockaddrIn>(&socket, &handler, &waiting, &stop),
                    false => answer::<SockaddrIn6>(&socket, &handler, &waiting, &stop),
                }
            }
        })?;
        Ok(Self { socket, stop, thread: Some(thread) })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, though a socket that is connected to nobody cannot be shut down; else it wakes by itself.
        let _ = socket2::SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Both);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Answers what comes to a socket until it is to stop.
fn answer<C: Client>(socket: &UdpSocket, handler: &Handler, waiting: &UnboundedSender<Waiting>, stop: &AtomicBool) {
    let (mut inbox, mut outbox) = (Inbox::<C>::new(), Outbox::default());
    let mut failing = false;
    while !stop.load(Ordering::Relaxed) {
        match inbox.receive(socket) {
            Ok(()) => failing = false,
            Err(error) if concerns_one_client(&error) || is_nothing(&error) => continue,
            Err(error) => {
                // Said once, not at every try.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %error, "receiving failed");
                }
                std::thread::park_timeout(PAUSE);
                continue;
            }
        }
        for (message, client) in inbox.datagrams() {
            match handler.begin(message, client, Protocol::Udp) {
                Begun::Nothing => {}
                Begun::Reply(reply) => outbox.push(reply, client),
                // Who would take it is there for as long as this thread.
                Begun::Later(later) => drop(waiting.send((later, client))),
            }
        }
        outbox.send(socket, |error| tracing::debug!(error = %error, "a reply could not be sent"));
    }
}

/// Answers what comes to a socket until the task is aborted.
///
/// # Panics
/// When the thread of the socket cannot be started or ends: nobody answers then.
pub(super) async fn serve(socket: UdpSocket, handler: Arc<Handler>) {
    let (sender, waiting) = unbounded_channel();
    let answering = match Answering::begin(socket, handler, sender) {
        Ok(answering) => answering,
        Err(error) => panic!("no thread answers on a socket: {error}"),
    };
    reply_later(waiting, &answering.socket).await;
    drop(answering);
    panic!("the thread of a socket has ended");
}

/// Sends the replies that were waited for; they end with this task. Returns when nobody asks any more.
async fn reply_later(mut waiting: UnboundedReceiver<Waiting>, socket: &Arc<UdpSocket>) {
    let mut replying = JoinSet::new();
    loop {
        tokio::select! {
            came = waiting.recv() => {
                let Some((later, client)) = came else { return };
                let socket = socket.clone();
                replying.spawn(async move { send(&socket, &later.reply().await, client) });
            }
            Some(_) = replying.join_next() => {}
        }
    }
}

/// Sends a reply without waiting for room: whoever still waits asks again.
fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    use rustix::net::{SendFlags, sendto};
    if let Err(error) = sendto(socket, reply, SendFlags::DONTWAIT, &client) {
        tracing::debug!(client = %client, error = %error, "a reply could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_client_are_told_from_those_of_the_socket() {
        for (number, of_one) in [(111, true), (113, true), (101, true), (100, false), (12, false)] {
            // ECONNREFUSED, EHOSTUNREACH, ENETUNREACH; ENETDOWN, ENOMEM.
            assert_eq!(concerns_one_client(&io::Error::from_raw_os_error(number)), of_one, "{number}");
        }
    }
}
