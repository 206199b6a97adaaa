//! The sections of a polled source: endpoints that are asked for their figures again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::choice;

/// `[source.<name>]` with `kind = "poll"`
///
/// A polled source is at-least-once by nature: what was polled and not yet mirrored when a bridge ends is gone, and its
/// successor polls anew. Every record says when it was captured, and has an `event_id` made of source, endpoint and that time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollSource {
    /// Milliseconds from one poll of all endpoints to the next. 1000 to 3600000.
    #[serde(default = "default_interval_ms")]
    pub interval_ms: u64,
    /// Milliseconds after which an endpoint that has not answered counts as not connected. 100 to `interval_ms`.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// What is polled, by names of your choice (lower-case letters, digits, `_` and `-`): 1 to 32 tables
    /// `[source.<name>.endpoint.<endpoint>]`.
    pub endpoint: BTreeMap<String, PollEndpoint>,
}

fn default_interval_ms() -> u64 {
    10_000
}

fn default_timeout_ms() -> u64 {
    5_000
}

/// `[source.<name>.endpoint.<endpoint>]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollEndpoint {
    /// `"rabbitmq"` (its prometheus plugin), `"pulsar"` (a broker's `/metrics`), `"kafka"` (the cluster of `[kafka]`, by Kafka's own
    /// protocol), or `"prometheus"`: anything that answers in Prometheus' text format, with `figures`.
    #[serde(deserialize_with = "choice")]
    pub kind: PollKind,
    /// The URL of the metrics (`http://` or `https://`, without user and password). Needed by all kinds but `"kafka"`, which has none.
    /// RabbitMQ and Pulsar tell of the node that is asked alone: a cluster of several wants an endpoint for each.
    #[serde(default)]
    pub url: Option<String>,
    /// The record's `brokerName`. Unset: the kind, or the endpoint's name where the kind is `"prometheus"`.
    #[serde(default)]
    pub broker_name: Option<String>,
    /// The user, for basic authentication. Needs `password_file`.
    #[serde(default)]
    pub username: Option<String>,
    /// The file that holds the password; read again at every poll.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The file that holds a bearer token; read again at every poll.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// PEM file of the certificate authorities to trust. Unset: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// `"kafka"` only: of how many consumer groups the lag is told, in the order of their names. 0 to 100. Unset: 20. Each costs a
    /// client of librdkafka, a few connections and some 10 ms per poll.
    #[serde(default)]
    pub groups_max: Option<u32>,
    /// `"prometheus"` only: which metric gives which figure. Figures that are not named are told as missing.
    #[serde(default)]
    pub figures: PollFigures,
    /// `"prometheus"` only: further metrics for the record's `topicStats`, `name = "metric"`, at most 50; each is the sum over all labels.
    #[serde(default)]
    pub stats: BTreeMap<String, String>,
}

/// What kind of endpoint it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PollKind {
    /// RabbitMQ's prometheus plugin.
    RabbitMq,
    /// A Pulsar broker's metrics.
    Pulsar,
    /// A Kafka cluster, by its own protocol.
    Kafka,
    /// Any exporter.
    #[default]
    Prometheus,
}

/// `[source.<name>.endpoint.<endpoint>.figures]`: each `figure = "metric"` or `figure = { metric = "...", scale = 0.001 }`.
///
/// A metric with several sets of labels is summed. The scales that are the default fit Prometheus' base units.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PollFigures {
    /// A counter of messages; the figure is its rate between two polls.
    pub messages_per_second: Option<PollMetric>,
    /// A summary with the quantiles 0.5, 0.95 and 0.99, or a histogram, for p50, p95 and p99; seconds unless `scale` says otherwise (1000). A
    /// histogram's quantiles are those of what came between two polls, interpolated within a bucket.
    pub latency: Option<PollMetric>,
    /// A gauge of bytes, unless `scale` says otherwise (1 / 1048576).
    pub memory_usage_mb: Option<PollMetric>,
    /// A counter of CPU seconds, unless `scale` says otherwise (100); the figure is its rate: 100 is one core in full use.
    pub cpu_percentage: Option<PollMetric>,
    /// A gauge of open connections.
    pub connection_count: Option<PollMetric>,
    /// A gauge of the seconds that the server has been up; of a metric whose name ends with `start_time_seconds`, the time since then.
    pub uptime: Option<PollMetric>,
    /// A gauge of partitions.
    pub partition_count: Option<PollMetric>,
    /// A gauge of brokers.
    pub broker_count: Option<PollMetric>,
}

