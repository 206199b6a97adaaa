//! The client: its settings, one connection per broker, and what it opens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ::pulsar::message::proto::{self, command_partitioned_topic_metadata_response::LookupType, schema};

use super::auth::{Auth, TokenSource};
use super::command;
use super::connection::{Address, Connection};
use super::error::Error;
use super::lookup;
use super::producer::{self, Producer};
use super::reader::{Reader, ReaderStart};
use super::routes::ProducerEvents;
use super::service_url::ServiceUrl;
use super::tls::TlsConfig;
use crate::config::{PulsarAuthKind, PulsarSection};
use crate::logging::events;

/// How to reach Pulsar.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `pulsar://host:port` or `pulsar+ssl://host:port`; several hosts separated by commas.
    pub service_url: String,
    /// Who we are.
    pub auth: Auth,
    /// Whom to trust.
    pub tls: TlsConfig,
    /// The advertised listener to ask for, where brokers have several.
    pub listener_name: Option<String>,
    /// For the socket, TLS and the handshake together.
    pub connect_timeout: Duration,
    /// For each request and its answer.
    pub operation_timeout: Duration,
    /// A silence after which the broker is asked for a sign of life; after two it is given up.
    pub keep_alive: Duration,
}

impl ClientConfig {
    /// The usual settings for this address: no TLS authority of its own, no authentication.
    pub fn new(service_url: impl Into<String>) -> Self {
        Self {
            service_url: service_url.into(),
            auth: Auth::None,
            tls: TlsConfig::default(),
            listener_name: None,
            connect_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(30),
            // A broker that is frozen, or gone without a word, is given up after twice as long. Its topics are another
            // broker's long before that, and everything that waits for it stands still until then.
            keep_alive: Duration::from_secs(10),
        }
    }

    /// What the section `[pulsar]` of a configuration says.
    pub fn of(section: &PulsarSection) -> Self {
        let auth = match (section.auth.kind, &section.tls.certificate_file, &section.tls.key_file) {
            (PulsarAuthKind::Token, ..) => match (&section.auth.token, &section.auth.token_file) {
                (Some(token), _) => Auth::Token(TokenSource::Text(token.expose().to_owned())),
                (None, Some(file)) => Auth::Token(TokenSource::File(file.clone())),
                (None, None) => Auth::None,
            },
            (_, Some(cert_file), Some(key_file)) => {
                Auth::ClientCert { cert_file: cert_file.clone(), key_file: key_file.clone() }
            }
            _ => Auth::None,
        };
        Self {
            auth,
            tls: TlsConfig { ca_file: section.tls.ca_file.clone(), ..TlsConfig::default() },
            ..Self::new(&section.url)
        }
    }
}

/// A schema as Pulsar keeps it with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SchemaKind,
    /// Its definition: for Avro and JSON the Avro schema as JSON text.
    pub data: Vec<u8>,
    /// Its properties.
    pub properties: Vec<(String, String)>,
}

/// The kinds of schema that bridges write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Avro's binary encoding.
    Avro,
    /// JSON described by an Avro schema.
    Json,
    /// UTF-8 text.
    String,
}

impl SchemaInfo {
    pub(super) fn to_wire(&self) -> proto::Schema {
        let kind = match self.kind {
            SchemaKind::Avro => schema::Type::Avro,
            SchemaKind::Json => schema::Type::Json,
            SchemaKind::String => schema::Type::String,
        };
        let property = |(key, value): &(String, String)| proto::KeyValue { key: key.clone(), value: value.clone() };
        proto::Schema {
            name: self.name.clone(),
            schema_data: self.data.clone(),
            r#type: kind as i32,
            properties: self.properties.iter().map(property).collect(),
        }
    }
}

/// A producer that was opened, and what the broker said of it.
#[derive(Debug)]
pub struct Opened {
    /// The producer.
    pub producer: Producer,
    /// The highest sequence id that the broker says was pushed under this name; `None` where it knows none. A claim:
    /// what is stored is known only by reading back.
    pub last_sequence_id: Option<u64>,
    /// The version of the schema that was given, for [`super::Seal`].
    pub schema_version: Option<Vec<u8>>,
    /// What the broker takes at most for checksum, metadata and payload of one batch.
    pub max_message_bytes: usize,
}

