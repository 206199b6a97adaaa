//! The metrics of a bridge: every name with its unit and help in one place, handles that are looked up once per
//! partition and not per event, and series that vanish with their partition.

mod histogram;
mod names;
mod partition;
mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use histogram::Histograms;
pub use names::*;
pub use partition::PartitionMetrics;

/// How many different field names the drift counter shows before it says "other".
const DRIFT_FIELDS: usize = 50;
/// How many characters of a field's name are shown.
const DRIFT_NAME_CHARS: usize = 80;

/// The metrics of one bridge. Cheap to clone; every clone is the same registry.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    stream: String,
    start_unix_seconds: f64,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    histograms: Histograms,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many living handles each partition's series have, by their labels as they are rendered. 0: hidden.
    partitions: BTreeMap<String, u32>,
    /// The field names that the drift counter shows.
    drift: BTreeMap<String, Counter>,
}

impl Metrics {
    /// A registry of its own for the bridge of `stream`.
    pub fn new(stream: &str, version: &str) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            describe(&recorder, metric);
        }
        let handle = recorder.handle();
        let start_unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let stream = stream.to_owned();
        let histograms = Histograms::default();
        let inner = Inner { stream, start_unix_seconds, recorder, handle, histograms, shared: Mutex::default() };
        let metrics = Self { inner: Arc::new(inner) };
        metrics.gauge(BUILD_INFO, &[("version", version)]).set(1.0);
        // What alerts watch is there from the first scrape on.
        metrics.gauge(READY, &[]).set(0.0);
        metrics.reconnected(0);
        metrics
    }

    /// The handles of one source partition. Its series show for as long as any clone of the handles lives.
    pub fn partition(&self, source: &str, topic: &str, partition: u32) -> PartitionMetrics {
        PartitionMetrics::new(self, source, topic, partition)
    }

    /// So many connections to brokers of the target were made again since the start.
    pub fn reconnected(&self, times: u64) {
        self.counter(RECONNECTS, &[("server", "pulsar")]).absolute(times);
    }

    /// What `/readyz` says.
    pub fn ready(&self, is_ready: bool) {
        self.gauge(READY, &[]).set(f64::from(u8::from(is_ready)));
    }

    /// Whether every topic that is written to deduplicates.
    pub fn target_deduplicates(&self, does: bool) {
        self.gauge(DEDUPLICATES, &[]).set(f64::from(u8::from(does)));
    }

    /// What is batched or in flight, of what may be.
    pub fn memory(&self, held_bytes: usize, budget_bytes: usize) {
        self.gauge(MEMORY_HELD, &[]).set(held_bytes as f64);
        self.gauge(MEMORY_BUDGET, &[]).set(budget_bytes as f64);
    }

    /// When a certificate is valid no more, in seconds since the epoch: towards `server` (`kafka`, `pulsar`, `rabbitmq`,
    /// `registry`), `kind` being `client`, `authority`, or `server` for the one that the server itself has shown.
    pub fn certificate_ends(&self, server: &'static str, kind: &'static str, unix_seconds: i64) {
        self.gauge(CERTIFICATE_EXPIRY, &[("server", server), ("certificate", kind)]).set(unix_seconds as f64);
    }

    /// A field that the contract does not know was met `times` times. `field` is its path, never its value.
    pub fn drifted(&self, field: &str, times: u64) {
        let name: String = field.chars().take(DRIFT_NAME_CHARS).collect();
        let mut shared = self.lock();
        let name = if shared.drift.contains_key(&name) || shared.drift.len() < DRIFT_FIELDS {
            name
        } else {
            "other".to_owned()
        };
        let counter = shared.drift.entry(name).or_insert_with_key(|name| self.counter(DRIFT, &[("field", name)]));
        counter.increment(times);
    }

    /// The text for Prometheus.
    pub fn render(&self) -> String {
        let mut text = self.inner.handle.render();
        self.inner.histograms.render(ALL, &mut text);
        let shared = self.lock();
        let hidden: Vec<&str> =
            shared.partitions.iter().filter(|(_, living)| **living == 0).map(|(labels, _)| labels.as_str()).collect();
        let mut shown = String::with_capacity(text.len());
        for line in text.lines().filter(|line| !hidden.iter().any(|labels| line.contains(labels))) {
            shown.push_str(line);
            shown.push('\n');
        }
        drop(shared);
        process::render(&mut shown, self.inner.start_unix_seconds);
        shown
    }

    /// The same with the series of partitions that are no longer here: their counts are part of what this bridge did.
    pub fn render_all(&self) -> String {
        let mut text = self.inner.handle.render();
        self.inner.histograms.render(ALL, &mut text);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Key {
        let mut all = Vec::with_capacity(labels.len() + 1);
        all.push(Label::new("stream", self.inner.stream.clone()));
        all.extend(labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())));
        Key::from_parts(metric.name, all)
    }

    fn counter(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Counter {
        self.inner.recorder.register_counter(&self.key(metric, labels), &METADATA)
    }

    fn gauge(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Gauge {
        self.inner.recorder.register_gauge(&self.key(metric, labels), &METADATA)
    }

    fn histogram(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Histogram {
        let all = [("stream", self.inner.stream.as_str())].into_iter().chain(labels.iter().copied());
        let rendered: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        self.inner.histograms.handle(metric, rendered.join(","))
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A label's value as Prometheus' text has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn describe(recorder: &PrometheusRecorder, metric: &Metric) {
    let (name, help) = (KeyName::from(metric.name), SharedString::from(metric.help));
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name, Some(metric.unit), help),
        Kind::Gauge => recorder.describe_gauge(name, Some(metric.unit), help),
        // Rendered with its own text.
        Kind::Histogram(_) => {}
    }
}
