//! The load: questions from a few ports, each asked again as soon as one is answered.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::Instant;

use super::data::{Data, INSTANCES, ZONE};
use super::wire::{BATCH, Batch, send};

/// Ports, and questions on their way from each: together they fit into the receive buffer that every system grants.
const PORTS: usize = 8;
const OUTSTANDING: usize = 32;
/// Different questions, as many as there are ids.
const QUESTIONS: usize = 1 << 16;
/// From the last reply until those that are missing count as lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) answers: usize,
    pub(crate) lost: usize,
    pub(crate) took: Duration,
}

pub(crate) struct Load {
    /// By id, and how many answers each has.
    questions: Vec<(Vec<u8>, u16)>,
    next: usize,
    batch: Batch,
}

/// Half for A, 40 % for SRV, 10 % for names that do not exist.
fn question(id: usize, services: usize, edns: bool) -> (Vec<u8>, u16) {
    // Steps of the golden ratio, which come everywhere.
    let service = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % services;
    let (name, record_type, answers): (String, u16, u16) = match id % 10 {
        0 => (format!("nobody{service}.{ZONE}"), 1, 0),
        1..=5 => (format!("s{service}.{ZONE}"), 1, INSTANCES as u16),
        _ => (format!("_s{service}._tcp.{ZONE}"), 33, INSTANCES as u16),
    };
    let mut message = [&(id as u16).to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]].concat();
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(record_type.to_be_bytes());
    message.extend([0, 1]);
    if edns {
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    (message, answers)
}

impl Load {
    pub(crate) fn new(data: &Data, edns: bool) -> Self {
        let questions = (0..QUESTIONS).map(|id| question(id, data.services, edns)).collect();
        Self { questions, next: 0, batch: Batch::new() }
    }

    fn ask(&mut self, socket: &UdpSocket, server: SocketAddr, count: usize) {
        let asked = (self.next..self.next + count).map(|n| (&*self.questions[n % QUESTIONS].0, server));
        send(socket, asked);
        self.next += count;
    }

    /// Asks a server for a while; what it says has to be right, unless it only reflects.
    pub(crate) fn run(&mut self, server: SocketAddr, lasting: Duration, reflects: bool) -> Ran {
        let sockets: Vec<UdpSocket> = (0..PORTS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for socket in &sockets {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            self.ask(socket, server, OUTSTANDING);
        }
        let began = Instant::now();
        let (mut answers, mut lost) = (0, 0);
        let mut outstanding = [OUTSTANDING; PORTS];
        while began.elapsed() < lasting {
            for (socket, outstanding) in sockets.iter().zip(&mut outstanding) {
                let Ok(came) = self.batch.receive(socket) else {
                    lost += *outstanding;
                    *outstanding = OUTSTANDING;
                    self.ask(socket, server, BATCH);
                    continue;
                };
                for (reply, _) in self.batch.datagrams() {
                    let number = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
                    let expected = self.questions[usize::from(number(0))].1;
                    let is_right =
                        reply[2] & 0x86 == 0x84 && number(6) == expected && (reply[3] & 15 == 3) == (expected == 0);
                    assert!(reflects || is_right, "a wrong answer: {reply:02x?}");
                }
                answers += came;
                self.ask(socket, server, came);
            }
        }
        Ran { answers, lost, took: began.elapsed() }
    }
}
