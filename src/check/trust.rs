//! Which certificates checks trust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};

/// The authorities whose certificates are trusted. They are loaded once, when the server starts.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
}

/// A file of certificates that cannot be used.
#[derive(Debug)]
pub struct TrustError {
    file: PathBuf,
    reason: String,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--check-ca {}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for TrustError {}

impl Default for Trust {
    /// Nobody is trusted.
    fn default() -> Self {
        Self { roots: Arc::new(RootCertStore::empty()) }
    }
}

impl Trust {
    /// Whom this system trusts, and those in files of PEM.
    ///
    /// A system that trusts nobody, or whose certificates cannot be read, is not an error: it is said in the log, and by
    /// each check that then fails.
    ///
    /// # Errors
    /// The first file that cannot be read, or holds no certificate of an authority.
    pub fn load(files: &[PathBuf]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        let (_, odd) = roots.add_parsable_certificates(system.certs);
        let (trusted, unread) = (roots.len(), system.errors.len());
        tracing::debug!(trusted, odd, unread, "certificates of this system");
        if let Some(error) = system.errors.first() {
            tracing::info!(%error, trusted, "not all certificates that this system trusts can be read");
        }
        for file in files {
            add(&mut roots, file).map_err(|reason| TrustError { file: file.clone(), reason })?;
        }
        Ok(Self { roots: Arc::new(roots) })
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// Trusts one authority and nobody else.
    #[cfg(test)]
    pub(super) fn only(certificate: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self { roots: Arc::new(roots) }
    }
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let faulty = |error: PemError| match error {
        PemError::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it is no file of PEM: {error}"),
    };
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(faulty)? {
        found += 1;
        let added = roots.add(certificate.map_err(faulty)?);
        added.map_err(|_| format!("certificate {found} in it is malformed"))?;
    }
    if found > 0 { Ok(()) } else { Err("there is no certificate in it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_of_certificates_are_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pem = || {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        let loaded = |name: &str, content: &str| {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            let mut roots = RootCertStore::empty();
            add(&mut roots, &file).map(|()| roots.len())
        };
        assert_eq!(loaded("two", &format!("a comment\n{}{}", pem(), pem())), Ok(2));
        assert_eq!(loaded("empty", ""), Err("there is no certificate in it".to_owned()));
        let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(loaded("malformed", malformed), Err("certificate 1 in it is malformed".to_owned()));
        assert!(loaded("cut", &pem()[..100]).unwrap_err().starts_with("it is no file of PEM: "));
        let missing = Trust::load(&[folder.path().join("none")]).unwrap_err().to_string();
        assert!(missing.starts_with("--check-ca ") && missing.contains("/none: it cannot be read: "), "{missing}");
    }
}
