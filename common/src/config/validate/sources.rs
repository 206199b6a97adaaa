//! What is read, and in which format.

use super::super::choices::*;
use super::super::rabbitmq::IdempotencyKey;
use super::super::sections::*;
use super::super::source::{KafkaSource, Source};
use super::super::topic::is_plain;
use super::{Problem, refuse};

/// What Kafka takes at most for a name.
const KAFKA_NAME_BYTES_MAX: usize = 249;

pub(super) fn check_sources(config: &Config) -> Result<(), Problem> {
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
                check_member(&key, config.member_of(name).as_deref())?;
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
    if kafka.topic.len() > KAFKA_NAME_BYTES_MAX || !is_plain(&kafka.topic) || kafka.topic.contains([':', '=']) {
        let topic = &kafka.topic;
        return refuse(&format!("{key}.topic"), format!("\"{topic}\" is not a name that Kafka allows for a topic"));
    }
    Ok(())
}

/// Kafka bounds the names of static members, as it does those of topics.
fn check_member(key: &str, member: Option<&str>) -> Result<(), Problem> {
    match member.map_or(0, str::len) {
        0..=KAFKA_NAME_BYTES_MAX => Ok(()),
        bytes => {
            let problem = "makes a member <kafka.instance_id>.<name of the source>, for which Kafka takes";
            refuse(key, format!("{problem} {KAFKA_NAME_BYTES_MAX} bytes at most, not {bytes}: shorten one of them"))
        }
    }
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
