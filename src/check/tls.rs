//! TLS around another dialogue.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use rustls::client::ClientConnection;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};

use super::dialogue::{ANSWER_OCTETS_MAX, Dialogue, Line, Wire};
use super::outcome::{Failure, TlsFault, failure_of};
use crate::model::{Duration, ServerName};

/// Octets that are read from a peer at most: its answer, as much again for its certificates, and twice that for what a
/// peer adds that seals it in small pieces.
const SEALED_OCTETS_MAX: usize = 4 * ANSWER_OCTETS_MAX;
/// A dialogue that TLS carries.
#[derive(Debug)]
pub(super) struct Sealed<D> {
    session: ClientConnection,
    peer: Peer,
    /// Octets that may still be read.
    room: usize,
    inner: D,
}

/// Whom a session is with.
#[derive(Debug)]
struct Peer {
    target: SocketAddr,
    /// What its certificate has to have.
    name: Arc<str>,
}

impl<D: Dialogue> Sealed<D> {
    pub(super) fn new(session: ClientConnection, name: Option<&ServerName>, target: SocketAddr, inner: D) -> Self {
        let name = name.map_or_else(|| target.ip().to_string(), ServerName::to_string).into();
        Self { session, peer: Peer { target, name }, room: SEALED_OCTETS_MAX, inner }
    }
}

impl<D: Dialogue> Dialogue for Sealed<D> {
    fn advance(&mut self, line: &mut Line<'_>) -> Poll<Result<(), Failure>> {
        let Self { session, peer, room, inner } = self;
        let mut seal = Seal { session, wire: &mut *line.stream, peer, room };
        if let Err(error) = seal.shake_hands() {
            let pending = error.kind() == io::ErrorKind::WouldBlock;
            return if pending { Poll::Pending } else { Poll::Ready(Err(failure_of(&error, peer.target))) };
        }
        // What came with the end of the handshake is not told of again.
        let advanced = inner.advance(&mut Line { stream: &mut seal, readable: true, scratch: &mut *line.scratch });
        if advanced.is_ready() {
            seal.session.send_close_notify();
            let _ = seal.flush();
        }
        advanced
    }

    fn found(&mut self) -> Option<Result<(), Failure>> {
        self.inner.found()
    }

    fn missed(&self) -> fn(SocketAddr, Duration) -> Failure {
        if self.session.is_handshaking() { Failure::NoHandshake } else { self.inner.missed() }
    }
}

/// A wire over another. It reads no further than there is room.
struct Seal<'a> {
    session: &'a mut ClientConnection,
    wire: &'a mut dyn Wire,
    peer: &'a Peer,
    room: &'a mut usize,
}

impl fmt::Debug for Seal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("peer", &self.peer).field("room", &self.room).finish_non_exhaustive()
    }
}

impl Seal<'_> {
    fn shake_hands(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            if !self.session.is_handshaking() {
                return Ok(());
            }
            if self.fill()? == 0 && self.session.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes octets of the peer; none when it has ended its side.
    fn fill(&mut self) -> io::Result<usize> {
        let Some(room) = std::num::NonZeroUsize::new(*self.room) else {
            return Err(io::Error::other(Failure::TooMuch(self.peer.target)));
        };
        let mut bounded = (&mut *self.wire).take(room.get() as u64);
        let read = match self.session.read_tls(&mut bounded) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.fill(),
            read => read?,
        };
        *self.room -= read;
        if let Err(error) = self.session.process_new_packets() {
            // The alert that says why.
            let _ = self.flush();
            return Err(io::Error::other(Failure::Tls(self.peer.target, fault_of(&error, &self.peer.name))));
        }
        Ok(read)
    }
}

impl Read for Seal<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.fill()?,
                // Many end a connection without saying so in TLS. HTTP knows whether all has come.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            };
        }
    }
}

