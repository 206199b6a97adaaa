//! A thin client of Pulsar's admin API: what `bridgectl setup` and the start of a bridge need of it.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::config::{PulsarAuthKind, PulsarSection, TopicName, read_secret};

/// How long one request may take: the first one after a restart of the broker loads the topic.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refusal's text is kept.
const REASON_CHARS: usize = 2_000;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The settings do not make a client.
    #[error("{0}")]
    Setting(String),
    /// No answer.
    #[error("{url}: no answer: {cause}. Check pulsar.admin_url, and that the broker runs")]
    Unreachable {
        /// The request's URL.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The broker does not know us, or does not allow it.
    #[error("{url}: {status}: {reason}. Check pulsar.auth, and the role's rights")]
    Unauthorised {
        /// The request's URL.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The broker's words.
        reason: String,
    },
    /// There is no such thing.
    #[error("{url}: not found: {reason}")]
    NotFound {
        /// The request's URL.
        url: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker says no.
    #[error("{url}: refused with {status}: {reason}")]
    Refused {
        /// The request's URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The broker's words.
        reason: String,
    },
}

/// The policies of a topic that matter to a bridge. Set on the topic, not on its namespace: other topics there are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicPolicy {
    /// `true`: the broker drops what it has stored already.
    Deduplication,
    /// `{"retentionTimeInMinutes", "retentionSizeInMB"}`, -1 for no limit.
    Retention,
    /// `{"inactiveTopicDeleteMode", "maxInactiveDurationSeconds", "deleteWhileInactive"}`
    InactiveTopics,
    /// Bytes of backlog above which the broker compacts by itself.
    CompactionThreshold,
    /// How new schema versions are checked, by [`crate::config::SchemaCompatibility::name`].
    SchemaCompatibility,
}

impl TopicPolicy {
    /// The policy's name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deduplication => "deduplicationEnabled",
            Self::Retention => "retention",
            Self::InactiveTopics => "inactiveTopicPolicies",
            Self::CompactionThreshold => "compactionThreshold",
            Self::SchemaCompatibility => "schemaCompatibilityStrategy",
        }
    }

    fn method(self) -> Method {
        if self == Self::SchemaCompatibility { Method::PUT } else { Method::POST }
    }
}

/// A producer that is connected to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Publisher {
    /// Its name.
    #[serde(rename = "producerName")]
    pub name: String,
    /// Where it is connected from.
    #[serde(default)]
    pub address: String,
    /// Since when.
    #[serde(default, rename = "connectedSince")]
    pub connected_since: String,
    /// What it calls itself.
    #[serde(default, rename = "clientVersion")]
    pub client_version: String,
}

impl std::fmt::Display for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, connected_since, client_version, .. } = self;
        write!(f, "{} ({client_version}), connected since {connected_since}", address.trim_start_matches('/'))
    }
}

