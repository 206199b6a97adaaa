//! What types cannot say: ranges, contradictions, and where secrets may stand.

use std::path::PathBuf;

use config::{Value, ValueKind};

use super::choices::*;
use super::rabbitmq::IdempotencyKey;
use super::sections::*;
use super::source::{KafkaSource, Source};
use super::topic::is_plain;

/// A key and what is wrong with it.
type Problem = (String, String);

fn refuse<T>(key: &str, problem: impl Into<String>) -> Result<T, Problem> {
    Err((key.to_owned(), problem.into()))
}

fn in_range<T: PartialOrd + std::fmt::Display>(key: &str, value: T, low: T, high: T) -> Result<(), Problem> {
    if value < low || value > high {
        return refuse(key, format!("{value} is out of range: {low} to {high}"));
    }
    Ok(())
}

/// Checks a configuration that has the right shape.
pub(super) fn check(config: &Config, stream: &str) -> Result<(), Problem> {
    check_stream(config, stream)?;
    check_kafka(&config.kafka)?;
    config.rabbitmq.check().map_err(|(key, problem)| (format!("rabbitmq.{key}"), problem))?;
    check_pulsar(&config.pulsar)?;
    check_registry(&config.registry)?;
    check_sources(config)?;
    check_dedupe(config)?;
    check_target(config)?;
    check_routes(config)?;
    check_limits(config)?;
    check_setup(&config.setup)
}

fn check_stream(config: &Config, stream: &str) -> Result<(), Problem> {
    let name = &config.stream.name;
    if name != stream {
        return refuse(
            "stream.name",
            format!("\"{name}\" in the file of the stream \"{stream}\": they must be the same"),
        );
    }
    if !is_plain(name) {
        return refuse("stream.name", format!("\"{name}\": letters, digits, '-', '_' and '.' only"));
    }
    Ok(())
}

/// librdkafka's settings that the exactly-once rules, the group's name or the memory budget depend on.
const OWN_PROPERTIES: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "debug",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.message.max.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
];

fn check_kafka(kafka: &KafkaSection) -> Result<(), Problem> {
    for broker in kafka.brokers.split(',') {
        let port = broker.trim().rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            return refuse("kafka.brokers", format!("\"{}\": write host:port, separated by commas", broker.trim()));
        }
    }
    in_range("kafka.session_timeout_ms", kafka.session_timeout_ms, 1_000, 3_600_000)?;
    if kafka.instance_id.as_deref() == Some("") {
        return refuse("kafka.instance_id", "is empty: leave it out for dynamic membership");
    }
    check_tls("kafka.tls", &kafka.tls)?;
    let some_tls = kafka.tls.ca_file.is_some() || kafka.tls.certificate_file.is_some();
    if some_tls && !kafka.tls.enabled {
        return refuse("kafka.tls.enabled", "is false, but kafka.tls names files: set it to true, or leave them out");
    }
    check_sasl(kafka)?;
    match kafka.properties.keys().find(|name| OWN_PROPERTIES.contains(&name.as_str())) {
        Some(name) => refuse(
            "kafka.properties",
            format!("\"{name}\" is set by the bridge itself: use the keys of [kafka], or leave it out"),
        ),
        None => Ok(()),
    }
}

fn check_sasl(kafka: &KafkaSection) -> Result<(), Problem> {
    let sasl = &kafka.sasl;
    one_of_two("kafka.sasl.password", sasl.password.is_some(), "kafka.sasl.password_file", &sasl.password_file)?;
    let has_password = sasl.password.is_some() || sasl.password_file.is_some();
    let has_user = sasl.username.as_deref().is_some_and(|name| !name.is_empty());
    match sasl.mechanism {
        SaslMechanism::None if has_password || sasl.username.is_some() => refuse(
            "kafka.sasl.mechanism",
            "is \"none\", but kafka.sasl names a user or a password: allowed are \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\"",
        ),
        SaslMechanism::None => Ok(()),
        _ if !has_user => refuse("kafka.sasl.username", "is needed by kafka.sasl.mechanism"),
        _ if !has_password => {
            refuse("kafka.sasl.password_file", "is needed by kafka.sasl.mechanism (or BRIDGE__KAFKA__SASL__PASSWORD)")
        }
        _ => Ok(()),
    }
}