impl PollFigures {
    /// All that are set, with their keys.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, &PollMetric)> {
        [
            ("messages_per_second", &self.messages_per_second),
            ("latency", &self.latency),
            ("memory_usage_mb", &self.memory_usage_mb),
            ("cpu_percentage", &self.cpu_percentage),
            ("connection_count", &self.connection_count),
            ("uptime", &self.uptime),
            ("partition_count", &self.partition_count),
            ("broker_count", &self.broker_count),
        ]
        .into_iter()
        .filter_map(|(key, metric)| metric.as_ref().map(|metric| (key, metric)))
    }
}

/// A metric that gives a figure.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "MetricText")]
pub struct PollMetric {
    /// Its name: letters, digits and `_`.
    pub metric: String,
    /// What its values are multiplied by. `None`: the figure's default.
    pub scale: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum MetricText {
    Name(String),
    Scaled(Scaled),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Scaled {
    metric: String,
    #[serde(default)]
    scale: Option<f64>,
}

impl From<MetricText> for PollMetric {
    fn from(text: MetricText) -> Self {
        match text {
            MetricText::Name(metric) => Self { metric, scale: None },
            MetricText::Scaled(Scaled { metric, scale }) => Self { metric, scale },
        }
    }
}

/// A key below `source.<name>`, and what is wrong with it.
type Problem = (String, String);

fn refuse<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, Problem> {
    Err((key.into(), problem.into()))
}

impl PollSource {
    /// Checks ranges and contradictions.
    ///
    /// # Errors
    /// The first key that is wrong, below `source.<name>`, and what would do.
    pub fn check(&self) -> Result<(), (String, String)> {
        if !(1_000..=3_600_000).contains(&self.interval_ms) {
            return refuse("interval_ms", format!("{} is out of range: 1000 to 3600000", self.interval_ms));
        }
        if !(100..=self.interval_ms).contains(&self.timeout_ms) {
            let most = self.interval_ms;
            return refuse("timeout_ms", format!("{} is out of range: 100 to interval_ms, {most}", self.timeout_ms));
        }
        if self.endpoint.is_empty() || self.endpoint.len() > 32 {
            return refuse("endpoint", format!("there are {} tables: write 1 to 32", self.endpoint.len()));
        }
        for (name, endpoint) in &self.endpoint {
            let key = format!("endpoint.{name}");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                return refuse(key, "an endpoint's name has 1 to 64 lower-case letters, digits, '_' and '-' only");
            }
            endpoint.check().or_else(|(below, problem)| refuse(format!("{key}.{below}"), problem))?;
        }
        Ok(())
    }

    /// Whether an endpoint is polled by Kafka's protocol, so that `[kafka]` is needed.
    pub fn asks_kafka(&self) -> bool {
        self.endpoint.values().any(|endpoint| endpoint.kind == PollKind::Kafka)
    }

    /// The files that the endpoints name, to be read once at the start and made absolute.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let endpoints = self.endpoint.values_mut();
        endpoints.flat_map(|e| [&mut e.password_file, &mut e.token_file, &mut e.ca_file]).flatten()
    }

    /// The files that the endpoints name.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.endpoint.values().flat_map(|e| [&e.password_file, &e.token_file, &e.ca_file]).flatten()
    }
}

impl PollEndpoint {
    fn check(&self) -> Result<(), Problem> {
        let is_kafka = self.kind == PollKind::Kafka;
        match &self.url {
            Some(_) if is_kafka => return refuse("url", "kind = \"kafka\" has none: it asks the brokers of [kafka]"),
            None if !is_kafka => return refuse("url", "is missing: write the URL of the metrics"),
            Some(url) => check_url(url)?,
            None => {}
        }
        if let Some(name) = &self.broker_name
            && (name.is_empty() || name.len() > 64 || name.chars().any(char::is_control))
        {
            return refuse("broker_name", "write 1 to 64 characters, or leave it out");
        }
        if self.username.is_some() != self.password_file.is_some() {
            return refuse("password_file", "username and password_file go together: write both, or neither");
        }
        if self.username.is_some() && self.token_file.is_some() {
            return refuse("token_file", "username is set as well: log in by one of them");
        }
        if is_kafka && (self.username.is_some() || self.token_file.is_some() || self.ca_file.is_some()) {
            return refuse(
                "kind",
                "is \"kafka\", which logs in by [kafka]: leave username, token_file and ca_file out",
            );
        }
        match self.groups_max {
            Some(_) if !is_kafka => return refuse("groups_max", "is for kind = \"kafka\" only: leave it out"),
            Some(most) if most > 100 => return refuse("groups_max", format!("{most} is out of range: 0 to 100")),
            _ => {}
        }
        self.check_metrics()
    }

