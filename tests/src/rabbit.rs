//! RabbitMQ in the tests' hands: queues and exchanges by AMQP, connections and policies by its management API.

use std::collections::BTreeMap;

use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Result;
use crate::http::{get, send};

/// Connects to `amqp://user:password@host:port/vhost`.
pub(crate) async fn connect(url: &str) -> Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("bridge-tests".into());
    Ok(Connection::connect(url, properties).await?)
}

/// The text of a top-level string of a JSON object.
pub(crate) fn body_field(body: &[u8], name: &str) -> Option<String> {
    let fields: BTreeMap<String, Value> = serde_json::from_slice(body).ok()?;
    fields.get(name)?.as_str().map(str::to_owned)
}

/// One broker, in its default virtual host.
#[derive(Debug, Clone)]
pub struct Rabbit {
    url: String,
    management: String,
}

/// The kinds of queue that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// On one node.
    Classic,
    /// Replicated, with delivery counts.
    Quorum,
    /// A log that is not consumed by reading.
    Stream,
}

impl QueueKind {
    /// Its `x-queue-type`.
    pub fn name(self) -> &'static str {
        match self {
            QueueKind::Classic => "classic",
            QueueKind::Quorum => "quorum",
            QueueKind::Stream => "stream",
        }
    }
}

impl Rabbit {
    /// By its AMQP address and its management's, both with user and password.
    pub fn at(url: &str, management: &str) -> Self {
        Self { url: url.to_owned(), management: format!("{}/api", management.trim_end_matches('/')) }
    }

    /// The AMQP address.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn with_channel<T>(&self, work: impl AsyncFnOnce(&Channel) -> lapin::Result<T>) -> Result<T> {
        let connection = connect(&self.url).await?;
        let channel = connection.create_channel().await?;
        let done = work(&channel).await;
        // Whoever failed has no channel any more.
        let _ = connection.close(200, "done".into()).await;
        Ok(done?)
    }

    /// Declares a durable queue.
    pub async fn declare_queue(&self, queue: &str, kind: QueueKind) -> Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.name().into()));
        self.with_channel(async |channel| {
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.map(drop)
        })
        .await
    }

    /// Declares a durable exchange: `direct`, `fanout`, `topic`.
    pub async fn declare_exchange(&self, exchange: &str, kind: &str) -> Result<()> {
        let kind = match kind {
            "fanout" => ExchangeKind::Fanout,
            "topic" => ExchangeKind::Topic,
            _ => ExchangeKind::Direct,
        };
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.with_channel(async |channel| {
            channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await
        })
        .await
    }

    /// What the portal has for its notifications: a direct exchange, and a queue that is bound with the empty key, so that
    /// nothing which it publishes reaches it.
    pub async fn declare_portal(&self, exchange: &str) -> Result<()> {
        self.declare_exchange("dlx", "topic").await?;
        self.declare_exchange(exchange, "direct").await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(86_400_000));
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(100_000));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("dlx".into()));
        let queue = "websocket-broadcast";
        self.with_channel(async |channel| {
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.map(drop)
        })
        .await?;
        self.bind(queue, exchange, "").await
    }

    /// Binds a queue to an exchange.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        self.with_channel(async |channel| {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await
        })
        .await
    }

    /// Deletes a queue with all that it holds.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.with_channel(async |channel| {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map(drop)
        })
        .await
    }

    /// Removes all messages that nobody holds.
    pub async fn purge_queue(&self, queue: &str) -> Result<()> {
        self.with_channel(async |channel| {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.map(drop)
        })
        .await
    }

    /// Takes all messages out of the queue.
    pub async fn take_all(&self, queue: &str) -> Result<Vec<Delivery>> {
        self.with_channel(async |channel| {
            let mut all = Vec::new();
            let options = BasicGetOptions { no_ack: true };
            while let Some(message) = channel.basic_get(queue.into(), options).await? {
                all.push(message.delivery);
            }
            Ok(all)
        })
        .await
    }

    /// Messages that wait in the queue and that no consumer holds; as of now, unlike what the management API says.
    pub async fn depth(&self, queue: &str) -> Result<u32> {
        self.with_channel(async |channel| {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
            Ok(declared.message_count())
        })
        .await
    }

    /// What the management API knows of a queue; its figures are up to five seconds old.
    pub async fn queue(&self, queue: &str) -> Result<Value> {
        let (status, body) = get(&format!("{}/queues/%2F/{queue}", self.management)).await?;
        if status == 200 { Ok(serde_json::from_str(&body)?) } else { Err(format!("{queue}: {status} {body}").into()) }
    }

    /// Sets a policy, such as an alternate exchange.
    pub async fn set_policy(&self, name: &str, pattern: &str, apply_to: &str, definition: &Value) -> Result<()> {
        let body = json!({ "pattern": pattern, "apply-to": apply_to, "definition": definition });
        send(Method::PUT, &format!("{}/policies/%2F/{name}", self.management), &body).await.map(drop)
    }

    /// Closes, from the broker's side, every connection but the tests' own; how many. Those that the management API has
    /// not heard of yet are not closed.
    pub async fn close_connections(&self) -> Result<usize> {
        let (_, body) = get(&format!("{}/connections", self.management)).await?;
        let connections: Value = serde_json::from_str(&body)?;
        let mut closed = 0;
        for connection in connections.as_array().into_iter().flatten() {
            let is_ours = connection["client_properties"]["connection_name"] == "bridge-tests";
            if let (Some(name), false) = (connection["name"].as_str(), is_ours) {
                let path = name.replace(' ', "%20").replace('>', "%3E");
                // It may have gone by itself meanwhile.
                let url = format!("{}/connections/{path}", self.management);
                closed += usize::from(send(Method::DELETE, &url, &Value::Null).await.is_ok());
            }
        }
        Ok(closed)
    }
}