fn check_tls(section: &str, tls: &TlsSection) -> Result<(), Problem> {
    match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => refuse(&format!("{section}.key_file"), "is needed by certificate_file"),
        (None, Some(_)) => refuse(&format!("{section}.certificate_file"), "is needed by key_file"),
        _ => Ok(()),
    }
}

fn one_of_two(key: &str, inline: bool, file_key: &str, file: &Option<PathBuf>) -> Result<(), Problem> {
    if inline && file.is_some() {
        return refuse(key, format!("and {file_key} are both set: leave one out"));
    }
    Ok(())
}

fn check_url(key: &str, url: &str, schemes: &[&str]) -> Result<(), Problem> {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        let forms: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://host:port")).collect();
        return refuse(key, format!("\"{}\" is not a URL for it: write {}", without_user(url), forms.join(" or ")));
    };
    if rest.contains('@') {
        return refuse(key, "holds a user or password: use the keys for them, so that they reach no log");
    }
    Ok(())
}

/// The URL with what stands before an `@` hidden.
fn without_user(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => url.to_owned(),
    }
}

fn check_pulsar(pulsar: &PulsarSection) -> Result<(), Problem> {
    check_url("pulsar.url", &pulsar.url, &["pulsar", "pulsar+ssl"])?;
    if !pulsar.admin_url.is_empty() {
        check_url("pulsar.admin_url", &pulsar.admin_url, &["http", "https"])?;
    }
    check_tls("pulsar.tls", &pulsar.tls)?;
    if pulsar.tls.enabled && !pulsar.url.starts_with("pulsar+ssl://") {
        return refuse(
            "pulsar.tls.enabled",
            "is for Kafka only: Pulsar speaks TLS when pulsar.url begins with pulsar+ssl://",
        );
    }
    let auth = &pulsar.auth;
    one_of_two("pulsar.auth.token", auth.token.is_some(), "pulsar.auth.token_file", &auth.token_file)?;
    let has_token = auth.token.is_some() || auth.token_file.is_some();
    match auth.kind {
        PulsarAuthKind::Token if !has_token => refuse(
            "pulsar.auth.token_file",
            "is needed by pulsar.auth.kind = \"token\" (or BRIDGE__PULSAR__AUTH__TOKEN)",
        ),
        PulsarAuthKind::OAuth2 if auth.issuer_url.is_none() => {
            refuse("pulsar.auth.issuer_url", "is needed by pulsar.auth.kind = \"oauth2\"")
        }
        PulsarAuthKind::OAuth2 if auth.credentials_file.is_none() => {
            refuse("pulsar.auth.credentials_file", "is needed by pulsar.auth.kind = \"oauth2\"")
        }
        kind if has_token && kind != PulsarAuthKind::Token => {
            refuse("pulsar.auth.kind", "is not \"token\", but a token is set: set the kind, or leave the token out")
        }
        _ => Ok(()),
    }
}

fn check_registry(registry: &RegistrySection) -> Result<(), Problem> {
    if !registry.url.is_empty() {
        check_url("registry.url", &registry.url, &["http", "https"])?;
    }
    check_tls("registry.tls", &registry.tls)?;
    one_of_two("registry.password", registry.password.is_some(), "registry.password_file", &registry.password_file)
}

fn check_sources(config: &Config) -> Result<(), Problem> {
    if config.source.is_empty() {
        return refuse("source", "there is none: write a table [source.<name>] with kind and topic");
    }
    let dedupe = config.dedupe.key.is_some();
    let mut read = std::collections::BTreeMap::new();
    for (name, source) in &config.source {
        let key = format!("source.{name}");
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            return refuse(&key, "a source's name has lower-case letters, digits and '_' only");
        }
        let what = match source {
            Source::Kafka(kafka) => {
                check_kafka_source(&key, kafka)?;
                vec![("topic", kafka.topic.as_str())]
            }
            Source::Rabbitmq(rabbitmq) => {
                rabbitmq.check(dedupe).map_err(|(of, problem)| (format!("{key}.{of}"), problem))?;
                if matches!(rabbitmq.idempotency_key, Some(IdempotencyKey::Json(_))) && rabbitmq.format != Format::Json
                {
                    let problem = "is a field of a JSON body, and the values are not JSON (format): name a header";
                    return refuse(&format!("{key}.idempotency_key"), problem);
                }
                rabbitmq.queue_names().into_iter().map(|queue| ("queue", queue)).collect()
            }
            Source::Poll(poll) => {
                poll.check().map_err(|(of, problem)| (format!("{key}.{of}"), problem))?;
                Vec::new()
            }
        };
        for of in what {
            if let Some(other) = read.insert(of, name) {
                let kind = of.0;
                return refuse(
                    &format!("{key}.{kind}"),
                    format!("source.{other} reads the same {kind}: leave one out"),
                );
            }
        }
        check_format(&key, source, config)?;
    }
    Ok(())
}

