//! Asking the servers. Nothing here judges, and nothing changes anything there. Each request is bounded in time.

use std::time::Duration;

pub(super) mod http;
#[cfg(feature = "kafka")]
pub(super) mod kafka;
pub(super) mod pulsar;
#[cfg(feature = "rabbitmq")]
pub(super) mod rabbitmq;

/// How long one question may take: longer than a topic takes to load, shorter than anybody waits for a table.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// A source's error in a finding: without "will be tried again".
#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
pub(super) fn words(error: crate::source::SourceError) -> String {
    use crate::source::SourceError;
    match error {
        SourceError::Unavailable { what, reason } => format!("{what}: {reason}"),
        other => other.to_string(),
    }
}