impl Write for Seal<'_> {
    /// Takes octets that [`Self::flush`] sends, now or when the line has got further.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(octets)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends what there is to send, as far as the line lets it.
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.wire) {
                Ok(0) => return Err(io::ErrorKind::BrokenPipe.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is wrong with a peer that has to have a name.
fn fault_of(error: &TlsError, name: &Arc<str>) -> TlsFault {
    use CertificateError as Certificate;
    match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            TlsFault::Plain
        }
        TlsError::InvalidCertificate(fault) => match fault {
            Certificate::Expired | Certificate::ExpiredContext { .. } => TlsFault::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => TlsFault::NotYetValid,
            // An issuer of the same name as one that is trusted, but with another key, is not that one.
            Certificate::UnknownIssuer | Certificate::BadSignature => TlsFault::UnknownIssuer,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => TlsFault::NotFor(name.clone()),
            _ => TlsFault::Unusable,
        },
        TlsError::PeerIncompatible(_) => TlsFault::NothingInCommon,
        TlsError::AlertReceived(AlertDescription::ProtocolVersion) => TlsFault::NothingInCommon,
        TlsError::AlertReceived(AlertDescription::HandshakeFailure) => TlsFault::HandshakeFailure,
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => TlsFault::WantsCertificate,
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => TlsFault::NoHttp,
        TlsError::AlertReceived(AlertDescription::UnrecognisedName) => TlsFault::NameUnknown(name.clone()),
        TlsError::AlertReceived(_) => TlsFault::Refused,
        _ => TlsFault::Broken,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::mpsc;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::{ServerConnection, WebPkiClientVerifier};
    use rustls::{HandshakeKind, RootCertStore, ServerConfig, StreamOwned};
    use tokio::time::Instant;

    use super::super::Trust;
    use super::super::outcome::Outcome;
    use super::super::sessions::{RESUMED_FOR, Sessions};
    use super::super::support::{Manners, https_check, listen, probe_trusting};
    use super::*;
    use crate::model::{Duration, HttpsCheck};

    /// Who signs certificates.
    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap().der().clone();
            Self { issuer: Issuer::new(params, key), certificate }
        }

        fn trust(&self) -> Trust {
            Trust::only(self.certificate.clone())
        }

        /// A server with a certificate for names and addresses.
        fn server(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
            let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            adjust(params.as_mut().unwrap());
            let key = KeyPair::generate().unwrap();
            let certificate = params.unwrap().signed_by(&key, &self.issuer).unwrap().der().clone();
            let verifying = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
            let server = verifying.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            server.with_single_cert(vec![certificate], private(&key)).unwrap()
        }
    }

    fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(key.serialize_der()).unwrap()
    }

    fn as_is(_: &mut CertificateParams) {}

    type Stream = StreamOwned<ServerConnection, TcpStream>;

    /// A listener that treats its connections one after the other, until the test process ends.
    fn listen_tls(config: ServerConfig, treat: impl Fn(Stream) -> io::Result<()> + Send + 'static) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = ServerConnection::new(config.clone()).unwrap();
                // Peers of these tests are told off, or leave early.
                let _ = treat(StreamOwned::new(session, stream.unwrap()));
            }
        });
        address
    }

    fn read_request(stream: &mut Stream) -> io::Result<String> {
        let (mut request, mut octet) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut octet)?;
            request.extend(octet);
        }
        Ok(String::from_utf8(request).unwrap())
    }

    /// Reads a request, says this, and closes with a word of TLS or without.
    fn say(text: &'static str, close_notify: bool) -> impl Fn(Stream) -> io::Result<()> + Send + 'static {
        move |mut stream| {
            read_request(&mut stream)?;
            stream.write_all(text.as_bytes())?;
            if close_notify {
                stream.conn.send_close_notify();
            }
            stream.flush()
        }
    }

    /// Reads a request, says the first, and then the second without end, each time as a record of its own.
    fn repeat(first: &'static str, piece: String) -> impl Fn(Stream) -> io::Result<()> + Send + 'static {
        move |mut stream| {
            read_request(&mut stream)?;
            stream.write_all(first.as_bytes())?;
            loop {
                stream.write_all(piece.as_bytes())?;
            }
        }
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// What a probe makes of a peer: nothing when it passes, else the reason.
    async fn reason(trust: &Trust, target: SocketAddr, adjust: impl FnOnce(&mut HttpsCheck)) -> Option<String> {
        match probe_trusting(trust, target, &https_check(adjust)).await {
            Outcome::Passed => None,
            Outcome::Failed(failure) => {
                let text = failure.to_string();
                assert!(text.len() <= 200 && !text.contains(char::is_control), "{text:?}");
                Some(text.replace(&target.to_string(), "TARGET"))
            }
            Outcome::Abandoned => panic!("abandoned"),
        }
    }

    fn named(name: &str) -> impl FnOnce(&mut HttpsCheck) {
        let name = name.parse().unwrap();
        move |check| check.server_name = Some(name)
    }

    #[tokio::test]
    async fn trusted_certificate_for_the_address_passes() {
        let ca = Authority::new();
        let target = listen_tls(ca.server(&["127.0.0.1"], as_is), say(FINE, true));
        assert_eq!(reason(&ca.trust(), target, |_| ()).await, None);
        let redirects = say("HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n", true);
        let target = listen_tls(ca.server(&["127.0.0.1"], as_is), redirects);
        assert_eq!(reason(&ca.trust(), target, |_| ()).await.unwrap(), "status 302, expected 200-299");
    }

    #[tokio::test]
    async fn a_server_is_asked_for_by_its_name() {
        let ca = Authority::new();
        let (heard, hears) = mpsc::channel();
        let target = listen_tls(ca.server(&["web.example"], as_is), move |mut stream| {
            let request = read_request(&mut stream)?;
            let name = stream.conn.server_name().map(str::to_owned);
            let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
            heard.send((name, protocol, request)).unwrap();
            stream.write_all(FINE.as_bytes())?;
            stream.flush()
        });
        assert_eq!(reason(&ca.trust(), target, named("Web.example")).await, None);
        let (name, protocol, request) = hears.recv().unwrap();
        assert_eq!((name.as_deref(), protocol), (Some("web.example"), None), "this peer knows no ALPN");
        let host = format!("host: web.example:{}", target.port());
        assert!(request.lines().any(|line| line == host), "{request}");
        assert_eq!(
            reason(&ca.trust(), target, named("other.example")).await.unwrap(),
            "the certificate of TARGET is not for other.example"
        );
        let refused = reason(&ca.trust(), target, |_| ()).await.unwrap();
        assert_eq!(refused, "the certificate of TARGET is not for 127.0.0.1");
    }

    #[tokio::test]
    async fn certificates_are_verified_unless_any_will_do() {
        let (ca, other) = (Authority::new(), Authority::new());
        let expired = ca.server(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2020, 2, 29));
        let future = ca.server(&["127.0.0.1"], |params| params.not_before = date_time_ymd(4000, 1, 1));
        let foreign = other.server(&["127.0.0.1"], as_is);
        let authority = ca.server(&["127.0.0.1"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        for (server, fault) in [
            (expired, "the certificate of TARGET has expired"),
            (future, "the certificate of TARGET is not valid yet"),
            (foreign, "the certificate of TARGET is by an unknown issuer, see --check-ca"),
            (authority, "the certificate of TARGET is malformed or not one of a server"),
            (ca.server(&[], as_is), "the certificate of TARGET is not for 127.0.0.1"),
        ] {
            let target = listen_tls(server, say(FINE, true));
            assert_eq!(reason(&ca.trust(), target, |_| ()).await.as_deref(), Some(fault));
            assert_eq!(reason(&Trust::default(), target, |check| check.tls_verify = false).await, None, "{fault}");
        }
    }

    #[tokio::test]
    async fn peers_that_do_not_shake_hands_are_told_apart() {
        let trust = Trust::default();
        let of = async |manners| {
            let target = listen(manners).await;
            reason(&trust, target, |_| ()).await.unwrap()
        };
        assert_eq!(of(Manners::Greet("HTTP/1.1 400 Bad Request\r\n\r\n")).await, "TARGET does not speak TLS");
        assert_eq!(of(Manners::Greet("SSH-2.0-OpenSSH_9.2\r\n")).await, "TARGET does not speak TLS");
        assert_eq!(of(Manners::Reset).await, "connection reset by TARGET");
        // Alerts (RFC 8446 §6): handshake_failure, protocol_version, no_application_protocol, unrecognized_name and
        // internal_error, each fatal.
        for (alert, fault) in [
            (
                "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}",
                "TARGET ended the TLS handshake: no cipher in common, or it wants a client certificate",
            ),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{46}", "no version or cipher of TLS in common with TARGET"),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{78}", "TARGET does not speak HTTP/1.1 over TLS"),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{70}", "TARGET knows no server 127.0.0.1"),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{50}", "TLS was refused by TARGET"),
        ] {
            assert_eq!(of(Manners::Greet(alert)).await, fault);
        }
        // Warnings without end, and the beginning of a message of 4 MiB.
        assert_eq!(of(Manners::Flood("", "\u{15}\u{3}\u{3}\0\u{2}\u{1}\u{5a}")).await, "what TARGET sends breaks TLS");
        assert_eq!(
            of(Manners::Flood("", "\u{16}\u{3}\u{3}\0\u{4}\u{2}\u{40}\0\0")).await,
            "what TARGET sends breaks TLS"
        );
    }

    #[tokio::test]
    async fn silence_is_told_apart_by_when_it_begins() {
        let brief = Duration::from_millis(100);
        let target = listen(Manners::Hang).await;
        let check = crate::model::CheckSpec { timeout: brief, ..https_check(|_| ()) };
        let Outcome::Failed(failure) = probe_trusting(&Trust::default(), target, &check).await else { panic!() };
        assert_eq!(failure.to_string(), format!("no TLS handshake with {target} within 100ms"));
        assert!(failure.is_silence());
    }

    #[tokio::test]
    async fn silence_after_the_handshake_is_a_missing_answer() {
        let ca = Authority::new();
        let (done, wait) = mpsc::channel::<()>();
        let target = listen_tls(ca.server(&["127.0.0.1"], as_is), move |mut stream| {
            read_request(&mut stream)?;
            // The answer dribbles and stops; the connection is kept until the test is over.
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            let _ = wait.recv();
            Ok(())
        });
        let check = crate::model::CheckSpec { timeout: Duration::from_secs(1), ..https_check(|_| ()) };
        let Outcome::Failed(failure) = probe_trusting(&ca.trust(), target, &check).await else { panic!() };
        // A machine that is slow enough has not even shaken hands by then.
        assert!(failure.is_silence(), "{failure}");
        drop(done);
    }

    #[tokio::test]
    async fn endless_answers_end() {
        let ca = Authority::new();
        let peer = |first, piece: &str, times| {
            listen_tls(ca.server(&["127.0.0.1"], as_is), repeat(first, piece.repeat(times)))
        };
        let text = |check: &mut HttpsCheck| check.http.expect_body = Some("fit".to_owned());
        let target = peer("HTTP/1.1 200 OK\r\n\r\n", "0123456789", 1000);
        assert_eq!(reason(&ca.trust(), target, |_| ()).await, None);
        let target = peer("HTTP/1.1 200 OK\r\n\r\n", "0123456789", 1000);
        assert_eq!(reason(&ca.trust(), target, text).await.unwrap(), "body does not contain the expected text");
        let target = peer("HTTP/1.1 200 OK\r\n", "a: b\r\n", 1000);
        let large = reason(&ca.trust(), target, |_| ()).await.unwrap();
        assert_eq!(large, "the header section that TARGET sends is too large");
        // Each octet sealed by itself is more around it than it is.
        let target = peer("HTTP/1.1 200 OK\r\n\r\n", "x", 1);
        assert_eq!(reason(&ca.trust(), target, text).await.unwrap(), "TARGET sends more than a probe reads");
        let target = peer("HTTP/1.1 200 OK\r\n\r\n", "x", 1);
        assert_eq!(reason(&ca.trust(), target, |_| ()).await, None, "the status was there before");
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_the_end_of_a_body_with_or_without_a_word() {
        let ca = Authority::new();
        let text = |check: &mut HttpsCheck| check.http.expect_body = Some("fit".to_owned());
        for close_notify in [false, true] {
            let server = || ca.server(&["127.0.0.1"], as_is);
            let target = listen_tls(server(), say("HTTP/1.1 200 OK\r\n\r\nI am fit", close_notify));
            assert_eq!(reason(&ca.trust(), target, text).await, None);
            let target =
                listen_tls(server(), say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nI am fit", close_notify));
            let cut = reason(&ca.trust(), target, text).await.unwrap();
            assert_eq!(cut, "connection closed by TARGET before the end of its answer");
        }
    }

    #[tokio::test]
    async fn a_server_that_wants_a_certificate_is_not_given_one() {
        let ca = Authority::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], private(&key));
        let target = listen_tls(server.unwrap(), say(FINE, true));
        assert_eq!(reason(&ca.trust(), target, |_| ()).await.unwrap(), "TARGET wants a client certificate");
    }

    #[test]
    fn sessions_are_resumed_for_a_while_where_certificates_are_verified() {
        let ca = Authority::new();
        let target = listen_tls(ca.server(&["127.0.0.1"], as_is), say(FINE, true));
        let mut sessions = Sessions::new(&ca.trust());
        let mut shake_hands = |verify, now| {
            let mut session = sessions.begin(verify, None, target, now).unwrap();
            let mut stream = TcpStream::connect(target).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut stream);
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            // Tickets come with the answer.
            stream.read_to_end(&mut Vec::new()).unwrap();
            session.handshake_kind().unwrap()
        };
        let now = Instant::now();
        assert_eq!(shake_hands(true, now), HandshakeKind::Full);
        assert_eq!(shake_hands(true, now), HandshakeKind::Resumed);
        assert_eq!(shake_hands(true, now + RESUMED_FOR / 2), HandshakeKind::Resumed);
        assert_eq!(shake_hands(true, now + RESUMED_FOR), HandshakeKind::Full, "the certificate is looked at again");
        assert_eq!(shake_hands(false, now), HandshakeKind::Full);
        assert_eq!(shake_hands(false, now), HandshakeKind::Full);
    }
}