fn check_kafka_source(key: &str, kafka: &KafkaSource) -> Result<(), Problem> {
    if kafka.topic.len() > 249 || !is_plain(&kafka.topic) || kafka.topic.contains([':', '=']) {
        let topic = &kafka.topic;
        return refuse(&format!("{key}.topic"), format!("\"{topic}\" is not a name that Kafka allows for a topic"));
    }
    Ok(())
}

/// All sources make messages of one target, which has one schema or none.
fn check_format(key: &str, source: &Source, config: &Config) -> Result<(), Problem> {
    let format = source.format();
    if (format == Format::Bytes) == config.has_schema() {
        let problem =
            "is \"bytes\", and other sources of this bridge have a schema: the target can only be one of both";
        return refuse(&format!("{key}.format"), problem);
    }
    match (format, source.schema_file()) {
        (Format::Avro, None) => {
            refuse(&format!("{key}.schema_file"), "format = \"avro\" needs the schema of the values")
        }
        (Format::Json | Format::ConfluentAvro | Format::Bytes, Some(_)) => {
            refuse(&format!("{key}.schema_file"), "is for format = \"avro\" only: leave it out")
        }
        (Format::ConfluentAvro, None) if config.registry.url.is_empty() => {
            refuse("registry.url", format!("{key}.format = \"confluent-avro\" needs a schema registry"))
        }
        (Format::Json | Format::Bytes, _) if config.contract.mode == ContractMode::Mirror => {
            refuse("contract.mode", format!("\"mirror\" is for Avro values, and {key} has none"))
        }
        _ => Ok(()),
    }
}

fn check_dedupe(config: &Config) -> Result<(), Problem> {
    if let Some(field) = config.dedupe.key.as_deref().filter(|key| *key != "message-id" && !key.starts_with("header:"))
    {
        if let Err(error) = crate::translate::JsonPath::parse(field.strip_prefix("json:").unwrap_or(field)) {
            return refuse("dedupe.key", format!("{error}: write a field of the JSON, or header:<name>"));
        }
        check_looks_into_json("dedupe.key", field, config)?;
    }
    in_range("dedupe.window_seconds", config.dedupe.window_seconds, 1, 86_400)?;
    in_range("dedupe.window_records", config.dedupe.window_records, 1_000, 50_000_000)
}

/// A field of the JSON body is never found in a body that is none: the setting would do nothing, without a word.
fn check_looks_into_json(key: &str, field: &str, config: &Config) -> Result<(), Problem> {
    match config.source.iter().find(|(_, source)| source.format() != Format::Json) {
        None => Ok(()),
        Some((name, _)) => refuse(
            key,
            format!("\"{field}\" is a field of a JSON body, and the values of source.{name} are not JSON (its format)"),
        ),
    }
}

fn check_routes(config: &Config) -> Result<(), Problem> {
    if config.route.len() > 32 {
        return refuse("route", format!("{} routes: 32 at most", config.route.len()));
    }
    for (name, route) in &config.route {
        let key = format!("route.{name}");
        if config.is_mirror() {
            return refuse(&key, "looks into JSON, and contract.mode = \"mirror\" is for Avro values: leave one out");
        }
        if let Err(error) = crate::translate::JsonPath::parse(&route.field) {
            return refuse(&format!("{key}.field"), error.to_string());
        }
        check_looks_into_json(&format!("{key}.field"), &route.field, config)?;
        if route.equals.is_empty() {
            return refuse(&format!("{key}.equals"), "is empty: name at least one text");
        }
        if route.topic == config.dead_letter_topic() || route.topic == config.checkpoint_topic() {
            return refuse(&format!("{key}.topic"), "is a topic of the bridge itself: choose another");
        }
    }
    Ok(())
}