/// A schema as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredSchema {
    /// The version, from 0.
    pub version: i64,
    /// `AVRO`, `JSON`, `BYTES`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its definition: for AVRO the schema's JSON as text.
    pub data: String,
}

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
        let setting = |problem: String| AdminError::Setting(problem);
        if pulsar.admin_url.is_empty() {
            return Err(setting("pulsar.admin_url is empty: set it to use the admin API".to_owned()));
        }
        if pulsar.auth.kind == PulsarAuthKind::OAuth2 {
            return Err(setting(
                "pulsar.auth.kind = \"oauth2\" does not reach the admin API yet: use a token".to_owned(),
            ));
        }
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::limited(5));
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

    /// The tenant's namespaces, as `tenant/namespace`.
    pub async fn namespaces(&self, tenant: &str) -> Result<Vec<String>, AdminError> {
        self.get(&format!("namespaces/{tenant}")).await
    }

    /// Creates `tenant/namespace`. The tenant must exist. No error where it exists already.
    pub async fn create_namespace(&self, namespace: &str) -> Result<(), AdminError> {
        existing_is_fine(self.send(Method::PUT, &format!("namespaces/{namespace}"), None).await)
    }

    /// The namespace's own rule about topics that spring into being; `None`: the broker's rule holds.
    pub async fn auto_topic_creation(&self, namespace: &str) -> Result<Option<bool>, AdminError> {
        let rule: Option<Value> = self.get(&format!("namespaces/{namespace}/autoTopicCreation")).await?;
        Ok(rule.and_then(|rule| rule.get("allowAutoTopicCreation")?.as_bool()))
    }

    /// Forbids topics that spring into being by a mere connection.
    pub async fn forbid_auto_topic_creation(&self, namespace: &str) -> Result<(), AdminError> {
        let rule = json!({ "allowAutoTopicCreation": false });
        self.send(Method::POST, &format!("namespaces/{namespace}/autoTopicCreation"), Some(&rule)).await.map(drop)
    }

    /// The topic's partitions: `Some(0)` where it is not partitioned, `None` where there is no such topic.
    pub async fn partitions(&self, topic: &TopicName) -> Result<Option<u32>, AdminError> {
        #[derive(Deserialize)]
        struct Metadata {
            partitions: u32,
        }
        let found: Result<Metadata, _> = self.get(&format!("{}/partitions", topic_path(topic))).await;
        match found {
            Ok(Metadata { partitions: 0 }) => Ok(self.has_plain_topic(topic).await?.then_some(0)),
            Ok(Metadata { partitions }) => Ok(Some(partitions)),
            Err(AdminError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brokers answer "0 partitions" for topics that do not exist, too: the namespace's list tells.
    async fn has_plain_topic(&self, topic: &TopicName) -> Result<bool, AdminError> {
        let path = format!("persistent/{}/{}", topic.tenant, topic.namespace);
        let topics: Vec<String> = self.get(&path).await?;
        let name = topic.to_string();
        Ok(topics.contains(&name))
    }

    /// Creates a topic: partitioned, or with `None` a plain one. No error where it exists already.
    pub async fn create_topic(&self, topic: &TopicName, partitions: Option<u32>) -> Result<(), AdminError> {
        let path = topic_path(topic);
        existing_is_fine(match partitions {
            Some(count) => self.send(Method::PUT, &format!("{path}/partitions"), Some(&json!(count))).await,
            None => self.send(Method::PUT, &path, None).await,
        })
    }

    /// A policy as it is set on the topic itself; `None`: the namespace's or the broker's holds.
    pub async fn topic_policy(&self, topic: &TopicName, policy: TopicPolicy) -> Result<Option<Value>, AdminError> {
        let value: Option<Value> = self.get(&format!("{}/{}", topic_path(topic), policy.name())).await?;
        // "Nothing set" is said by this word where there is no null for it.
        Ok(value.filter(|value| value != "UNDEFINED"))
    }

    /// Sets a policy on the topic. Takes effect a moment later: brokers learn of it by a topic of their own.
    pub async fn set_topic_policy(
        &self,
        topic: &TopicName,
        policy: TopicPolicy,
        value: &Value,
    ) -> Result<(), AdminError> {
        let path = format!("{}/{}", topic_path(topic), policy.name());
        self.send(policy.method(), &path, Some(value)).await.map(drop)
    }

    /// Whether the broker really deduplicates on this topic (any partition of it), whichever policy says so. Loads the topic.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where there is no such topic.
    pub async fn deduplicates(&self, topic: &TopicName) -> Result<bool, AdminError> {
        let path = match self.partitions(topic).await? {
            Some(count) if count > 0 => format!("{}-partition-0", topic_path(topic)),
            _ => topic_path(topic),
        };
        let stats: Value = self.get(&format!("{path}/stats")).await?;
        Ok(stats.get("deduplicationStatus").and_then(Value::as_str) == Some("Enabled"))
    }

    /// Who publishes to a topic partition under this name, if anybody does.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn publisher(&self, topic: &TopicName, name: &str) -> Result<Option<Publisher>, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            publishers: Vec<Publisher>,
        }
        let answer: Answer = self.get(&format!("{}/stats", topic_path(topic))).await?;
        Ok(answer.publishers.into_iter().find(|publisher| publisher.name == name))
    }

    /// The topic's statistics, those of all its partitions summed up where it has several.
    pub async fn stats(&self, topic: &TopicName) -> Result<Value, AdminError> {
        let partitioned = self.partitions(topic).await?.is_some_and(|count| count > 0);
        let kind = if partitioned { "partitioned-stats" } else { "stats" };
        self.get(&format!("{}/{kind}", topic_path(topic))).await
    }

    /// The newest version of the topic's schema, if it has one.
    pub async fn schema(&self, topic: &TopicName) -> Result<Option<StoredSchema>, AdminError> {
        match self.get(&schema_path(topic)).await {
            Ok(schema) => Ok(Some(schema)),
            Err(AdminError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All versions of the topic's schema, the newest last; none where it has no schema.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn schema_versions(&self, topic: &TopicName) -> Result<Vec<StoredSchema>, AdminError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            get_schema_responses: Vec<StoredSchema>,
        }
        match self.get::<Answer>(&format!("{}s", schema_path(topic))).await {
            Ok(Answer { get_schema_responses: mut versions }) => {
                versions.sort_by_key(|schema| schema.version);
                Ok(versions)
            }
            Err(AdminError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the topic's compatibility policy would take this Avro schema as its next version.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn takes_avro_schema(&self, topic: &TopicName, schema: &str) -> Result<bool, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            compatibility: bool,
        }
        let body = json!({ "type": "AVRO", "schema": schema, "properties": {} });
        let path = format!("schemas/{}/{}/{}/compatibility", topic.tenant, topic.namespace, topic.name);
        let (url, text) = match self.send(Method::POST, &path, Some(&body)).await {
            // Pulsar 4.0 answers an incompatible schema with 500 and these words, not with `false`.
            Err(AdminError::Refused { reason, .. }) if reason.contains("schema compatibility check") => {
                return Ok(false);
            }
            answer => answer?,
        };
        understood::<Answer>(url, &text).map(|answer| answer.compatibility)
    }

    /// Registers an Avro schema: a new version, unless the topic has it already, as its newest version or an earlier one.
    /// The broker does not tell schemas apart by their docs.
    ///
    /// # Errors
    /// [`AdminError::Refused`] with the broker's reason when it is incompatible with the earlier versions.
    pub async fn upload_avro_schema(&self, topic: &TopicName, schema: &str) -> Result<(), AdminError> {
        let body = json!({ "type": "AVRO", "schema": schema, "properties": {} });
        self.send(Method::POST, &schema_path(topic), Some(&body)).await.map(drop)
    }

    /// Asks for a compaction now. Returns before it is done.
    pub async fn compact(&self, topic: &TopicName) -> Result<(), AdminError> {
        self.send(Method::PUT, &format!("{}/compaction", topic_path(topic)), None).await.map(drop)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        let (url, text) = self.send(Method::GET, path, None).await?;
        let text = if text.is_empty() { "null" } else { text.as_str() };
        understood(url, text)
    }

    /// Sends a request; gives its URL and the answer's text.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(String, String), AdminError> {
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

fn topic_path(topic: &TopicName) -> String {
    format!("persistent/{}/{}/{}", topic.tenant, topic.namespace, topic.name)
}

fn understood<T: serde::de::DeserializeOwned>(url: String, text: &str) -> Result<T, AdminError> {
    serde_json::from_str(text).map_err(|error| AdminError::Refused {
        url,
        status: 200,
        reason: format!("the answer is not understood ({error}): is this Pulsar's admin URL?"),
    })
}

fn schema_path(topic: &TopicName) -> String {
    format!("schemas/{}/{}/{}/schema", topic.tenant, topic.namespace, topic.name)
}

fn existing_is_fine(result: Result<(String, String), AdminError>) -> Result<(), AdminError> {
    match result {
        Ok(_) | Err(AdminError::Refused { status: 409, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The broker answers `{"reason": "..."}`, or plain text, or a page.
fn refusal(url: String, status: StatusCode, text: &str) -> AdminError {
    let said = serde_json::from_str::<Value>(text).ok();
    let said = said.as_ref().and_then(|json| json.get("reason")?.as_str()).unwrap_or(text);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason: String = said.chars().take(REASON_CHARS).collect();
    let reason = reason.trim_end_matches('.').to_owned();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            AdminError::Unauthorised { url, status: status.as_u16(), reason }
        }
        StatusCode::NOT_FOUND => AdminError::NotFound { url, reason },
        _ => AdminError::Refused { url, status: status.as_u16(), reason },
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

    #[test]
    fn refusals_are_told_apart_and_keep_the_brokers_words() {
        let url = || "http://b/admin/v2/x".to_owned();
        let wrong = refusal(url(), StatusCode::UNAUTHORIZED, r#"{"reason":"Authentication required"}"#).to_string();
        assert_eq!(
            wrong,
            "http://b/admin/v2/x: 401: Authentication required. Check pulsar.auth, and the role's rights"
        );
        assert!(
            matches!(refusal(url(), StatusCode::NOT_FOUND, "gone"), AdminError::NotFound { reason, .. } if reason == "gone")
        );
        let long = "x".repeat(10_000);
        assert!(refusal(url(), StatusCode::CONFLICT, &long).to_string().len() < 2_200);
    }

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
