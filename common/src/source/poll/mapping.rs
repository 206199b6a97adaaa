//! Which metric gives which figure. Pure.
//!
//! The names are those of RabbitMQ 3.10.8 (rabbitmq_prometheus, aggregated, as `/metrics` gives them) and Pulsar 4.0.8.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::figures::{Counter, Figure, Observation};
use super::quantile::Buckets;
use super::samples::Samples;
use crate::config::{PollFigures, PollMetric};

const PER_MIB: f64 = 1.0 / 1_048_576.0;
const PERCENT: f64 = 100.0;
const MS_PER_SECOND: f64 = 1000.0;

/// How a metric gives its figure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// As it is, summed over all sets of labels.
    Value,
    /// By the rate of its counters.
    Rate,
    /// The time that has passed since it, in seconds of the epoch.
    Since,
}

#[derive(Debug, Clone)]
struct Rule {
    figure: Figure,
    metric: String,
    how: How,
    scale: f64,
}

/// The metrics of one kind of endpoint.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    rules: Vec<Rule>,
    /// A summary or a histogram, and the scale to milliseconds.
    latency: Option<(String, f64)>,
    /// `topicStats`: name and metric.
    stats: Vec<(String, String)>,
}

impl Mapping {
    /// A node of RabbitMQ. It gives no latency, no partitions, and does not say how many nodes there are.
    pub(super) fn rabbitmq() -> Self {
        use Figure as F;
        let rules = vec![
            // What publishers sent, over AMQP and over the stream protocol.
            rule(F::MessagesPerSecond, "rabbitmq_global_messages_received_total", How::Rate, 1.0),
            rule(F::MemoryUsageMb, "rabbitmq_process_resident_memory_bytes", How::Value, PER_MIB),
            // CPU time of all of Erlang's threads, in milliseconds.
            rule(F::CpuPercentage, "erlang_vm_statistics_runtime_milliseconds", How::Rate, PERCENT / 1000.0),
            rule(F::ConnectionCount, "rabbitmq_connections", How::Value, 1.0),
            rule(F::Uptime, "rabbitmq_erlang_uptime_seconds", How::Value, 1.0),
        ];
        let stats = [
            ("queues", "rabbitmq_queues"),
            ("channels", "rabbitmq_channels"),
            ("consumers", "rabbitmq_consumers"),
            ("messages", "rabbitmq_queue_messages"),
            ("messagesReady", "rabbitmq_queue_messages_ready"),
            ("messagesUnacked", "rabbitmq_queue_messages_unacked"),
            ("messagesUnroutable", "rabbitmq_global_messages_unroutable_dropped_total"),
        ];
        Self { rules, latency: None, stats: owned(&stats) }
    }

    /// A broker of Pulsar. It does not say how many brokers there are.
    pub(super) fn pulsar() -> Self {
        use Figure as F;
        let rules = vec![
            rule(F::MessagesPerSecond, "pulsar_in_messages_total", How::Rate, 1.0),
            rule(F::MemoryUsageMb, "process_resident_memory_bytes", How::Value, PER_MIB),
            rule(F::CpuPercentage, "process_cpu_seconds_total", How::Rate, PERCENT),
            rule(F::ConnectionCount, "pulsar_active_connections", How::Value, 1.0),
            rule(F::Uptime, "process_start_time_seconds", How::Since, 1.0),
            // Topics as this broker has them loaded: every partition of a partitioned topic is one, a plain topic is one.
            rule(F::PartitionCount, "pulsar_broker_topics_count", How::Value, 1.0),
        ];
        let stats = [
            ("topics", "pulsar_broker_topics_count"),
            ("subscriptions", "pulsar_broker_subscriptions_count"),
            ("producers", "pulsar_broker_producers_count"),
            ("consumers", "pulsar_broker_consumers_count"),
            ("messageBacklog", "pulsar_broker_msg_backlog"),
            ("storageSizeBytes", "pulsar_broker_storage_size"),
        ];
        // From a message's coming in to its being stored, in milliseconds, of all topics in the broker's last full
        // minute; no numbers where nothing was published in it. (pulsar_storage_write_latency_le_* is the bookies' part
        // of it, per topic, and in ten coarse buckets.)
        let latency = Some(("pulsar_broker_publish_latency".to_owned(), 1.0));
        Self { rules, latency, stats: owned(&stats) }
    }

    /// Any exporter, as it is told in the configuration.
    pub(super) fn of(figures: &PollFigures, stats: &BTreeMap<String, String>) -> Self {
        use Figure as F;
        let uptime = match &figures.uptime {
            Some(metric) if metric.metric.ends_with("start_time_seconds") => How::Since,
            _ => How::Value,
        };
        let rules = [
            (F::MessagesPerSecond, &figures.messages_per_second, How::Rate, 1.0),
            (F::MemoryUsageMb, &figures.memory_usage_mb, How::Value, PER_MIB),
            (F::CpuPercentage, &figures.cpu_percentage, How::Rate, PERCENT),
            (F::ConnectionCount, &figures.connection_count, How::Value, 1.0),
            (F::Uptime, &figures.uptime, uptime, 1.0),
            (F::PartitionCount, &figures.partition_count, How::Value, 1.0),
            (F::BrokerCount, &figures.broker_count, How::Value, 1.0),
        ];
        let told = |(figure, metric, how, scale): (Figure, &Option<PollMetric>, How, f64)| {
            metric.as_ref().map(|metric| rule(figure, &metric.metric, how, metric.scale.unwrap_or(scale)))
        };
        let latency = figures.latency.as_ref();
        Self {
            rules: rules.into_iter().filter_map(told).collect(),
            latency: latency.map(|metric| (metric.metric.clone(), metric.scale.unwrap_or(MS_PER_SECOND))),
            stats: stats.iter().map(|(name, metric)| (name.clone(), metric.clone())).collect(),
        }
    }

