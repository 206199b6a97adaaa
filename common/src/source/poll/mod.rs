//! Endpoints that are asked for their figures again and again, as a source.
//!
//! ```text
//!   RabbitMQ, Pulsar, exporters ── http: Prometheus' text ── samples, mapping ─┐
//!                                                                              ├─ Observation ── figures ── record
//!   Kafka ── kafka: metadata, ends, groups' committed offsets ─────────────────┘      (of two polls)
//!
//!   task: every interval all endpoints at once ──> queue, bounded ──> PollReader::take
//! ```
//!
//! `samples`, `mapping`, `figures`, `quantile` and `record` are pure; `http`, `kafka` and `reader` carry in what they work on.
//!
//! A polled source is at-least-once by nature: what was polled can not be polled again. A record that was taken and not
//! settled when a bridge ends is lost as such, and the next poll takes its place. Its `event_id` names source, endpoint and time.
//!
//! | figure | RabbitMQ 3.10.8 | Pulsar 4.0.8 | Kafka |
//! |---|---|---|---|
//! | messagesPerSecond | rate of `rabbitmq_global_messages_received_total` | rate of `pulsar_in_messages_total` | rate of all ends of partitions; transaction markers count |
//! | p50, p95, p99LatencyMs | missing | `pulsar_broker_publish_latency`: from receipt to storage, last minute | missing |
//! | memoryUsageMb | `rabbitmq_process_resident_memory_bytes` | `process_resident_memory_bytes` | missing |
//! | cpuPercentage | rate of `erlang_vm_statistics_runtime_milliseconds` | rate of `process_cpu_seconds_total` | missing |
//! | connectionCount | `rabbitmq_connections` | `pulsar_active_connections` | missing |
//! | uptime (seconds) | `rabbitmq_erlang_uptime_seconds` | since `process_start_time_seconds` | missing |
//! | partitionCount | missing | `pulsar_broker_topics_count`: each partition that this broker has loaded | metadata, without topics `__*` |
//! | brokerCount | missing | missing | metadata |
//!
//! Invariant: a figure that is not there is null and `"missing"`; none is guessed, and none is 0 for want of a better.

mod figures;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod mapping;
mod quantile;
mod reader;
mod record;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "fuzzing")]
pub(crate) use mapping::record_of;

pub use reader::{PollReader, ask};

/// How endpoints of kind `kafka` reach their cluster.
#[derive(Clone, Default)]
pub struct KafkaAccess {
    /// `host:port,...`
    pub brokers: String,
    /// The client id.
    pub client_id: String,
    /// Further settings of librdkafka by its own names, TLS and SASL among them.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the properties: a password may be among them.
        write!(f, "KafkaAccess({} as {})", self.brokers, self.client_id)
    }
}

/// How the endpoints of kind `kafka` of a configuration reach the cluster: as its sources of kind `kafka` do.
///
/// # Errors
/// When the password's file cannot be read.
#[cfg(feature = "kafka")]
pub fn access(config: &crate::config::Config) -> Result<KafkaAccess, crate::config::ConfigError> {
    let properties = super::kafka::client_properties(&config.kafka)?;
    Ok(KafkaAccess { brokers: config.kafka.brokers.clone(), client_id: config.client_id(), properties })
}

/// Without Kafka there is nothing to reach.
///
/// # Errors
/// None.
#[cfg(not(feature = "kafka"))]
pub fn access(_: &crate::config::Config) -> Result<KafkaAccess, crate::config::ConfigError> {
    Ok(KafkaAccess::default())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
