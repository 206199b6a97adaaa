//! A producer name on a topic partition, held: nobody else publishes under it meanwhile. It is what keeps two operators, or an
//! operator and a bridge, from doing one thing at once.

use std::time::{Duration, Instant};

use bridge_common::pulsar::{
    BatchBuilder, Client, Compression, Error, Frame, Opened, OutgoingMessage, ProducerEvent, SchemaInfo, Seal,
};
use bridge_common::record::MessageId;
use tokio::sync::mpsc;

use crate::terminal::now_ms;

/// How long a receipt, or closing, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a name that is held is asked for: the connection of a process that was killed is found out by the broker within
/// seconds. A broker that does not answer is given up after that, too.
const TAKING: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

/// A name, held.
#[derive(Debug)]
pub(crate) struct Held {
    opened: Opened,
    events: mpsc::UnboundedReceiver<(u64, ProducerEvent)>,
    in_flight: usize,
}

impl Held {
    /// Takes the name; waits where a process that has just ended still holds it. `None`: somebody holds it.
    ///
    /// # Errors
    /// What the broker says.
    pub(crate) async fn take(
        client: &Client,
        topic: &str,
        name: &str,
        schema: Option<&SchemaInfo>,
    ) -> Result<Option<Self>, String> {
        let until = Instant::now() + TAKING;
        loop {
            match Self::open(client, topic, name, schema).await {
                Ok(held) => return Ok(Some(held)),
                Err(Error::Busy { .. } | Error::Retryable { .. }) if Instant::now() < until => {}
                Err(Error::Busy { .. }) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes the name, or not, without waiting for anybody.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn open(
        client: &Client,
        topic: &str,
        name: &str,
        schema: Option<&SchemaInfo>,
    ) -> Result<Self, Error> {
        let (out, events) = mpsc::unbounded_channel();
        let opened = client.open_producer(topic, name, schema, out, 0).await?;
        Ok(Self { opened, events, in_flight: 0 })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.opened.producer.name()
    }

    /// Where it is held.
    pub(crate) fn topic(&self) -> &str {
        self.opened.producer.topic()
    }

    /// The highest sequence id that was ever pushed under the name, as the broker knows.
    pub(crate) fn last(&self) -> Option<u64> {
        self.opened.last_sequence_id
    }

    /// What the topic's broker takes at most for a message.
    pub(crate) fn max_message_bytes(&self) -> usize {
        self.opened.max_message_bytes
    }

    /// Whether the name is still held, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        self.opened.producer.is_open()
    }

    /// The number that frames which are made elsewhere carry.
    pub(crate) fn producer_id(&self) -> u64 {
        self.opened.producer.id()
    }

    /// Batches without a receipt.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends what was built, and awaits nothing. `version` is that of its schema where it has another than the producer.
    pub(crate) fn send(
        &mut self,
        builder: &mut BatchBuilder,
        compression: Compression,
        version: Option<&[u8]>,
    ) -> Result<(), String> {
        let seal = Seal {
            producer_name: self.name(),
            producer_id: self.producer_id(),
            publish_time_ms: now_ms(),
            compression,
            schema_version: version.or(self.opened.schema_version.as_deref()),
        };
        let frame = builder.seal(&seal).map_err(|error| format!("{}: {error}", self.name()))?;
        self.send_frame(&frame)
    }

    /// Sends a frame that was made elsewhere.
    pub(crate) fn send_frame(&mut self, frame: &Frame) -> Result<(), String> {
        let sent = self.opened.producer.send(frame);
        sent.map_err(|error| format!("{} on {}: {error}", self.name(), self.topic()))?;
        self.in_flight += 1;
        Ok(())
    }

    /// Sends one message and awaits its receipt. `None`: the broker calls it a duplicate.
    pub(crate) async fn send_one(
        &mut self,
        message: &OutgoingMessage<'_>,
        properties: &[(&str, &str)],
        compression: Compression,
        version: Option<&[u8]>,
    ) -> Result<Option<MessageId>, String> {
        let mut builder = BatchBuilder::new();
        builder.push(message, properties.iter().copied());
        self.send(&mut builder, compression, version)?;
        self.receipt().await
    }

    /// Awaits the next receipt; `None` in one is the broker's word for a duplicate.
    ///
    /// # Errors
    /// Whatever else comes: it leaves the outcome unknown, and whoever runs next has to find out.
    pub(crate) async fn receipt(&mut self) -> Result<Option<MessageId>, String> {
        let (name, topic) = (self.opened.producer.name(), self.opened.producer.topic());
        let unknown = |what: &str| format!("{name} on {topic}: {what}: whether it is stored is not known");
        match tokio::time::timeout(PATIENCE, self.events.recv()).await {
            Ok(Some((_, ProducerEvent::Receipt { message_id, .. }))) => {
                self.in_flight -= 1;
                Ok(message_id)
            }
            Ok(Some((_, event))) => Err(unknown(&format!("the broker answered {event:?}"))),
            Ok(None) => Err(unknown("the connection was lost")),
            Err(_) => Err(unknown(&format!("no receipt came within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Gives the name back. A connection that is gone has given it back, too.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(PATIENCE, self.opened.producer.close()).await;
    }
}
