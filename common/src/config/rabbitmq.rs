//! The sections of RabbitMQ. Each key's doc comment is its reference.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::choices::{Format, OnGap, choice};
use super::sections::list;
use super::{Secret, Start, TlsSection};
use crate::translate::JsonPath;

/// `[rabbitmq]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RabbitmqSection {
    /// `amqp://host:port/vhost`, or `amqps://` for TLS. A vhost is URL-encoded: `/%2f`, or nothing, is the vhost `/`.
    /// It may hold user and password where it comes from the environment; the keys for them win. Unset: `amqp://127.0.0.1:5672`.
    pub url: Secret,
    /// The management plugin's URL (`http://` or `https://`): only `setup` and `check` use it. Empty: none. Unset:
    /// `http://127.0.0.1:15672`.
    pub management_url: Secret,
    /// The user, for AMQP and the management API. Unset: the URL's, or `guest`.
    pub username: Option<String>,
    /// The password; from the environment only. Unset: the URL's, or `guest`.
    pub password: Option<Secret>,
    /// The file that holds the password; read again at every connection.
    pub password_file: Option<PathBuf>,
    /// What names the cluster for ever, as a part of the producers' names. Unset: the server property `cluster_name`. Set
    /// it before the first run where that name may change (RabbitMQ derives it from a node's host name).
    pub cluster_id: Option<String>,
    /// Seconds between heartbeats; a connection that is silent for twice as long is dead. 5 to 600.
    pub heartbeat_seconds: u16,
    /// TLS towards RabbitMQ, for both URLs.
    pub tls: TlsSection,
}

impl Default for RabbitmqSection {
    fn default() -> Self {
        Self {
            url: Secret::new("amqp://127.0.0.1:5672"),
            management_url: Secret::new("http://127.0.0.1:15672"),
            username: None,
            password: None,
            password_file: None,
            cluster_id: None,
            heartbeat_seconds: 30,
            tls: TlsSection::default(),
        }
    }
}

impl RabbitmqSection {
    /// What is wrong with the section: the key and the reason.
    ///
    /// # Errors
    /// The first key that cannot stand as it is.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let starts = |url: &Secret, schemes: &[&str]| schemes.iter().any(|scheme| url.expose().starts_with(scheme));
        let refuse = |key, reason: &str| Err((key, reason.to_owned()));
        if !starts(&self.url, &["amqp://", "amqps://"]) {
            return refuse("url", "is no URL for it: write amqp://host:port/vhost or amqps://host:port/vhost");
        }
        if !self.management_url.expose().is_empty() && !starts(&self.management_url, &["http://", "https://"]) {
            return refuse("management_url", "is no URL for it: write http://host:port or https://host:port");
        }
        if !(5..=600).contains(&self.heartbeat_seconds) {
            return refuse("heartbeat_seconds", "must be between 5 and 600");
        }
        if self.password.is_some() && self.password_file.is_some() {
            return refuse("password", "and password_file are both set: leave one out");
        }
        match &self.cluster_id {
            Some(id) if id.is_empty() || id.contains('/') => refuse("cluster_id", "must be a name without a slash"),
            _ => Ok(()),
        }
    }
}

