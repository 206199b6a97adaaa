//! Who we are towards Pulsar. What is said is asked for anew at every connect and every challenge, so that a token that
//! was renewed in its file is used without a restart.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// How to authenticate.
#[derive(Clone, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A JSON Web Token.
    Token(TokenSource),
    /// The client's certificate, in the TLS handshake.
    ClientCert {
        /// PEM file with the certificate and its chain.
        cert_file: PathBuf,
        /// PEM file with the private key.
        key_file: PathBuf,
    },
    /// Anything else, such as OAuth2.
    Provider(Arc<dyn AuthProvider>),
}

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// The token itself.
    Text(String),
    /// A file that holds it, read at every connect.
    File(PathBuf),
}

/// Makes authentication data when a connection needs it.
pub trait AuthProvider: Send + Sync {
    /// Pulsar's name for the method, such as `token`.
    fn method_name(&self) -> &str;
    /// The data for one connect or one challenge.
    fn auth_data(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, AuthError>> + Send + '_>>;
}

/// Authentication data could not be made: where from, why, and never the data itself.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub String);

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(TokenSource::Text(_)) => f.write_str("Token(..)"),
            Self::Token(TokenSource::File(file)) => write!(f, "Token({})", file.display()),
            Self::ClientCert { cert_file, .. } => write!(f, "ClientCert({})", cert_file.display()),
            Self::Provider(provider) => write!(f, "Provider({})", provider.method_name()),
        }
    }
}

impl Auth {
    /// Pulsar's name for the method.
    pub(super) fn method_name(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Token(_) => "token",
            Self::ClientCert { .. } => "tls",
            Self::Provider(provider) => provider.method_name(),
        }
    }

    /// The data that goes with it, if any.
    pub(super) async fn data(&self) -> Result<Option<Vec<u8>>, AuthError> {
        match self {
            Self::None | Self::ClientCert { .. } => Ok(None),
            Self::Token(TokenSource::Text(token)) => Ok(Some(token.trim().as_bytes().to_vec())),
            Self::Token(TokenSource::File(file)) => {
                let token = std::fs::read_to_string(file)
                    .map_err(|error| AuthError(format!("cannot read the token file {}: {error}", file.display())))?;
                Ok(Some(token.trim().as_bytes().to_vec()))
            }
            Self::Provider(provider) => provider.auth_data().await.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let auth = Auth::Token(TokenSource::Text("s3cret".to_owned()));
        assert!(!format!("{auth:?}").contains("s3cret"));
    }
}
