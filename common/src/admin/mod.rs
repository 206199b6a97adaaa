//! A thin client of Pulsar's admin API: what `bridgectl setup`, `check` and the start of a bridge need of it.

mod error;
mod namespaces;
mod schemas;
mod topics;

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, header};
use serde_json::Value;

pub use error::AdminError;
use error::{refusal, understood};
pub use namespaces::default_retention;
pub use schemas::StoredSchema;
pub use topics::{Publisher, TopicPolicy};

use crate::config::{PulsarAuthKind, PulsarSection, read_secret};

/// How long one request may take: the first one after a restart of the broker loads the topic.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The client. One per cluster; keeps its connections.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    base: String,
    token: Option<crate::config::Secret>,
}

impl Admin {
    /// A client for `pulsar.admin_url`, with the section's TLS and login. Opens no connection yet. The process's TLS
    /// provider must be installed ([`crate::cli::install_tls`]).
    ///
    /// # Errors
    /// [`AdminError::Setting`] when the URL is empty, or a file of the section cannot be used.
    pub fn new(pulsar: &PulsarSection) -> Result<Self, AdminError> {
        Self::with_timeout(pulsar, TIMEOUT)
    }

    /// The same, with another bound for each request.
    ///
    /// # Errors
    /// As [`Admin::new`].
    pub fn with_timeout(pulsar: &PulsarSection, timeout: Duration) -> Result<Self, AdminError> {
        let setting = |problem: String| AdminError::Setting(problem);
        if pulsar.admin_url.is_empty() {
            return Err(setting("pulsar.admin_url is empty: set it to use the admin API".to_owned()));
        }
        if pulsar.auth.kind == PulsarAuthKind::OAuth2 {
            return Err(setting(
                "pulsar.auth.kind = \"oauth2\" does not reach the admin API yet: use a token".to_owned(),
            ));
        }
        let mut builder = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::limited(5));
        if let Some(path) = &pulsar.tls.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|e| unusable(path, &e))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(key)) = (&pulsar.tls.certificate_file, &pulsar.tls.key_file) {
            let mut pem = read(certificate)?;
            pem.extend(read(key)?);
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| unusable(key, &e))?);
        }
        let client = builder.build().map_err(|error| setting(format!("pulsar.tls: {}", causes(&error))))?;
        let token = read_secret(pulsar.auth.token.as_ref(), pulsar.auth.token_file.as_deref());
        let token = token.map_err(|error| setting(error.to_string()))?;
        Ok(Self { client, base: format!("{}/admin/v2", pulsar.admin_url.trim_end_matches('/')), token })
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        let (url, text) = self.send(Method::GET, path, None).await?;
        let text = if text.is_empty() { "null" } else { text.as_str() };
        understood(url, text)
    }

    /// Sends a request; gives its URL and the answer's text.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(String, String), AdminError> {
        let url = format!("{}/{path}", self.base);
        let unreachable = |error: reqwest::Error| AdminError::Unreachable { url: url.clone(), cause: causes(&error) };
        let answer = self.request(method, &url, body).send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if status.is_success() { Ok((url, text)) } else { Err(refusal(url, status, &text)) }
    }

    fn request(&self, method: Method, url: &str, body: Option<&Value>) -> RequestBuilder {
        // Without this header the broker explains itself in pages for browsers.
        let mut request = self.client.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

fn existing_is_fine(result: Result<(String, String), AdminError>) -> Result<(), AdminError> {
    match result {
        Ok(_) | Err(AdminError::Refused { status: 409, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AdminError> {
    std::fs::read(path).map_err(|error| AdminError::Setting(format!("{}: cannot be read: {error}", path.display())))
}

fn unusable(path: &Path, error: &reqwest::Error) -> AdminError {
    AdminError::Setting(format!("{}: is not usable PEM: {}", path.display(), causes(error)))
}

/// An error with its causes: the outermost alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_broker_is_named() {
        crate::cli::install_tls();
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap().port();
        let pulsar = PulsarSection { admin_url: format!("http://127.0.0.1:{port}/"), ..PulsarSection::default() };
        let error = Admin::new(&pulsar).unwrap().namespaces("public").await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, AdminError::Unreachable { .. }) && text.contains(&format!(":{port}/admin/v2/namespaces")),
            "{text}"
        );
        assert!(
            Admin::new(&PulsarSection { admin_url: String::new(), ..pulsar })
                .unwrap_err()
                .to_string()
                .contains("admin_url")
        );
    }
}
