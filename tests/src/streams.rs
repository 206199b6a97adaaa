//! The portal's streams as they are on the wire: topics, partitions, codecs, and where each goes. Written from the
//! portal's own code, not from the bridges' configuration: the two must agree.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::stack::repository;

/// What one publisher of the portal sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Steps in the life of jobs.
    JobLifecycle,
    /// Figures of jobs: flat, samples and summaries. No envelope, no `event_id`.
    JobMetrics,
    /// Notifications and alerts; to Kafka and to RabbitMQ.
    Notifications,
    /// Who did what to what.
    AuditTrail,
    /// Health of components, on Kafka; goes to the broker metrics.
    SystemHealth,
    /// Figures of brokers, in a RabbitMQ queue; goes to the broker metrics.
    BrokerMetrics,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 6] = [
        Stream::JobLifecycle,
        Stream::JobMetrics,
        Stream::Notifications,
        Stream::AuditTrail,
        Stream::SystemHealth,
        Stream::BrokerMetrics,
    ];

    /// The name of its Kafka topic, or of what it is in RabbitMQ.
    pub fn name(self) -> &'static str {
        match self {
            Stream::JobLifecycle => "job-lifecycle",
            Stream::JobMetrics => "job-metrics",
            Stream::Notifications => "notifications",
            Stream::AuditTrail => "audit-trail",
            Stream::SystemHealth => "system-health",
            Stream::BrokerMetrics => "broker-metrics",
        }
    }

    /// The bridge that mirrors it.
    pub fn bridge(self) -> &'static str {
        match self {
            Stream::SystemHealth => "broker-metrics",
            other => other.name(),
        }
    }

    /// Where its contract is.
    pub fn contract(self) -> PathBuf {
        repository().join("bridges").join(self.bridge()).join("contract.avsc")
    }

    /// Partitions of its Kafka topic.
    pub fn partitions(self) -> i32 {
        match self {
            Stream::JobLifecycle => 10,
            Stream::JobMetrics => 20,
            Stream::Notifications | Stream::AuditTrail => 5,
            Stream::SystemHealth => 3,
            Stream::BrokerMetrics => 0,
        }
    }

    /// The codec of its Kafka batches.
    pub fn compression(self) -> &'static str {
        match self {
            Stream::JobLifecycle | Stream::JobMetrics | Stream::AuditTrail => "gzip",
            Stream::Notifications | Stream::SystemHealth | Stream::BrokerMetrics => "lz4",
        }
    }

    /// Whether its events have the envelope with `event_id`.
    pub fn has_envelope(self) -> bool {
        !matches!(self, Stream::JobMetrics | Stream::BrokerMetrics)
    }

    /// Whether an event without `event_id` cannot be translated: the contract of the broker metrics takes events with and
    /// without envelope.
    pub(crate) fn needs_event_id(self) -> bool {
        matches!(self, Stream::JobLifecycle | Stream::Notifications | Stream::AuditTrail)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Stream::ALL.map(Stream::name).join(", ");
        Stream::ALL
            .into_iter()
            .find(|stream| stream.name() == text)
            .ok_or_else(|| format!("no stream '{text}': one of {known}"))
    }
}
