//! Kafka's topics, and what they hold against what the target keeps and takes.

use super::super::facts::{KafkaFacts, Role, TopicFacts};
use super::super::finding::Finding;
use super::topic::{kept, retention_of, subject};

const MINUTE_MS: i64 = 60_000;

/// The name of a topic in findings.
fn name(facts: &KafkaFacts) -> String {
    format!("Kafka topic {}", facts.topic)
}

/// Judges one topic.
pub(crate) fn topic(facts: &KafkaFacts) -> Vec<Finding> {
    let on = name(facts);
    match &facts.partitions {
        Ok(Some(partitions)) => {
            let mut found = vec![Finding::ok("kafka.topic", &on, format!("{partitions} partitions"))];
            found.extend(rights(facts, &on));
            found.extend(settings(facts, &on));
            found
        }
        Ok(None) => {
            let advice = "Create it, or correct source.<name>.topic";
            vec![Finding::error("kafka.topic", on, "does not exist, or may not be seen", advice)]
        }
        Err(why) => vec![Finding::error(
            "kafka.reachable",
            on,
            format!("its cluster does not answer: {why}"),
            "See that Kafka runs, and check kafka.brokers, kafka.tls and kafka.sasl",
        )],
    }
}

fn rights(facts: &KafkaFacts, on: &str) -> Vec<Finding> {
    let check = "kafka.rights";
    let mut found = Vec::new();
    match &facts.may_read {
        Some(Ok(())) => found.push(Finding::ok(check, on, "may be read")),
        Some(Err(why)) => {
            let advice = "Grant Read and Describe on the topic";
            found.push(Finding::error(check, on, format!("cannot be read: {why}"), advice));
        }
        None => {}
    }
    let group = format!("Kafka group {}", facts.group);
    match &facts.may_group {
        // Joining would take partitions away from a bridge that runs.
        Some(Ok(())) => {
            found.push(Finding::ok(check, group, "may be looked at; only joining it shows that it may be joined"))
        }
        Some(Err(why)) => {
            let advice = "Grant Read and Describe on the group";
            found.push(Finding::error(check, group, format!("cannot be looked at: {why}"), advice));
        }
        None => {}
    }
    found
}

fn settings(facts: &KafkaFacts, on: &str) -> Vec<Finding> {
    let settings = match &facts.settings {
        Ok(settings) => settings,
        Err(why) => {
            let why =
                format!("retention, clean-up and largest record: {why} (DescribeConfigs on the topic shows them)");
            return vec![Finding::untold("kafka.settings", on, why)];
        }
    };
    let policy = settings.get("cleanup.policy").map_or("", String::as_str);
    if policy.split(',').any(|policy| policy.trim() == "compact") {
        return vec![Finding::warning(
            "kafka.cleanup",
            on,
            format!(
                "is compacted (cleanup.policy = {policy}): of each key only the newest record stays. What Kafka removes \
                 before the bridge has read it never arrives, which is no gap; the target keeps every record that did"
            ),
            "Keep the bridge running, or set min.compaction.lag.ms above the longest outage",
        )];
    }
    vec![Finding::ok("kafka.cleanup", on, format!("keeps {}", source_kept(facts)))]
}

/// A number among the topic's settings.
fn number(facts: &KafkaFacts, setting: &str) -> Option<i64> {
    facts.settings.as_ref().ok()?.get(setting)?.parse().ok()
}

fn source_kept(facts: &KafkaFacts) -> String {
    let ms = number(facts, "retention.ms").unwrap_or(-1);
    let bytes = number(facts, "retention.bytes").unwrap_or(-1);
    kept(if ms < 0 { -1 } else { ms / MINUTE_MS }, if bytes < 0 { -1 } else { bytes >> 20 })
}

/// Whether the target keeps records at least as long as the source does.
pub(crate) fn retention(source: &KafkaFacts, target: &TopicFacts) -> Option<Finding> {
    if target.role != Role::Target {
        return None;
    }
    let value = target.policies.get("retention")?.as_ref().ok()?;
    let ms = number(source, "retention.ms")?;
    let (minutes, mib) = retention_of(value);
    if minutes == 0 || mib == 0 {
        // Told as an error of the topic.
        return None;
    }
    let (check, on) = ("pulsar.retention", subject(target));
    let is_shorter = minutes >= 0 && (ms < 0 || ms / MINUTE_MS > minutes);
    let by_size = mib >= 0 && number(source, "retention.bytes").unwrap_or(-1) < 0;
    if is_shorter || by_size {
        return Some(Finding::warning(
            check,
            on,
            format!("keeps {}, and its source, {}, {}", kept(minutes, mib), name(source), source_kept(source)),
            "Raise setup.retention_days (or setup.retention_gib) and run `bridgectl setup`, or have it so",
        ));
    }
    None
}

/// Whether every record that the source takes fits into the target.
pub(crate) fn largest_record(source: &KafkaFacts, target: &TopicFacts) -> Option<Finding> {
    let from = u64::try_from(number(source, "max.message.bytes")?).ok()?;
    let topics = target.policies.get("maxMessageSize").and_then(|told| told.as_ref().ok()?.as_u64());
    let to = [topics.filter(|bytes| *bytes > 0), target.max_message_bytes].into_iter().flatten().min()?;
    if target.role != Role::Target {
        return None;
    }
    let (check, on) = ("pulsar.max-message-size", subject(target));
    Some(if from > to {
        Finding::warning(
            check,
            on,
            format!(
                "takes {to} bytes, and {} up to {from}: larger records become dead letters, by their heads",
                name(source)
            ),
            "Raise maxMessageSize of the brokers (or the topic's own) above max.message.bytes, if such records come",
        )
    } else {
        Finding::ok(check, on, format!("takes records of {to} bytes"))
    })
}