/// `[source.<name>]` with `kind = "rabbitmq"`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RabbitmqSource {
    /// The queue: the bridge's own, which nobody else consumes (a stream may have other readers).
    #[serde(default)]
    pub queue: Option<String>,
    /// Several queues in place of `queue`, for more throughput: each is a source partition of its own. A
    /// consistent-hash exchange spreads the events over them by key.
    #[serde(default, deserialize_with = "list")]
    #[schemars(schema_with = "super::schema::list")]
    pub queues: Vec<String>,
    /// `"quorum"`, `"classic"` or `"stream"`.
    #[serde(default, deserialize_with = "choice")]
    pub queue_type: QueueType,
    /// True: the bridge declares queue and bindings (durable, with a single active consumer), also when the queue has
    /// disappeared. False: they are there, and the bridge only consumes.
    #[serde(default = "yes")]
    pub declare: bool,
    /// Further arguments for the declaration (`"x-dead-letter-exchange" = "..."`, `"x-max-age" = "7D"`).
    #[serde(default)]
    pub arguments: BTreeMap<String, ArgumentValue>,
    /// What is bound to the queue; every queue of `queues` gets all of them.
    #[serde(default)]
    pub bind: Vec<BindSection>,
    /// How many deliveries are under way and unacknowledged at once; no more than so many are moved in a millisecond or two. 1 to
    /// 65535. Unset: derived from `limits.memory_mib`.
    #[serde(default)]
    pub prefetch: Option<u16>,
    /// What identifies an event, so that one that comes again is recognised: `"message-id"`, `"header:<name>"` or
    /// `"json:<path>"`. Streams need none. Leave it out where `dedupe.key` is set.
    #[serde(default)]
    pub idempotency_key: Option<IdempotencyKey>,
    /// True: runs without `idempotency_key`; deliveries that come again are doubled then.
    #[serde(default)]
    pub at_least_once: bool,
    /// The key of the message in the target: `"routing-key"` or `"header:<name>"`. Unset: none.
    #[serde(default)]
    pub key: Option<KeyFrom>,
    /// How often RabbitMQ 4 and later delivers one message before it drops or dead-letters it. Unset or -1: for ever,
    /// by the argument that the server's version wants.
    #[serde(default)]
    pub delivery_limit: Option<i64>,
    /// Streams: where a source without a checkpoint starts: `"earliest"`, `"latest"` (only what comes from now on), an RFC 3339
    /// time (as exact as the stream's chunks), or `{ 0 = offset }`.
    #[serde(default)]
    pub start: Start,
    /// Streams: what to do when records were purged before they were mirrored: `"stop"` and name them, or `"continue"`
    /// and record the gap.
    #[serde(default, deserialize_with = "choice")]
    pub on_gap: OnGap,
    /// Raised by one after the queue was recreated as another one: a new sequence and new producer names.
    #[serde(default)]
    pub generation: u32,
    /// What the bodies are: `"json"`, `"confluent-avro"`, `"avro"` (by `schema_file`), or `"bytes"` to pass them as they are.
    #[serde(default, deserialize_with = "choice")]
    pub format: Format,
    /// For `format = "avro"`: the Avro schema that the bodies are written with.
    #[serde(default)]
    pub schema_file: Option<PathBuf>,
}

impl RabbitmqSource {
    /// The queues, whichever key names them.
    pub fn queue_names(&self) -> Vec<&str> {
        self.queue.iter().chain(&self.queues).map(String::as_str).collect()
    }

    /// What is wrong with the section: the key and the reason. `dedupe` says whether `dedupe.key` is set.
    ///
    /// # Errors
    /// The first key that cannot stand as it is.
    pub fn check(&self, dedupe: bool) -> Result<(), (&'static str, String)> {
        let names = self.queue_names();
        let refuse = |key, reason: &str| Err((key, reason.to_owned()));
        if self.queue.is_some() != self.queues.is_empty() {
            return refuse("queue", "set either queue or queues");
        }
        if let Some(name) = names.iter().find(|name| name.is_empty() || name.len() > 255) {
            return Err(("queue", format!("\"{name}\" is no queue's name: 1 to 255 bytes")));
        }
        if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
            return refuse("queues", "a queue is named twice");
        }
        if self.prefetch == Some(0) {
            return refuse("prefetch", "0 means no limit to RabbitMQ: set 1 to 65535");
        }
        if self.delivery_limit.is_some_and(|limit| limit < -1) {
            return refuse("delivery_limit", "set -1 for none, or how often");
        }
        self.check_declaration()?;
        if self.queue_type == QueueType::Stream {
            return match (&self.idempotency_key, self.at_least_once) {
                (Some(_), _) => refuse("idempotency_key", "a stream has offsets and needs none: leave it out"),
                (None, true) => refuse("at_least_once", "a stream has offsets, and is exactly once: leave it out"),
                (None, false) => Ok(()),
            };
        }
        match (&self.idempotency_key, dedupe, self.at_least_once) {
            (Some(_), _, true) => refuse(
                "at_least_once",
                "is true, and idempotency_key names what recognises a redelivery: leave one of them out",
            ),
            (_, true, true) => refuse(
                "at_least_once",
                "is true, and dedupe.key names what recognises a redelivery: leave one of them out",
            ),
            (Some(_), true, _) => {
                refuse("idempotency_key", "dedupe.key is set and identifies the events: leave it out")
            }
            (None, false, false) => {
                refuse("idempotency_key", "name what identifies an event, or set at_least_once = true and have doubles")
            }
            _ => Ok(()),
        }
    }
}

