//! Publishes events to RabbitMQ and keeps a journal of what the broker answered. The portal waits for no confirms; here
//! they are wanted, so that what counts as published is known.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::mpsc;

use crate::Result;
use crate::events::Events;
use crate::journal::{Journal, Outcome, Published};
use crate::rabbit;

/// Messages that wait to be sent, or for their confirms.
const IN_FLIGHT: usize = 1_000;
/// After so long without an answer nobody knows what became of a message.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How long a broker may be away before the generator gives up.
const RECONNECT_WITHIN: Duration = Duration::from_secs(120);

/// Where in RabbitMQ to publish, and how.
#[derive(Debug, Clone)]
pub struct RabbitExchange {
    /// The broker, with user and virtual host.
    pub url: String,
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key; `None` for the portal's own.
    pub routing_key: Option<String>,
    /// Whether messages carry what careful publishers add: message id, type, timestamp, persistence and headers of
    /// several types. The portal's carry a content type alone.
    pub is_rich: bool,
    /// Where what was published is noted; it is added to.
    pub journal: PathBuf,
}

/// What RabbitMQ answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RabbitCounts {
    /// Confirmed: in every queue that was bound.
    pub confirmed: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// No queue was bound.
    pub returned: u64,
}

/// A message on its way.
struct Outgoing {
    routing_key: String,
    properties: BasicProperties,
    published: Published,
}

/// A publisher on a thread of its own.
pub(crate) struct RabbitSink {
    sender: mpsc::Sender<Outgoing>,
    thread: JoinHandle<Result<RabbitCounts>>,
    to: RabbitExchange,
}

impl RabbitSink {
    /// Connects and starts.
    pub(crate) fn start(to: &RabbitExchange) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let publisher = Publisher {
            to: to.clone(),
            journal: Journal::append(&to.journal)?,
            counts: RabbitCounts::default(),
            sent: 0,
            pending: FuturesUnordered::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || runtime.block_on(publisher.run(receiver)));
        Ok(Self { sender, thread, to: to.clone() })
    }

    /// Hands the newest event over; waits while too many are on their way.
    pub(crate) fn send(&self, events: &Events, now: u64) -> Result<()> {
        let routing_key = self.to.routing_key.clone().unwrap_or_else(|| events.routing_key());
        let body = events.value().unwrap_or_default().to_vec();
        let (properties, published) = message(&self.to, &routing_key, body, now);
        let sent = self.sender.blocking_send(Outgoing { routing_key, properties, published });
        sent.map_err(|_| "the publisher to RabbitMQ has ended".into())
    }

    /// Waits for all confirms.
    pub(crate) fn finish(self) -> Result<RabbitCounts> {
        drop(self.sender);
        self.thread.join().map_err(|_| "the publisher to RabbitMQ panicked")?
    }
}

/// The properties of a message, and what the bridge must make of it.
fn message(to: &RabbitExchange, routing_key: &str, body: Vec<u8>, now: u64) -> (BasicProperties, Published) {
    let mut properties = BasicProperties::default().with_content_type("application/json".into());
    let mut headers: Vec<(String, Option<String>)> = Vec::new();
    let mut timestamp_ms = None;
    let mut add = |name: &str, value: Option<&str>| headers.push((name.to_owned(), value.map(str::to_owned)));
    if to.is_rich {
        let id = rabbit::body_field(&body, "event_id").unwrap_or_else(|| format!("message-{now}-{}", body.len()));
        let mut table = FieldTable::default();
        for (name, value) in [
            ("a-text", AMQPValue::LongString("nœud ✓".into())),
            ("b-number", AMQPValue::LongLongInt(-17)),
            ("c-flag", AMQPValue::Boolean(true)),
            ("d-nothing", AMQPValue::Void),
        ] {
            table.insert(name.into(), value);
        }
        add("a-text", Some("nœud ✓"));
        add("b-number", Some("-17"));
        add("c-flag", Some("true"));
        add("d-nothing", None);
        properties = properties
            .with_headers(table)
            .with_message_id(id.as_str().into())
            .with_correlation_id(format!("c-{id}").into())
            .with_type("event".into())
            .with_timestamp(now / 1000)
            .with_delivery_mode(2);
        add("amqp.message-id", Some(&id));
        add("amqp.correlation-id", Some(&format!("c-{id}")));
        add("amqp.type", Some("event"));
        add("amqp.timestamp", Some(&(now / 1000).to_string()));
        add("amqp.delivery-mode", Some("2"));
        timestamp_ms = Some(now / 1000 * 1000);
    }
    add("amqp.content-type", Some("application/json"));
    add("amqp.exchange", Some(&to.exchange));
    add("amqp.routing-key", Some(routing_key));
    (properties, Published { number: 0, outcome: Outcome::Unknown, headers, timestamp_ms, body })
}

struct Publisher {
    to: RabbitExchange,
    journal: Journal,
    counts: RabbitCounts,
    sent: u64,
    /// Messages whose confirms are awaited; each gives itself back with its outcome.
    pending: FuturesUnordered<BoxFuture<'static, Published>>,
}

impl Publisher {
    async fn run(mut self, mut receiver: mpsc::Receiver<Outgoing>) -> Result<RabbitCounts> {
        let mut link = self.connect().await?;
        loop {
            let next = tokio::select! {
                Some(settled) = self.pending.next() => {
                    self.note(settled)?;
                    continue;
                }
                next = receiver.recv(), if self.pending.len() < IN_FLIGHT => next,
            };
            let Some(outgoing) = next else { break };
            if !link.1.status().connected() {
                link = self.connect().await?;
            }
            self.publish(&link.1, outgoing).await?;
        }
        while let Some(settled) = self.pending.next().await {
            self.note(settled)?;
        }
        // It may be gone already; whatever was said is noted.
        let _ = link.0.close(200, "done".into()).await;
        self.journal.close()?;
        Ok(self.counts)
    }

    async fn connect(&self) -> Result<(Connection, Channel)> {
        crate::wait::until("RabbitMQ to take the generator", RECONNECT_WITHIN, async || {
            let connection = rabbit::connect(&self.to.url).await.map_err(|error| error.to_string())?;
            let channel = connection.create_channel().await.map_err(|error| error.to_string())?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((connection, channel))
        })
        .await
    }

    async fn publish(&mut self, channel: &Channel, outgoing: Outgoing) -> Result<()> {
        let Outgoing { routing_key, properties, mut published } = outgoing;
        self.sent += 1;
        published.number = self.sent;
        // Mandatory: what no queue takes comes back, instead of being lost in silence.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = self.to.exchange.as_str().into();
        match channel.basic_publish(exchange, routing_key.into(), options, &published.body, properties).await {
            Ok(confirm) => self.pending.push(Box::pin(async move {
                published.outcome = match tokio::time::timeout(CONFIRM_WITHIN, confirm).await {
                    Ok(Ok(Confirmation::Ack(None))) => Outcome::Confirmed,
                    Ok(Ok(Confirmation::Ack(Some(_)))) => Outcome::Returned,
                    _ => Outcome::Unknown,
                };
                published
            })),
            // Perhaps some of it was sent.
            Err(_) => self.note(published)?,
        }
        Ok(())
    }

    fn note(&mut self, settled: Published) -> Result<()> {
        match settled.outcome {
            Outcome::Confirmed => self.counts.confirmed += 1,
            Outcome::Unknown => self.counts.unknown += 1,
            Outcome::Returned => self.counts.returned += 1,
        }
        self.journal.note(&settled)
    }
}