/// The way to one broker. The lock is held while connecting, so that there is one attempt at a time.
type Slot = Arc<tokio::sync::Mutex<Way>>;

#[derive(Default)]
struct Way {
    connection: Option<Arc<Connection>>,
    /// There was a connection before.
    was_connected: bool,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, Error)>,
}

struct Shared {
    config: Arc<ClientConfig>,
    service: ServiceUrl,
    /// Which of the service's hosts answered last.
    service_host: AtomicUsize,
    /// One per broker that was ever used.
    slots: Mutex<HashMap<Address, Slot>>,
    /// The connection that a producer of each topic was last opened on.
    served_by: Mutex<HashMap<String, Weak<Connection>>>,
    /// How many connections were made in place of lost ones.
    reconnects: AtomicU64,
}

/// A client of one Pulsar cluster. Cheap to clone; clones share connections, one per broker. A connection that died is
/// replaced at its next use.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. Connects at first use; fails only where the service URL is none.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        let service = ServiceUrl::parse(&config.service_url)?;
        let shared = Shared {
            config: Arc::new(config),
            service,
            service_host: AtomicUsize::new(0),
            slots: Mutex::default(),
            served_by: Mutex::default(),
            reconnects: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connects and logs in, if that is not done yet. Asks for nothing.
    pub async fn connect(&self) -> Result<(), Error> {
        let connected = self.service_connection().await.map(drop);
        connected.map_err(|error| error.during("connect to Pulsar"))
    }

    /// How many connections were made in place of lost ones.
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }

    /// When the certificate ends that a broker has shown last, in seconds since the epoch; `None` without TLS.
    pub fn shown_certificate_end(&self) -> Option<i64> {
        self.shared.config.tls.shown.get()
    }

    /// How many partitions a topic has; 0 where it is not partitioned (or does not exist).
    pub async fn partitions(&self, topic: &str) -> Result<u32, Error> {
        let operation = format!("look up the partitions of {topic}");
        let (turn, connection) = self.service_connection().await.map_err(|error| error.during(&operation))?;
        let answer = connection.request(&operation, |id| command::partitions(id, topic)).await;
        let answer = self.heard(turn, answer)?;
        let answer = answer.partition_metadata_response.ok_or_else(|| connection.unexpected(&operation))?;
        match answer.response() {
            LookupType::Success => Ok(answer.partitions()),
            LookupType::Failed => {
                let code = answer.error.unwrap_or_default();
                Err(Error::from_server(&operation, connection.broker(), code, answer.message()))
            }
        }
    }

    /// Opens a producer by this name on one partition (or on a topic without partitions), always under an id that was
    /// never used on its connection. Its events go to `events` with `tag`. A name that is held is [`Error::Busy`].
    ///
    /// A request without an answer, or a future that is dropped, is closed again: otherwise it would hold the name on our
    /// own live connection. Where the name stays busy all the same: [`Client::drop_connection_of`].
    pub async fn open_producer(
        &self,
        topic_partition: &str,
        name: &str,
        schema: Option<&SchemaInfo>,
        events: ProducerEvents,
        tag: u64,
    ) -> Result<Opened, Error> {
        let operation = format!("open producer {name} on {topic_partition}");
        let connection = lookup::broker_of(self, topic_partition, &operation).await?;
        self.served_by().insert(topic_partition.to_owned(), Arc::downgrade(&connection));
        let request =
            producer::OpenRequest { operation: &operation, topic: topic_partition, name, schema, events, tag };
        producer::open(connection, request).await
    }

    /// Opens a reader at a place of one partition (or of a topic without partitions). With `read_compacted` it gets the
    /// latest message of each key only, as far as the topic has been compacted.
    pub async fn open_reader(
        &self,
        topic_partition: &str,
        start: ReaderStart,
        read_compacted: bool,
    ) -> Result<Reader, Error> {
        let operation = format!("open a reader on {topic_partition}");
        let connection = lookup::broker_of(self, topic_partition, &operation).await?;
        Reader::open(connection, &operation, topic_partition, start, read_compacted).await
    }

    /// The version of a schema on a topic; it is added where the topic's compatibility policy lets it. For a partitioned
    /// topic, name one of its partitions.
    pub async fn get_or_create_schema(&self, topic_partition: &str, schema: &SchemaInfo) -> Result<Vec<u8>, Error> {
        let operation = format!("get or create schema {} of {topic_partition}", schema.name);
        let connection = lookup::broker_of(self, topic_partition, &operation).await?;
        let wire = schema.to_wire();
        let answer =
            connection.request(&operation, |id| command::get_or_create_schema(id, topic_partition, wire)).await?;
        let answer = answer.get_or_create_schema_response.ok_or_else(|| connection.unexpected(&operation))?;
        match (answer.error_code, answer.schema_version) {
            (Some(code), _) => {
                let message = answer.error_message.unwrap_or_default();
                Err(Error::from_server(&operation, connection.broker(), code, &message))
            }
            (None, Some(version)) => Ok(version),
            (None, None) => Err(connection.unexpected(&operation)),
        }
    }

    /// Cuts the connection that a producer of this topic was last opened on, with everything on it: the broker lets go of
    /// all its names. For a name that stays busy though nobody else holds it.
    pub fn drop_connection_of(&self, topic_partition: &str) {
        let connection = self.served_by().remove(topic_partition).and_then(|connection| connection.upgrade());
        if let Some(connection) = connection {
            connection.shut_down("it was dropped to free a producer name");
        }
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    pub(super) fn uses_tls(&self) -> bool {
        self.shared.service.tls
    }

    /// The service's host that answered last.
    pub(super) fn service_host(&self) -> String {
        self.host(self.shared.service_host.load(Ordering::Relaxed))
    }

    fn host(&self, turn: usize) -> String {
        let hosts = &self.shared.service.hosts;
        hosts[turn % hosts.len()].clone()
    }

    /// The host whose turn it was did not answer: the next one is asked from now on. Of many who found that out at once the
    /// first one counts; otherwise two of them would bring the turn back to where it was.
    pub(super) fn ask_another_host(&self, turn: usize) {
        let _ = self.shared.service_host.compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A connection to any host of the service URL, and whose turn it was: the one that answered last, or the next that does.
    pub(super) async fn service_connection(&self) -> Result<(usize, Arc<Connection>), Error> {
        let tries = self.shared.service.hosts.len();
        let mut tried = 1;
        loop {
            let turn = self.shared.service_host.load(Ordering::Relaxed);
            match self.connection_to(&Address::direct(&self.host(turn))).await {
                Err(Error::Connection { .. } | Error::Timeout { .. }) if tried < tries => {
                    tried += 1;
                    self.ask_another_host(turn);
                }
                Err(error) => {
                    self.ask_another_host(turn);
                    return Err(error);
                }
                Ok(connection) => return Ok((turn, connection)),
            }
        }
    }

    /// The answer of the service's host to a question. Where there was none the next host is asked from now on: a broker
    /// that is frozen still takes connections, and questions.
    pub(super) fn heard<T>(&self, turn: usize, answer: Result<T, Error>) -> Result<T, Error> {
        if matches!(answer, Err(Error::Connection { .. } | Error::Timeout { .. })) {
            self.ask_another_host(turn);
        }
        answer
    }

    /// The connection to a broker: the one there is, while it lives, else a new one.
    /// Invariant: who waits while somebody else connects shares the outcome. A broker that is frozen takes each attempt's
    /// whole time, and of many partitions each would have to wait for all before it.
    pub(super) async fn connection_to(&self, address: &Address) -> Result<Arc<Connection>, Error> {
        let slot = {
            let mut slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(address.clone()).or_default())
        };
        let asked = Instant::now();
        let mut way = slot.lock().await;
        if let Some(connection) = way.connection.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        if let Some((at, error)) = way.failed.as_ref().filter(|(at, _)| *at >= asked) {
            tracing::debug!(event = events::DETAIL, broker = address.name(), ago = ?at.elapsed(), "somebody else's attempt has failed");
            return Err(error.clone());
        }
        way.connection = None;
        match Connection::open(&self.shared.config, address, self.uses_tls()).await {
            Ok(connection) => {
                if std::mem::replace(&mut way.was_connected, true) {
                    self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                way.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                way.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn served_by(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Connection>>> {
        self.shared.served_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
