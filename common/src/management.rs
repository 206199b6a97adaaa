//! A thin client of RabbitMQ's management API: what `bridgectl setup` and `check` need of it.

use std::path::Path;
use std::time::Duration;

use crate::config::{RabbitmqSection, Secret, read_secret};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refusal's text is kept.
const REASON_CHARS: usize = 1_000;

/// The client for one vhost. Its messages never hold the user or the password.
#[derive(Debug)]
pub struct Management {
    client: Client,
    base: Url,
    username: String,
    password: Secret,
    vhost: String,
}

impl Management {
    /// A client for `rabbitmq.management_url`. Opens no connection yet.
    ///
    /// # Errors
    /// The setting that cannot be used, and why.
    pub fn new(section: &RabbitmqSection) -> Result<Self, String> {
        Self::with_timeout(section, TIMEOUT)
    }

    /// The same, with another bound for each request.
    ///
    /// # Errors
    /// As [`Management::new`].
    pub fn with_timeout(section: &RabbitmqSection, timeout: Duration) -> Result<Self, String> {
        let text = section.management_url.expose();
        let mut base: Url =
            text.parse().map_err(|_| "rabbitmq.management_url is no URL: write http://host:port".to_owned())?;
        if base.cannot_be_a_base() {
            return Err("rabbitmq.management_url cannot carry a path: write http://host:port".to_owned());
        }
        let amqp: Url = section
            .url
            .expose()
            .parse()
            .map_err(|_| "rabbitmq.url is no URL: write amqp://host:port/vhost".to_owned())?;
        let secret = read_secret(section.password.as_ref(), section.password_file.as_deref());
        let secret = secret.map_err(|error| error.to_string())?;
        let of_urls = |part: fn(&Url) -> Option<String>| part(&base).or_else(|| part(&amqp));
        let from_url = of_urls(|url| Some(decoded(url.username())).filter(|name| !name.is_empty()));
        let username = section.username.clone().or(from_url).unwrap_or_else(|| "guest".to_owned());
        let password = secret.or_else(|| of_urls(|url| url.password().map(decoded)).map(Secret::new));
        let password = password.unwrap_or_else(|| Secret::new("guest"));
        let vhost = match amqp.path().trim_start_matches('/') {
            "" => "/".to_owned(),
            path => decoded(path),
        };
        // They go into the header, not into URLs that messages quote.
        let _ = (base.set_username(""), base.set_password(None));
        Ok(Management { client: client(section, timeout)?, base, username, password, vhost })
    }

    /// The version of the server.
    ///
    /// # Errors
    /// What went wrong, with the URL.
    pub async fn version(&self) -> Result<String, String> {
        let overview = self.request(Method::GET, &["overview"], None).await?.unwrap_or_default();
        let version = overview["rabbitmq_version"].as_str();
        version.map(str::to_owned).ok_or_else(|| format!("{}: tells no version", self.base))
    }

    /// What is there; `None` where there is no such thing. The vhost is put behind the first part of the path.
    ///
    /// # Errors
    /// What went wrong, with the URL.
    pub async fn get(&self, kind: &str, rest: &[&str]) -> Result<Option<Value>, String> {
        self.request(Method::GET, &self.path(kind, rest), None).await
    }

    /// Makes or sets something.
    ///
    /// # Errors
    /// As [`Management::get`].
    pub async fn put(&self, kind: &str, rest: &[&str], body: &Value) -> Result<(), String> {
        self.request(Method::PUT, &self.path(kind, rest), Some(body)).await.map(drop)
    }

    /// Adds something, and gives the answer, if there is one.
    ///
    /// # Errors
    /// As [`Management::get`].
    pub async fn post(&self, kind: &str, rest: &[&str], body: &Value) -> Result<Option<Value>, String> {
        self.request(Method::POST, &self.path(kind, rest), Some(body)).await
    }

    /// The user as whom requests are sent.
    pub fn username(&self) -> &str {
        &self.username
    }

    fn path<'a>(&'a self, kind: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        [kind, &self.vhost].into_iter().chain(rest.iter().copied()).collect()
    }

    async fn request(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Option<Value>, String> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        let mut request = self.client.request(method.clone(), url.clone());
        request = request.basic_auth(&self.username, Some(self.password.expose()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| {
            let cause = error.without_url();
            format!("{url}: no answer: {cause}. Check rabbitmq.management_url, and that the management plugin is on")
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let reason: String = text.chars().take(REASON_CHARS).collect();
        match status {
            StatusCode::NOT_FOUND if method == Method::GET => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("{url}: {status}: {reason}. Check rabbitmq.username, the password and the user's tags"))
            }
            _ if !status.is_success() => Err(format!("{url}: refused with {status}: {reason}")),
            _ if text.is_empty() => Ok(None),
            _ => serde_json::from_str(&text).map(Some).map_err(|error| format!("{url}: no JSON came: {error}")),
        }
    }
}

fn client(section: &RabbitmqSection, timeout: Duration) -> Result<Client, String> {
    let mut builder = Client::builder().timeout(timeout);
    if let Some(path) = &section.tls.ca_file {
        let unusable = |error: &dyn std::fmt::Display| format!("rabbitmq.tls: {}: {error}", path.display());
        let authorities = reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|error| unusable(&error))?;
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(certificate), Some(key)) = (&section.tls.certificate_file, &section.tls.key_file) {
        let mut pem = read(certificate)?;
        pem.extend(read(key)?);
        let unusable = |error: reqwest::Error| format!("rabbitmq.tls: {}: {error}", key.display());
        builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
    }
    builder.build().map_err(|error| format!("rabbitmq.tls: {error}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("rabbitmq.tls: {}: {error}", path.display()))
}

/// A part of a URL without its percent signs; as it is where they mean nothing.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_password_and_vhost_come_from_the_keys_then_the_urls_and_are_never_shown() {
        crate::cli::install_tls();
        let mut section = RabbitmqSection {
            url: Secret::new("amqp://u%40x:p%2Fw@host:1/a%2Fb"),
            management_url: Secret::new("http://host:2"),
            ..RabbitmqSection::default()
        };
        let client = Management::new(&section).unwrap();
        assert_eq!((client.username.as_str(), client.password.expose(), client.vhost.as_str()), ("u@x", "p/w", "a/b"));
        section.management_url = Secret::new("http://m:n@host:2");
        (section.url, section.password) = (Secret::new("amqp://host"), Some(Secret::new("k")));
        let client = Management::new(&section).unwrap();
        assert_eq!((client.username.as_str(), client.password.expose(), client.vhost.as_str()), ("m", "k", "/"));
        assert_eq!(client.base.as_str(), "http://host:2/");
    }
}