    /// What an answer observed. `now_ms` is the time at which it came.
    ///
    /// # Errors
    /// The answer is not what this kind of endpoint gives.
    pub(super) fn observe(&self, text: &str, now_ms: u64) -> Result<Observation, String> {
        let buckets = self.latency.as_ref().map(|(metric, _)| format!("{metric}_bucket"));
        let mut wanted: BTreeSet<&str> = self.rules.iter().map(|rule| rule.metric.as_str()).collect();
        wanted.extend(self.stats.iter().map(|(_, metric)| metric.as_str()));
        wanted.extend(self.latency.as_ref().map(|(metric, _)| metric.as_str()));
        wanted.extend(buckets.as_deref());
        let samples = Samples::parse(text, &wanted)?;

        let mut observed = Observation { stats: self.stats(&samples), ..Observation::default() };
        for rule in &self.rules {
            rule.observe(&samples, now_ms, &mut observed);
        }
        if let (Some((metric, scale)), Some(buckets)) = (&self.latency, &buckets) {
            match quantiles(&samples, metric) {
                Some(found) => observed.values.extend(found.into_iter().map(|(figure, value)| (figure, value * scale))),
                None => observed.latency = histogram(&samples, buckets, *scale),
            }
        }
        Ok(observed)
    }

    fn stats(&self, samples: &Samples) -> Map<String, Value> {
        let value = |metric: &str| samples.sum(metric).filter(|value| value.is_finite());
        let found = self.stats.iter().filter_map(|(name, metric)| Some((name.clone(), number(value(metric)?))));
        found.collect()
    }
}

/// The record that two polls of an endpoint make, ten seconds apart.
#[cfg(feature = "fuzzing")]
pub(crate) fn record_of(of_pulsar: bool, before: &str, now: &str) -> Result<String, String> {
    use super::{figures, record};
    let mapping = if of_pulsar { Mapping::pulsar() } else { Mapping::rabbitmq() };
    let at_ms = 1_700_000_000_000;
    let (before, now) = (mapping.observe(before, at_ms - 10_000), mapping.observe(now, at_ms)?);
    let before = before.as_ref().ok().map(|before| (before, std::time::Duration::from_secs(10)));
    let captured = record::Captured { source: "s", endpoint: "e", broker: "b", at_ms };
    Ok(record::connected(captured, &figures::measure(before, &now), now.stats.clone()))
}

impl Rule {
    fn observe(&self, samples: &Samples, now_ms: u64, observed: &mut Observation) {
        let value = match self.how {
            How::Rate => {
                if let Some(series) = samples.series(&self.metric) {
                    observed.counters.insert(self.figure, Counter { series, scale: self.scale });
                }
                return;
            }
            How::Value => samples.sum(&self.metric).map(|sum| sum * self.scale),
            How::Since => match samples.of(&self.metric) {
                // Several times have no sum.
                Some([start]) => Some(now_ms as f64 / MS_PER_SECOND - start.value * self.scale),
                _ => None,
            },
        };
        if let Some(value) = value {
            observed.values.insert(self.figure, value);
        }
    }
}

fn rule(figure: Figure, metric: &str, how: How, scale: f64) -> Rule {
    Rule { figure, metric: metric.to_owned(), how, scale }
}

fn owned(stats: &[(&str, &str)]) -> Vec<(String, String)> {
    stats.iter().map(|(name, metric)| ((*name).to_owned(), (*metric).to_owned())).collect()
}

/// A whole number as such.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// A summary's quantiles; `None` where it is none. Those of several sets of labels cannot be put together: left out.
fn quantiles(samples: &Samples, metric: &str) -> Option<Vec<(Figure, f64)>> {
    let samples = samples.of(metric)?;
    samples.iter().any(|sample| sample.quantile.is_some()).then(|| {
        let of = |(figure, quantile): (Figure, f64)| {
            let mut found = samples.iter().filter(|sample| sample.quantile == Some(quantile));
            match (found.next(), found.next()) {
                (Some(only), None) => Some((figure, only.value)),
                _ => None,
            }
        };
        Figure::LATENCIES.into_iter().filter_map(of).collect()
    })
}

/// A histogram's buckets, put together by their labels but `le`.
fn histogram(samples: &Samples, metric: &str, scale: f64) -> Option<Buckets> {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples.of(metric)? {
        let others = without_bound(&sample.labels)?;
        series.entry(others).or_default().push((sample.bound?, sample.value));
    }
    for buckets in series.values_mut() {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Some(Buckets { series, scale })
}

/// The text of the labels without `le="..."`, wherever it stands.
fn without_bound(labels: &str) -> Option<String> {
    let start = labels.find("le=\"").filter(|&at| labels[..at].ends_with(['{', ',', ' ']))?;
    let length = labels[start + 4..].find('"')? + 5;
    Some(format!("{}{}", &labels[..start], &labels[start + length..]))
}
