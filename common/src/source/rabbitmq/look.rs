//! Looking at a server and its queues, without changing anything.

use std::collections::BTreeMap;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::super::SourceError;
use super::faults::{self, NOT_FOUND};
use super::link::{Link, within};
use super::settings::{RabbitSettings, short};

const PASSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };

/// What a server shows to everybody.
#[derive(Debug)]
pub struct Look {
    /// Its version.
    pub version: String,
    /// By queue: whether it is there, or why that is not known.
    pub queues: BTreeMap<String, Result<bool, SourceError>>,
}

/// Connects, asks for the queues by passive declarations, and leaves.
///
/// # Errors
/// [`SourceError::Unavailable`], [`SourceError::Denied`], [`SourceError::Setting`]: there is no connection.
pub async fn look(settings: RabbitSettings) -> Result<Look, SourceError> {
    let patience = settings.request_timeout;
    let link = Link::new(settings);
    let (_, server) = link.channel().await?;
    let mut queues = BTreeMap::new();
    for queue in link.settings.queues.clone() {
        let there = within(patience, &format!("looking at queue {queue}"), is_there(&link, &queue)).await;
        queues.insert(queue, there);
    }
    link.close(patience).await;
    Ok(Look { version: server.version, queues })
}

/// Each on a channel of its own: a refusal ends it.
async fn is_there(link: &Link, queue: &str) -> Result<bool, SourceError> {
    let (channel, _) = link.channel().await?;
    match channel.queue_declare(short(queue), PASSIVE, FieldTable::default()).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(faults::refusal(&error), Some((NOT_FOUND, _))) => Ok(false),
        Err(error) => Err(faults::typed(&format!("looking at queue {queue}"), &error)),
    }
}
