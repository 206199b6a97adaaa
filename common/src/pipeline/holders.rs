//! Who holds a producer's name that is busy: asked of Pulsar's admin API where the bridge may use it, for those who read
//! `/status` and the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::admin::Admin;

/// What is said where it is not known.
const SOMEBODY: &str = "another instance (or by a connection that is still dying)";
/// A name that is busy so often in a row is not just being handed over.
const ASK_FROM: u32 = 3;
/// From then on it is asked for every so many attempts.
const ASK_EVERY: u32 = 10;
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Knows who was last seen to hold a name.
pub(super) struct Holders {
    admin: Option<Admin>,
    last: Mutex<String>,
}

impl Holders {
    pub(super) fn new(admin: Option<Admin>) -> Self {
        Self { admin, last: Mutex::new(SOMEBODY.to_owned()) }
    }

    /// Who holds this name on this topic, in words; `attempt`: how often it was found busy in a row.
    pub(super) async fn holder(&self, topic: &str, name: &str, attempt: u32) -> String {
        if attempt >= ASK_FROM && (attempt - ASK_FROM).is_multiple_of(ASK_EVERY) {
            let found = self.ask(topic, name).await.unwrap_or_else(|| SOMEBODY.to_owned());
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        match attempt < ASK_FROM {
            true => SOMEBODY.to_owned(),
            false => self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    async fn ask(&self, topic: &str, name: &str) -> Option<String> {
        let topic = topic.parse().ok()?;
        let asked = tokio::time::timeout(PATIENCE, self.admin.as_ref()?.publisher(&topic, name));
        asked.await.ok()?.ok()?.map(|publisher| publisher.to_string())
    }
}
