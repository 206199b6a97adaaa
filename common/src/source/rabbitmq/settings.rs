//! What a RabbitMQ source is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lapin::ConnectionProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;

use super::super::SourceError;
use crate::certificates::ShownEnd;
use crate::config::{
    ArgumentValue, BindSection, KeyFrom, QueueType, RabbitmqSection, RabbitmqSource, Secret, queue_arguments,
    read_secret,
};

/// Deliveries under way where nothing else is said.
const PREFETCH: u16 = 2000;

/// Bytes of bodies under way where nothing else is said.
const HELD_BYTES: u64 = 16 << 20;

/// The files of TLS towards RabbitMQ.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// PEM file with the authorities to trust; without it, those the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key_file: Option<PathBuf>,
    /// When the certificate ends that the server has shown last.
    pub shown: ShownEnd,
}

/// A RabbitMQ source, complete. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    /// The stream's name, for the connection's name.
    pub stream: String,
    /// The URL, which may hold a user and a password: hence the secret.
    pub url: Secret,
    /// The user in place of the URL's.
    pub username: Option<String>,
    /// The password in place of the URL's.
    pub password: Option<Secret>,
    /// The file that holds it; read at every connection.
    pub password_file: Option<PathBuf>,
    /// The files of TLS, for `amqps`.
    pub tls: TlsFiles,
    /// What to call the cluster, in place of the server property `cluster_name`.
    pub cluster_id: Option<String>,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u16,
    /// How long a question to the server may take.
    pub request_timeout: Duration,
    /// How often it is looked how many messages are ready, for the lag.
    pub look_interval: Duration,
    /// The queues: a source partition each.
    pub queues: Vec<String>,
    /// What the queues are.
    pub queue_type: QueueType,
    /// Whether the bridge declares them.
    pub declare: bool,
    /// Further arguments of the declaration.
    pub arguments: BTreeMap<String, ArgumentValue>,
    /// What is bound to each queue.
    pub bindings: Vec<BindSection>,
    /// Deliveries under way and not acknowledged, at most, per queue.
    pub prefetch: u16,
    /// Bytes of bodies under way, per queue. AMQP can only count deliveries: where bodies are larger than this allows
    /// for, the prefetch is lowered and the queue is started again.
    pub held_bytes: u64,
    /// RabbitMQ 4's delivery limit; `None` and -1 are none.
    pub delivery_limit: Option<i64>,
    /// Where the records' keys come from.
    pub key: Option<KeyFrom>,
}

impl RabbitSettings {
    /// The settings of a queue, everything else at its default.
    pub fn new(url: impl Into<String>, queue: impl Into<String>, stream: impl Into<String>) -> Self {
        RabbitSettings {
            stream: stream.into(),
            url: Secret::new(url),
            username: None,
            password: None,
            password_file: None,
            tls: TlsFiles::default(),
            cluster_id: None,
            heartbeat_seconds: 30,
            request_timeout: Duration::from_secs(10),
            look_interval: Duration::from_secs(5),
            queues: vec![queue.into()],
            queue_type: QueueType::Quorum,
            declare: true,
            arguments: BTreeMap::new(),
            bindings: Vec::new(),
            prefetch: PREFETCH,
            held_bytes: HELD_BYTES,
            delivery_limit: None,
            key: None,
        }
    }

    /// The settings of a configured source. `prefetch` and `held_bytes` come from the memory budget, per queue; a
    /// prefetch in the configuration wins.
    pub fn from_config(
        stream: &str,
        section: &RabbitmqSection,
        source: &RabbitmqSource,
        prefetch: u16,
        held_bytes: u64,
    ) -> Self {
        let tls = &section.tls;
        RabbitSettings {
            username: section.username.clone(),
            password: section.password.clone(),
            password_file: section.password_file.clone(),
            tls: TlsFiles {
                ca_file: tls.ca_file.clone(),
                certificate_file: tls.certificate_file.clone(),
                key_file: tls.key_file.clone(),
                shown: ShownEnd::default(),
            },
            cluster_id: section.cluster_id.clone(),
            heartbeat_seconds: section.heartbeat_seconds,
            queues: source.queue_names().into_iter().map(str::to_owned).collect(),
            queue_type: source.queue_type,
            declare: source.declare,
            arguments: source.arguments.clone(),
            bindings: source.bind.clone(),
            prefetch: source.prefetch.unwrap_or(prefetch).max(1),
            held_bytes,
            delivery_limit: source.delivery_limit,
            key: source.key.clone(),
            ..Self::new(section.url.expose(), "", stream)
        }
    }

