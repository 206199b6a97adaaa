//! An endpoint that answers over HTTP in Prometheus' text format.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, header};

use super::figures::Observation;
use super::mapping::Mapping;
use super::now_ms;
use crate::config::{PollEndpoint, read_secret};
use crate::source::SourceError;

/// How large an answer may be.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The endpoint, with its connection.
pub(super) struct HttpEndpoint {
    client: Client,
    url: String,
    username: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    mapping: Arc<Mapping>,
}

impl HttpEndpoint {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// [`SourceError::Setting`] when the endpoint's files cannot be used.
    pub(super) fn new(
        key: &str,
        endpoint: &PollEndpoint,
        mapping: Mapping,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let setting = |below: &str, reason: String| SourceError::Setting { key: format!("{key}.{below}"), reason };
        let url = endpoint.url.clone().ok_or_else(|| setting("url", "is missing".to_owned()))?;
        let mut builder = Client::builder().timeout(timeout).redirect(Policy::limited(3)).pool_max_idle_per_host(1);
        if let Some(path) = &endpoint.ca_file {
            let unusable = |cause: String| setting("ca_file", format!("{}: {cause}", path.display()));
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|error| setting("url", words(error)))?;
        Ok(Self {
            client,
            url,
            username: endpoint.username.clone(),
            password_file: endpoint.password_file.clone(),
            token_file: endpoint.token_file.clone(),
            mapping: Arc::new(mapping),
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// What it says instead of its figures, without secrets.
    pub(super) async fn observe(&self) -> Result<Observation, String> {
        let mut request = self.client.get(&self.url).header(header::ACCEPT, "text/plain; version=0.0.4");
        let secret = |file: &Option<PathBuf>| read_secret(None, file.as_deref()).map_err(|error| error.to_string());
        if let (Some(user), Some(password)) = (&self.username, secret(&self.password_file)?) {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(token) = secret(&self.token_file)? {
            request = request.bearer_auth(token.expose());
        }
        let mut response = request.send().await.map_err(words)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("HTTP status {status}"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(format!("the answer has more than {MOST_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body).map_err(|_| "the answer is not UTF-8 text".to_owned())?;
        // A large answer takes long enough to hold up the other tasks.
        let (mapping, at_ms) = (Arc::clone(&self.mapping), now_ms());
        let read = tokio::task::spawn_blocking(move || mapping.observe(&text, at_ms));
        read.await.map_err(|error| format!("the answer could not be read: {error}"))?
    }
}

/// An error with its causes, without the URL: its query may hold a secret.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
