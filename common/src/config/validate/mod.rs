//! What types cannot say: ranges, contradictions, and where secrets may stand.

mod connections;
mod routing;
mod secrets;
mod sources;

use super::choices::*;
use super::sections::*;
use super::topic::is_plain;

pub(super) use secrets::secrets_come_from_outside;

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
    connections::check_kafka(&config.kafka)?;
    config.rabbitmq.check().map_err(|(key, problem)| (format!("rabbitmq.{key}"), problem))?;
    connections::check_pulsar(&config.pulsar)?;
    connections::check_registry(&config.registry)?;
    sources::check_sources(config)?;
    routing::check_dedupe(config)?;
    check_target(config)?;
    routing::check_routes(config)?;
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

fn check_target(config: &Config) -> Result<(), Problem> {
    let target = &config.target;
    let (dead_letters, checkpoints) = (config.dead_letter_topic(), config.checkpoint_topic());
    let operations = config.operations_topic();
    if dead_letters == target.topic {
        return refuse("dead_letters.topic", "is the target itself: choose another topic");
    }
    if [&target.topic, &dead_letters, &checkpoints].contains(&&operations) {
        return refuse("fleet.operations_topic", format!("{operations} has another use already: choose another topic"));
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
    in_range("log.repeat_seconds", config.log.repeat_seconds, 1, 3_600)?;
    if config.log.summary_seconds != 0 {
        in_range("log.summary_seconds", config.log.summary_seconds, 5, 86_400)?;
    }
    in_range("health.stall_seconds", config.health.stall_seconds, 5, 3_600)?;
    in_range("shutdown.deadline_seconds", config.shutdown.deadline_seconds, 1, 600)?;
    for url in &config.fleet.url {
        connections::check_url("fleet.url", url, &["http", "https"])?;
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
