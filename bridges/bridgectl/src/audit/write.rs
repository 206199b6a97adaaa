//! Appending to the operations log.

use std::time::Duration;

use bridge_common::config::Config;
use bridge_common::pulsar::{Client, ClientConfig, Compression, OutgoingMessage};

use super::entry::Entry;
use crate::held::Held;

/// What opening the log, and writing an entry, may take each: in an incident nobody waits longer for a log.
const PATIENCE: Duration = Duration::from_secs(15);

/// The log, open for one operation.
#[derive(Debug)]
pub(super) struct Writer(Held);

impl Writer {
    /// Opens it under a name that only this operation has.
    pub(super) async fn open(config: &Config, operation: &str) -> Result<Self, String> {
        let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
        let topic = config.operations_topic().to_string();
        let name = format!("bridge-operations/{operation}");
        let opening = tokio::time::timeout(PATIENCE, Held::open(&client, &topic, &name, None));
        let opened = opening.await.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))?;
        Ok(Self(opened.map_err(|error| error.to_string())?))
    }

    /// Appends an entry and awaits its receipt.
    pub(super) async fn append(&mut self, entry: &Entry) -> Result<(), String> {
        let value = entry.to_json().to_string();
        let message = OutgoingMessage {
            sequence_id: entry.number,
            key: Some(entry.stream.as_bytes()),
            event_time_ms: Some(entry.at_ms),
            value: Some(value.as_bytes()),
        };
        let topic = self.0.topic().to_owned();
        let sent = tokio::time::timeout(PATIENCE, self.0.send_one(&message, &[], Compression::None, None)).await;
        match sent.map_err(|_| format!("{topic}: no receipt within {} s", PATIENCE.as_secs()))?? {
            Some(_) => Ok(()),
            None => Err(format!("{topic}: the broker calls the entry a duplicate")),
        }
    }

    /// Closes it; where that fails, the name is nobody else's anyway.
    pub(super) async fn close(self) {
        self.0.close().await;
    }
}