    /// Where and as whom to connect.
    pub(super) fn uri(&self) -> Result<AMQPUri, SourceError> {
        let wrong = |key: &str, reason: String| SourceError::Setting { key: key.into(), reason };
        let mut uri: AMQPUri = self.url.expose().parse().map_err(|_| {
            // lapin's own words could quote the URL.
            wrong("rabbitmq.url", "is not a URL for it: write amqp://host:port/vhost, or amqps://".into())
        })?;
        let password = read_secret(self.password.as_ref(), self.password_file.as_deref());
        let password = password.map_err(|error| wrong("rabbitmq.password_file", error.to_string()))?;
        let user = &mut uri.authority.userinfo;
        if let Some(name) = &self.username {
            name.clone_into(&mut user.username);
        }
        if let Some(password) = password {
            password.expose().clone_into(&mut user.password);
        }
        uri.query.heartbeat = Some(self.heartbeat_seconds);
        Ok(uri)
    }

    /// Host and port, for messages.
    pub(super) fn address(&self) -> String {
        self.uri().map_or_else(
            |_| "the configured URL".to_owned(),
            |uri| format!("{}:{}", uri.authority.host, uri.authority.port),
        )
    }

    /// How the connection introduces itself. Nothing is recovered behind our back: a lost channel is a new start.
    pub(super) fn properties(&self) -> ConnectionProperties {
        ConnectionProperties::default().with_connection_name(format!("bridge-{}", self.stream).into())
    }

    /// The arguments with which a queue is declared on a server of this version.
    pub(super) fn queue_arguments(&self, version: &str) -> FieldTable {
        field_table(&queue_arguments(self.queue_type, &self.arguments, self.delivery_limit, version))
    }
}

/// Arguments as AMQP has them. Names are cut at AMQP's 255 bytes, which the server then refuses by name.
pub(super) fn field_table(arguments: &BTreeMap<String, ArgumentValue>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            ArgumentValue::Boolean(value) => AMQPValue::Boolean(*value),
            ArgumentValue::Integer(value) => AMQPValue::LongLongInt(*value),
            ArgumentValue::Text(value) => AMQPValue::LongString(value.as_str().into()),
        };
        table.insert(short(name), value);
    }
    table
}

/// A name as AMQP has it: at most 255 bytes.
pub(super) fn short(name: &str) -> ShortString {
    let end = (0..=name.len().min(255)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delivery_limit_depends_on_the_version() {
        let mut settings = RabbitSettings::new("amqp://localhost", "q", "s");
        let limit = |settings: &RabbitSettings, version: &str| {
            settings.queue_arguments(version).inner().get("x-delivery-limit").cloned()
        };
        assert_eq!(limit(&settings, "3.10.8"), None);
        assert_eq!(limit(&settings, "4.1.0"), Some(AMQPValue::LongLongInt(-1)));
        settings.delivery_limit = Some(-1);
        assert_eq!(limit(&settings, "3.13.7"), None, "-1 would drop everything after one redelivery");
        settings.delivery_limit = Some(5);
        assert_eq!(limit(&settings, "3.13.7"), Some(AMQPValue::LongLongInt(5)));
        settings.queue_type = QueueType::Classic;
        assert_eq!(limit(&settings, "4.1.0"), None);
    }

    #[test]
    fn secrets_are_never_shown_and_the_keys_win_over_the_url() {
        let mut settings = RabbitSettings::new("amqp://u:hush@host:1/%2f", "q", "s");
        assert!(!format!("{settings:?}").contains("hush") && !settings.address().contains("hush"));
        settings.username = Some("other".to_owned());
        settings.password = Some(Secret::new("hush2"));
        let uri = settings.uri().unwrap();
        assert_eq!(
            (uri.authority.userinfo.username.as_str(), uri.authority.userinfo.password.as_str()),
            ("other", "hush2")
        );
        assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), ("/", Some(30)));
        let wrong = RabbitSettings::new("http://u:hush@host", "q", "s").uri().unwrap_err();
        assert!(!wrong.to_string().contains("hush"), "{wrong}");
    }
}
