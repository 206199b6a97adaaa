//! TLS towards brokers: rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::auth::Auth;
use super::error::Error;
use crate::certificates::ShownEnd;

/// What to trust.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// PEM file with the authorities to trust; without it, those the system trusts.
    pub ca_file: Option<PathBuf>,
    /// When the certificate ends that a broker has shown last.
    pub shown: ShownEnd,
}

/// Builds the connector. Files are read here, at every connect, so that renewed certificates are taken up.
pub(super) fn connector(tls: &TlsConfig, auth: &Auth) -> Result<tokio_rustls::TlsConnector, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("TLS: {error}")))?
        .with_root_certificates(roots(tls)?);
    let config = match auth {
        Auth::ClientCert { cert_file, key_file } => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| unreadable("key", key_file, &error))?;
            builder
                .with_client_auth_cert(certificates(cert_file)?, key)
                .map_err(|error| Error::Config(format!("client certificate {}: {error}", cert_file.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

fn roots(tls: &TlsConfig) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| unreadable("certificate", file, &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Error::Config("TLS: no authority is trusted; set a CA file".to_owned()));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", file, &error))
}

fn unreadable(what: &str, file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("cannot read the {what} file {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_authority_file_is_named() {
        let missing = PathBuf::from("/nowhere/ca.pem");
        for file in [missing, PathBuf::from("/dev/null")] {
            let tls = TlsConfig { ca_file: Some(file), ..TlsConfig::default() };
            assert!(matches!(connector(&tls, &Auth::None), Err(Error::Config(_))));
        }
        let auth = Auth::ClientCert { cert_file: "/nowhere/cert.pem".into(), key_file: "/nowhere/key.pem".into() };
        let roots = TlsConfig::default();
        // Whatever the system trusts, the missing key file is what fails where there are roots.
        assert!(matches!(connector(&roots, &auth), Err(Error::Config(_))));
    }
}
