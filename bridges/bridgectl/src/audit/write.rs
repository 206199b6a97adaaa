//! Appending to the operations log.

use std::time::Duration;

use bridge_common::config::Config;
use bridge_common::pulsar::{
    BatchBuilder, Client, ClientConfig, Compression, Opened, OutgoingMessage, ProducerEvent, Seal,
};
use tokio::sync::mpsc;

use super::entry::Entry;

/// What opening the log, and writing an entry, may take each: in an incident nobody waits longer for a log.
const PATIENCE: Duration = Duration::from_secs(15);

/// The log, open for one operation.
#[derive(Debug)]
pub(super) struct Writer {
    opened: Opened,
    events: mpsc::UnboundedReceiver<(u64, ProducerEvent)>,
}

impl Writer {
    /// Opens it under a name that only this operation has.
    pub(super) async fn open(config: &Config, operation: &str) -> Result<Self, String> {
        let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
        let topic = config.operations_topic().to_string();
        let name = format!("bridge-operations/{operation}");
        let (out, events) = mpsc::unbounded_channel();
        let opening = tokio::time::timeout(PATIENCE, client.open_producer(&topic, &name, None, out, 0));
        let opened = opening.await.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))?;
        Ok(Self { opened: opened.map_err(|error| error.to_string())?, events })
    }

    /// Appends an entry and awaits its receipt.
    pub(super) async fn append(&mut self, entry: &Entry) -> Result<(), String> {
        let producer = &self.opened.producer;
        let value = entry.to_json().to_string();
        let mut builder = BatchBuilder::new();
        let message = OutgoingMessage {
            sequence_id: entry.number,
            key: Some(entry.stream.as_bytes()),
            event_time_ms: Some(entry.at_ms),
            value: Some(value.as_bytes()),
        };
        builder.push(&message, []);
        let seal = Seal {
            producer_name: producer.name(),
            producer_id: producer.id(),
            publish_time_ms: entry.at_ms,
            compression: Compression::None,
            schema_version: None,
        };
        let frame = builder.seal(&seal).expect("without compression nothing can fail");
        let topic = producer.topic().to_owned();
        producer.send(&frame).map_err(|error| format!("{topic}: {error}"))?;
        match tokio::time::timeout(PATIENCE, self.events.recv()).await {
            Ok(Some((_, ProducerEvent::Receipt { message_id: Some(_), .. }))) => Ok(()),
            Ok(Some((_, event))) => Err(format!("{topic}: the broker answered {event:?}")),
            Ok(None) => Err(format!("{topic}: the connection was lost")),
            Err(_) => Err(format!("{topic}: no receipt within {} s", PATIENCE.as_secs())),
        }
    }

    /// Closes it; where that fails, the name is nobody else's anyway.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(PATIENCE, self.opened.producer.close()).await;
    }
}