impl RabbitmqSource {
    /// What the declaration would contradict.
    fn check_declaration(&self) -> Result<(), (&'static str, String)> {
        let refuse = |key, reason: String| Err((key, reason));
        if !self.declare && !self.bind.is_empty() {
            let reason = "declare = false leaves the queue and its bindings to their owner: leave the binds out, or set \
                          declare = true";
            return refuse("bind", reason.to_owned());
        }
        for (argument, instead) in [
            ("x-queue-type", "set queue_type"),
            ("x-single-active-consumer", "a bridge always declares it, but for streams"),
        ] {
            if self.arguments.contains_key(argument) {
                return refuse(
                    "arguments",
                    format!("\"{argument}\" is set by the bridge itself: leave it out; {instead}"),
                );
            }
        }
        if self.delivery_limit.is_some() && self.arguments.contains_key("x-delivery-limit") {
            let reason = "\"x-delivery-limit\" is set by delivery_limit as well: leave one of them out";
            return refuse("arguments", reason.to_owned());
        }
        Ok(())
    }
}

/// `[[source.<name>.bind]]`
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindSection {
    /// The exchange; it has to exist.
    pub exchange: String,
    /// The routing key; for a topic exchange a pattern.
    #[serde(default)]
    pub routing_key: String,
    /// The arguments, for a headers exchange.
    #[serde(default)]
    pub arguments: BTreeMap<String, ArgumentValue>,
}

/// `[[setup.unroutable]]`: where an exchange's unroutable messages go instead of being dropped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnroutableSection {
    /// The exchange that drops what no binding wants.
    pub exchange: String,
    /// The exchange that gets it: a fanout, created where it is missing. A `[[source.<name>.bind]]` binds it.
    pub alternate: String,
}

/// What kind of queue it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// A replicated queue.
    #[default]
    Quorum,
    /// A queue on one node.
    Classic,
    /// A stream: a log with offsets.
    Stream,
}

impl QueueType {
    /// RabbitMQ's own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
            Self::Stream => "stream",
        }
    }
}

/// The value of an argument of a queue or binding.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ArgumentValue {
    /// `true`, `false`
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// What identifies an event of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// The property `message-id`.
    MessageId,
    /// A header.
    Header(String),
    /// A path into the JSON body.
    Json(JsonPath),
}

/// What the key of a target's message is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    /// The routing key.
    RoutingKey,
    /// A header.
    Header(String),
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            None if text == "message-id" => Ok(Self::MessageId),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("header", _)) => Err(de::Error::custom("\"header:\" names no header: write \"header:<name>\"")),
            Some(("json", path)) => JsonPath::parse(path).map(Self::Json).map_err(de::Error::custom),
            _ => Err(de::Error::custom(format!(
                "\"{text}\" is no idempotency key: write \"message-id\", \"header:<name>\" or \"json:<path>\""
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for KeyFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            None if text == "routing-key" => Ok(Self::RoutingKey),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("header", _)) => Err(de::Error::custom("\"header:\" names no header: write \"header:<name>\"")),
            _ => Err(de::Error::custom(format!("\"{text}\" is no key: write \"routing-key\" or \"header:<name>\""))),
        }
    }
}

/// The arguments with which a queue is declared on a server of this version.
///
/// RabbitMQ 4 drops or dead-letters a message after 20 redeliveries unless told -1. Before 4.0 there is no limit, and -1
/// would drop everything after one redelivery.
pub fn queue_arguments(
    kind: QueueType,
    further: &BTreeMap<String, ArgumentValue>,
    delivery_limit: Option<i64>,
    version: &str,
) -> BTreeMap<String, ArgumentValue> {
    let mut arguments = further.clone();
    arguments.insert("x-queue-type".to_owned(), ArgumentValue::Text(kind.name().to_owned()));
    if kind != QueueType::Stream {
        arguments.insert("x-single-active-consumer".to_owned(), ArgumentValue::Boolean(true));
    }
    let limit = match delivery_limit {
        Some(limit) if limit >= 0 => Some(limit),
        _ => (major_version(version) >= 4).then_some(-1),
    };
    if let Some(limit) = limit.filter(|_| kind == QueueType::Quorum) {
        arguments.entry("x-delivery-limit".to_owned()).or_insert(ArgumentValue::Integer(limit));
    }
    arguments
}

/// 3 of `3.10.8`; 0 where there is none.
pub fn major_version(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn yes() -> bool {
    true
}
