//! Owning a source partition while its checkpoint is changed: by the same producer name that a bridge owns it by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_common::admin::Admin;
use bridge_common::checkpoint::{self, Stored};
use bridge_common::pulsar::{Error, Opened, ProducerEvent};
use tokio::sync::mpsc;

use super::Desk;

/// How long a receipt may take.
const RECEIPT: Duration = Duration::from_secs(30);
/// How often a busy name is asked for: the connection of a bridge that was killed is found out by the broker within seconds.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// A partition's name on the checkpoint topic, held.
pub(super) struct Hold {
    name: String,
    opened: Opened,
    events: mpsc::UnboundedReceiver<(u64, ProducerEvent)>,
}

impl Hold {
    /// Takes the partition's name.
    pub(super) async fn take(desk: &Desk, name: &str) -> Result<Self, String> {
        match Self::open(desk, name).await? {
            Some(hold) => Ok(hold),
            None => Err(held(desk, name).await),
        }
    }

    /// Takes the name that a `replay --missing` of the partition holds from before it compares until all is published: what it
    /// publishes would be read and sent again by a bridge that goes back meanwhile.
    pub(super) async fn keep_replays_out(desk: &Desk, name: &str) -> Result<Self, String> {
        let lock = replay_lock(name);
        Self::open(desk, &lock).await?.ok_or_else(|| {
            format!("{lock} is held: a replay of {name} is under way. Wait until it has ended; nothing was changed")
        })
    }

    /// `None`: somebody holds the name.
    async fn open(desk: &Desk, name: &str) -> Result<Option<Self>, String> {
        let mut attempt = 0;
        loop {
            let (out, events) = mpsc::unbounded_channel();
            match desk.client.open_producer(&desk.topic, name, None, out, 0).await {
                Ok(opened) => return Ok(Some(Self { name: name.to_owned(), opened, events })),
                Err(Error::Busy { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Error::Busy { .. }) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The highest sequence id that the broker knows of it.
    pub(super) fn last(&self) -> Option<u64> {
        self.opened.last_sequence_id
    }

    /// Writes an entry (`None`: forgets the partition) above all that were written before, and awaits its receipt.
    pub(super) async fn write(&mut self, known: u64, to: Option<&Stored>) -> Result<u64, String> {
        let now_ms = now_ms();
        let sequence_id = known.max(self.last().unwrap_or(0)).max(now_ms) + 1;
        let id = self.opened.producer.id();
        let frame = match to {
            Some(stored) => checkpoint::frame(&self.name, id, sequence_id, stored, now_ms),
            None => checkpoint::forgotten_frame(&self.name, id, sequence_id, now_ms),
        };
        self.opened.producer.send(&frame).map_err(|error| format!("{}: {error}", self.name))?;
        let unknown = |reason: &str| format!("{}: {reason}: look with `show` whether it was written", self.name);
        match tokio::time::timeout(RECEIPT, self.events.recv()).await {
            Ok(Some((_, ProducerEvent::Receipt { message_id: Some(_), .. }))) => Ok(sequence_id),
            Ok(Some((_, event))) => Err(unknown(&format!("the broker answered {event:?}"))),
            Ok(None) => Err(unknown("the connection was lost")),
            Err(_) => Err(unknown("no receipt came")),
        }
    }

    /// Gives the name back.
    pub(super) async fn release(self) {
        // A connection that is gone has given it back, too.
        let _ = self.opened.producer.close().await;
    }
}

/// On the checkpoint topic; see `replay/missing.rs` and "On the wire" in ARCHITECTURE.md.
pub(super) fn replay_lock(name: &str) -> String {
    format!("{name}/replay")
}

async fn held(desk: &Desk, name: &str) -> String {
    let holder = async {
        let admin = Admin::new(&desk.config.pulsar).ok()?;
        admin.publisher(&desk.config.checkpoint_topic(), name).await.ok()?
    };
    let who = holder.await.map_or_else(|| "somebody".to_owned(), |publisher| publisher.to_string());
    format!("{name} is held by {who}: a bridge works on it. Stop or drain it first; nothing was changed")
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