    fn check_metrics(&self) -> Result<(), Problem> {
        let any = self.figures.set().next().is_some() || !self.stats.is_empty();
        if self.kind != PollKind::Prometheus {
            let known =
                "only kind = \"prometheus\" is told its metrics; the others' are known: leave figures and stats out";
            return if any { refuse("figures", known) } else { Ok(()) };
        }
        if !any {
            return refuse("figures", "is empty: name the metric of one figure at least");
        }
        if self.stats.len() > 50 {
            return refuse("stats", format!("there are {}: at most 50", self.stats.len()));
        }
        let figures = self.figures.set().map(|(key, metric)| (format!("figures.{key}"), &metric.metric));
        let stats = self.stats.iter().map(|(name, metric)| (format!("stats.{name}"), metric));
        for (key, metric) in figures.chain(stats) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if metric.is_empty() || metric.len() > 200 || !metric.chars().all(plain) {
                return refuse(key, format!("\"{metric}\" is not a metric's name: letters, digits and '_'"));
            }
        }
        match self
            .figures
            .set()
            .find(|(_, metric)| metric.scale.is_some_and(|scale| !(scale.is_finite() && scale > 0.0)))
        {
            Some((key, _)) => refuse(format!("figures.{key}.scale"), "must be above 0"),
            None => Ok(()),
        }
    }
}

fn check_url(url: &str) -> Result<(), Problem> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        // Not repeated in the message: a password may stand before the host.
        Some(host) if host.contains('@') => {
            refuse("url", "user and password do not belong into it: use username and password_file")
        }
        Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => Ok(()),
        _ => refuse("url", "is not a URL: write http://host:port/path or https://host:port/path"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PollSource, String> {
        toml_of(text).and_then(|source| match source.check() {
            Ok(()) => Ok(source),
            Err((key, problem)) => Err(format!("{key}: {problem}")),
        })
    }

    fn toml_of(text: &str) -> Result<PollSource, String> {
        let file = config::File::from_str(text, config::FileFormat::Toml);
        let built = config::Config::builder().add_source(file).build().map_err(|error| error.to_string())?;
        built.try_deserialize().map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_of_all_kinds_is_read() {
        let source = parse(
            r#"
            interval_ms = 2000
            timeout_ms = 500
            [endpoint.rabbitmq]
            kind = "rabbitmq"
            url = "http://127.0.0.1:15692/metrics"
            [endpoint.kafka]
            kind = "kafka"
            groups_max = 3
            [endpoint.node-1]
            kind = "prometheus"
            url = "https://127.0.0.1/metrics"
            token_file = "token"
            figures = { memory_usage_mb = "process_resident_memory_bytes", latency = { metric = "t_ms", scale = 1.0 } }
            stats = { openFiles = "process_open_fds" }
            "#,
        )
        .unwrap();
        let node = &source.endpoint["node-1"];
        let latency = PollMetric { metric: "t_ms".into(), scale: Some(1.0) };
        assert_eq!(node.figures.latency, Some(latency));
        assert_eq!(node.stats["openFiles"], "process_open_fds", "names keep their case");
        assert!(source.asks_kafka());
        assert_eq!(source.files().count(), 1);
        assert_eq!(source.endpoint["kafka"].groups_max, Some(3));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let with = |endpoint: &str| format!("[endpoint.e]\n{endpoint}");
        let url = "url = \"http://h/metrics\"";
        for (text, key) in [
            ("interval_ms = 999\n[endpoint.e]\nkind = \"kafka\"".to_owned(), "interval_ms: "),
            ("timeout_ms = 10001\n[endpoint.e]\nkind = \"kafka\"".to_owned(), "timeout_ms: "),
            ("endpoint = {}".to_owned(), "endpoint: "),
            ("[endpoint.E]\nkind = \"kafka\"".to_owned(), "endpoint.E: "),
            (with("kind = \"rabbitmq\""), "endpoint.e.url: "),
            (with(&format!("kind = \"kafka\"\n{url}")), "endpoint.e.url: "),
            (with("kind = \"pulsar\"\nurl = \"ftp://h\""), "endpoint.e.url: "),
            (with("kind = \"pulsar\"\nurl = \"http://me:hush@h\""), "endpoint.e.url: "),
            (with(&format!("kind = \"pulsar\"\n{url}\nusername = \"u\"")), "endpoint.e.password_file: "),
            (with(&format!("kind = \"pulsar\"\n{url}\nfigures = {{ uptime = \"u\" }}")), "endpoint.e.figures: "),
            (with(&format!("kind = \"prometheus\"\n{url}")), "endpoint.e.figures: "),
            (
                with(&format!("kind = \"prometheus\"\n{url}\nfigures = {{ uptime = \"a b\" }}")),
                "endpoint.e.figures.uptime: ",
            ),
            (with(&format!("kind = \"rabbitmq\"\n{url}\ngroups_max = 3")), "endpoint.e.groups_max: "),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with(key), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for text in [with("kind = \"zabbix\""), with("kind = \"kafka\"\nurll = \"\"")] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
