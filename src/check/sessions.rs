//! What TLS probes share: whom they trust, and the sessions that they may resume.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, DnsName, ServerName as PeerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use tokio::time::Instant;

use super::Trust;
use crate::model::ServerName;

/// Tickets to resume a session with, of all peers, each with the certificates it came with: 2 to 4 KiB as a rule, and at
/// most what is read of a peer. Those used last are kept.
const TICKETS_MAX: usize = 2048;
/// How long sessions are resumed. Who resumes one does not show his certificate again, and that one may run out.
pub(super) const RESUMED_FOR: Duration = Duration::from_secs(600);

/// Sessions of TLS with the peers of probes.
#[derive(Debug)]
pub(super) struct Sessions {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    /// Since when tickets are kept.
    since: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(trust: &Trust) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("ring has the suites of each version")
        };
        let verifier = Arc::new(Anyone(provider.clone()));
        let mut verified = builder().with_root_certificates(trust.roots()).with_no_client_auth();
        let mut unverified = builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        for config in [&mut verified, &mut unverified] {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.resumption = Resumption::disabled();
        }
        Self { verified: Arc::new(verified), unverified: Arc::new(unverified), since: None }
    }

    /// A session with a peer that has to have this name, or else this address.
    ///
    /// # Errors
    /// What this machine lacks for it.
    pub(super) fn begin(
        &mut self,
        verify: bool,
        name: Option<&ServerName>,
        target: SocketAddr,
        now: Instant,
    ) -> io::Result<ClientConnection> {
        if verify && self.since.is_none_or(|since| now.saturating_duration_since(since) >= RESUMED_FOR) {
            self.since = Some(now);
            let mut config = ClientConfig::clone(&self.verified);
            config.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
            self.verified = Arc::new(config);
        }
        let config = if verify { &self.verified } else { &self.unverified };
        let name = match name.map(|name| DnsName::try_from(name.as_str().to_owned())) {
            Some(Ok(name)) => PeerName::DnsName(name),
            Some(Err(_)) | None => PeerName::from(target.ip()),
        };
        // Nothing but random numbers can be missing.
        ClientConnection::new(config.clone(), name).map_err(|_| io::Error::from_raw_os_error(Errno::ENOMEM as i32))
    }
}

/// Takes any certificate, and looks at none.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &PeerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    // Whoever answers as anybody has nothing to prove: with the signature, old certificates would be refused as well.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