fn check_target(config: &Config) -> Result<(), Problem> {
    let target = &config.target;
    let (dead_letters, checkpoints) = (config.dead_letter_topic(), config.checkpoint_topic());
    if dead_letters == target.topic {
        return refuse("dead_letters.topic", "is the target itself: choose another topic");
    }
    if target.topic == checkpoints || dead_letters == checkpoints {
        let key = if target.topic == checkpoints { "target.topic" } else { "dead_letters.topic" };
        return refuse(key, format!("{checkpoints} is where the bridges keep their checkpoints: choose another topic"));
    }
    if target.key_hash.is_some() && target.partition_by != PartitionBy::Key {
        return refuse(
            "target.key_hash",
            "is set, but target.partition_by is not \"key\": set that, or leave this out",
        );
    }
    let exactly_once = target.guarantee == Guarantee::ExactlyOnce;
    if exactly_once && target.deduplication == Deduplication::Required && config.pulsar.admin_url.is_empty() {
        return refuse(
            "target.deduplication",
            "is \"required\", but pulsar.admin_url is empty, so that it cannot be asked: set the URL, or write \"asserted\"",
        );
    }
    let ratio = config.dead_letters.max_ratio;
    if !(ratio > 0.0 && ratio <= 1.0) {
        return refuse("dead_letters.max_ratio", format!("{ratio} is out of range: above 0, up to 1"));
    }
    Ok(())
}

fn check_limits(config: &Config) -> Result<(), Problem> {
    let limits = &config.limits;
    in_range("limits.memory_mib", limits.memory_mib, 8, 65_536)?;
    in_range("limits.batch_kib", limits.batch_kib, 1, 4_096)?;
    in_range("limits.in_flight", limits.in_flight, 1, 1_000)?;
    if limits.batch_kib > limits.memory_mib * 1024 / 4 {
        let most = limits.memory_mib * 1024 / 4;
        return refuse(
            "limits.batch_kib",
            format!(
                "{} is more than a quarter of limits.memory_mib ({most} KiB): lower it, or raise that",
                limits.batch_kib
            ),
        );
    }
    in_range("health.stall_seconds", config.health.stall_seconds, 5, 3_600)?;
    in_range("shutdown.deadline_seconds", config.shutdown.deadline_seconds, 1, 600)?;
    if let Some(url) = &config.fleet.url {
        check_url("fleet.url", url, &["http", "https"])?;
    }
    Ok(())
}

fn check_setup(setup: &SetupSection) -> Result<(), Problem> {
    in_range("setup.partitions", setup.partitions, 1, 10_000)?;
    for (key, value) in [
        ("setup.retention_days", setup.retention_days),
        ("setup.retention_gib", setup.retention_gib),
        ("setup.dead_letters_retention_days", setup.dead_letters_retention_days),
    ] {
        if value == 0 || value < -1 {
            return refuse(key, format!("{value} is not allowed: a positive number, or -1 for no limit"));
        }
        in_range(key, value, -1, 36_500)?;
    }
    for namespace in &setup.namespaces {
        let parts: Vec<_> = namespace.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|part| is_plain(part)) {
            return refuse("setup.namespaces", format!("\"{namespace}\" is not a namespace: write tenant/namespace"));
        }
    }
    Ok(())
}

const SECRETS: &[&str] = &["kafka.sasl.password", "rabbitmq.password", "pulsar.auth.token", "registry.password"];

/// A secret in a TOML file ends up in a repository or a ConfigMap: only the environment and files of their own hold one.
pub(super) fn secrets_come_from_outside(tree: &Value, environment: &str) -> Result<(), Problem> {
    for key in SECRETS {
        let found = key.split('.').try_fold(tree, |node, part| match &node.kind {
            ValueKind::Table(table) => table.get(part),
            _ => None,
        });
        if let Some(origin) = found.and_then(Value::origin)
            && origin != environment
        {
            let problem = "a secret does not belong into this file: set it in the environment, or name its file in";
            return refuse(key, format!("{problem} {key}_file"));
        }
    }
    Ok(())
}
