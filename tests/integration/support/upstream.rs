//! A name server of others, which says what a test wants it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record};
use rollcall::net::{tcp_listener, udp_sockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) question: Message,
    pub(crate) from: SocketAddr,
    pub(crate) over_tcp: bool,
}

/// What is sent back for a message: any number of messages.
pub(crate) trait Script: Fn(&Seen) -> Vec<Vec<u8>> + Send + Sync + 'static {}
impl<T: Fn(&Seen) -> Vec<Vec<u8>> + Send + Sync + 'static> Script for T {}

/// A server on a free port of loopback for as long as the runtime lasts.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    pub(crate) fn start(script: impl Script) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let (tcp, udp) = std::iter::repeat_with(|| tcp_listener(any).unwrap())
            .find_map(|tcp| Some((udp_sockets(tcp.local_addr().unwrap(), 1).ok()?.pop()?, tcp)))
            .map(|(udp, tcp)| (tcp, udp))
            .unwrap();
        udp.set_nonblocking(true).unwrap();
        let udp = UdpSocket::from_std(udp).unwrap();
        Self::on(tcp, udp, script)
    }

    pub(crate) fn on(tcp: TcpListener, udp: UdpSocket, script: impl Script) -> Self {
        let address = udp.local_addr().unwrap();
        let (seen, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(script));
        tokio::spawn(serve_udp(udp, seen.clone(), script.clone()));
        tokio::spawn(serve_tcp(tcp, seen.clone(), script));
        Self { address, seen }
    }

    /// Every message that came, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve_udp(socket: UdpSocket, seen: Arc<Mutex<Vec<Seen>>>, script: Arc<impl Script>) {
    let mut datagram = vec![0; 65_535];
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        let message = Seen { question: Message::from_vec(&datagram[..length]).unwrap(), from, over_tcp: false };
        seen.lock().unwrap().push(message.clone());
        for reply in script(&message) {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>, script: Arc<impl Script>) {
    while let Ok((mut stream, from)) = listener.accept().await {
        let (seen, script) = (seen.clone(), script.clone());
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut message = vec![0; length.into()];
                stream.read_exact(&mut message).await.unwrap();
                let message = Seen { question: Message::from_vec(&message).unwrap(), from, over_tcp: true };
                seen.lock().unwrap().push(message.clone());
                for reply in script(&message) {
                    let _ = stream.write_u16(u16::try_from(reply.len()).unwrap()).await;
                    let _ = stream.write_all(&reply).await;
                }
            }
        });
    }
}

impl Seen {
    /// A reply that a server would give.
    pub(crate) fn reply(&self, rcode: ResponseCode) -> Message {
        let mut reply = Message::new(self.question.metadata.id, MessageType::Response, self.question.metadata.op_code);
        reply.metadata.response_code = rcode;
        reply.metadata.recursion_desired = true;
        reply.metadata.recursion_available = true;
        reply.queries = self.question.queries.clone();
        reply.edns = self.question.edns.clone();
        reply
    }

    /// A reply with addresses of the name that was asked, 10.0.0.0 and those after it.
    pub(crate) fn addresses(&self, ttl: u32, count: u8) -> Message {
        let mut reply = self.reply(ResponseCode::NoError);
        let name = self.question.queries[0].name().clone();
        reply.add_answers(
            (0..count).map(|last| Record::from_rdata(name.clone(), ttl, RData::A(A::new(10, 0, 0, last)))),
        );
        reply
    }

    /// A reply that the name does not exist, to be believed for so many seconds.
    pub(crate) fn absent(&self, ttl: u32) -> Message {
        let mut reply = self.reply(ResponseCode::NXDomain);
        let name = |text| Name::from_ascii(text).unwrap();
        let soa = SOA::new(name("ns.example."), name("hostmaster.example."), 1, 2, 3, 4, ttl);
        reply.add_authority(Record::from_rdata(name("example."), 3600, RData::SOA(soa)));
        reply
    }
}

/// One whole message.
pub(crate) fn one(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}
