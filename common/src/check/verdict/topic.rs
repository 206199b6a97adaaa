//! Pulsar's topics: what their policies would do to records that are there, and to a bridge that writes.

use serde_json::Value;

use super::super::facts::{PulsarFacts, Role, TopicFacts};
use super::super::finding::Finding;
use crate::config::PulsarSection;

/// What the configuration wants of the topics.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    /// The stream, for the advice.
    pub stream: String,
    /// False with `target.guarantee = "at-least-once"`.
    pub exactly_once: bool,
    /// True with `target.deduplication = "asserted"`.
    pub asserted: bool,
    /// `setup.partitions`
    pub partitions: u32,
    /// The source partitions of all sources, where they are known.
    pub source_partitions: Option<u32>,
    /// How long the namespaces are to keep what is in them, -1 for ever; `None`: that is not wanted.
    pub namespace_retention_days: Option<i32>,
}

impl Wants {
    pub(super) fn setup(&self) -> String {
        format!("Run `bridgectl setup {}`", self.stream)
    }
}

/// Judges whether Pulsar answers, over both protocols.
pub(crate) fn servers(section: &PulsarSection, facts: &PulsarFacts) -> Vec<Finding> {
    let (on, admin_on) = (format!("Pulsar {}", section.url), format!("Pulsar admin API {}", section.admin_url));
    let binary = match &facts.binary {
        Some(Ok(())) => Finding::ok("pulsar.reachable", on, "answers"),
        Some(Err(why)) => Finding::error("pulsar.reachable", on, format!("does not let us in: {why}"), ""),
        None => Finding::untold("pulsar.reachable", on, "it was not asked"),
    };
    let admin = match &facts.admin {
        Some(Ok(())) => Finding::ok("pulsar.admin", admin_on, "answers"),
        // Without it a bridge that must ask for deduplication waits for ever.
        Some(Err(why)) => Finding::error("pulsar.admin", admin_on, format!("does not answer us: {why}"), ""),
        None => {
            let why = "pulsar.admin_url is empty: topics, policies and schemas are not looked at";
            Finding::untold("pulsar.admin", "Pulsar admin API", why)
        }
    };
    vec![binary, admin]
}

/// The name of a topic in findings.
pub(crate) fn subject(facts: &TopicFacts) -> String {
    facts.topic.to_string()
}

/// Judges one topic.
pub(crate) fn topic(facts: &TopicFacts, wants: &Wants) -> Vec<Finding> {
    let on = subject(facts);
    let partitions = match &facts.partitions {
        Ok(Some(partitions)) => *partitions,
        Ok(None) => {
            let found = "does not exist";
            return vec![Finding::error("pulsar.topic", on, found, wants.setup() + ", or correct the configuration")];
        }
        Err(why) => {
            let asserted = wants.asserted.then(|| deduplication(facts, wants));
            return [Finding::untold("pulsar.topic", on, why)].into_iter().chain(asserted).collect();
        }
    };
    let mut found = vec![of_partitions(facts, partitions, wants)];
    found.push(deduplication(facts, wants));
    found.extend(rights(facts));
    let before = found.len();
    let policies = facts.policies.iter().filter_map(|(name, value)| Some((*name, value.as_ref().ok()?)));
    for (name, value) in policies {
        found.extend(policy(facts, name, value, partitions, wants));
    }
    found[before..].sort_by_key(|finding| finding.check);
    found.extend(untold_policies(facts));
    found
}

fn of_partitions(facts: &TopicFacts, partitions: u32, wants: &Wants) -> Finding {
    let (check, on) = ("pulsar.partitions", subject(facts));
    match (facts.role, partitions, wants.source_partitions) {
        (Role::Target, 0, _) => Finding::ok(check, on, "not partitioned"),
        (Role::Target, there, _) if there != wants.partitions => Finding::warning(
            check,
            on,
            format!("has {there} partitions, where setup.partitions is {}", wants.partitions),
            "It works as it is: set setup.partitions to what is there, or choose another topic; a count is never changed",
        ),
        (Role::Target, there, Some(source)) if there < source => {
            Finding::ok(check, on, format!("{there} partitions, shared by {source} source partitions"))
        }
        (Role::Target, there, _) => Finding::ok(check, on, format!("{there} partitions")),
        (_, 0, _) => Finding::ok(check, on, "not partitioned"),
        (_, there, _) => Finding::error(
            check,
            on,
            format!(
                "has {there} partitions, and must not be partitioned: a bridge writes to the topic of this name alone"
            ),
            "Delete it while no bridge has used it, and run `bridgectl setup` again",
        ),
    }
}

fn deduplication(facts: &TopicFacts, wants: &Wants) -> Finding {
    let (check, on) = ("pulsar.deduplication", subject(facts));
    match &facts.deduplicates {
        Ok(true) if wants.asserted => Finding::warning(
            check,
            on,
            "deduplicates now, but target.deduplication = \"asserted\": a bridge does not ask when it starts",
            "Set \"required\" where the bridge may use the admin API",
        ),
        Ok(true) => Finding::ok(check, on, "deduplicates"),
        Ok(false) if wants.exactly_once => {
            let advice = wants.setup() + ", or write target.guarantee = \"at-least-once\"";
            Finding::error(check, on, "has no deduplication: records could be doubled", advice)
        }
        Ok(false) => Finding::warning(check, on, "has no deduplication, and at-least-once is what is wanted", ""),
        Err(why) if wants.asserted => Finding::warning(
            check,
            on,
            format!("is said to deduplicate (target.deduplication = \"asserted\"), which cannot be told: {why}"),
            "Have whoever runs Pulsar check it",
        ),
        Err(why) => Finding::untold(check, on, why),
    }
}

fn rights(facts: &TopicFacts) -> Vec<Finding> {
    let (check, on) = ("pulsar.rights", subject(facts));
    let mut found = Vec::new();
    for (right, told) in [("written", &facts.may_produce), ("read", &facts.may_consume)] {
        match told {
            Some(Ok(())) => found.push(Finding::ok(check, &on, format!("may be {right}"))),
            Some(Err(why)) => found.push(Finding::error(
                check,
                &on,
                format!("cannot be {right}: {why}"),
                "Grant the role produce and consume rights, or see to what the broker says",
            )),
            None => {
                let why = "it is not known to exist, and trying could create it";
                found.push(Finding::untold(check, &on, format!("whether it may be {right}: {why}")));
            }
        }
    }
    found
}

fn untold_policies(facts: &TopicFacts) -> Option<Finding> {
    let untold: Vec<_> = facts.policies.iter().filter_map(|(name, told)| Some((*name, told.as_ref().err()?))).collect();
    let (_, why) = untold.first()?;
    let names: Vec<_> = untold.iter().map(|(name, _)| *name).collect();
    Some(Finding::untold("pulsar.policies", subject(facts), format!("{}: {why}", names.join(", "))))
}

fn policy(facts: &TopicFacts, name: &str, value: &Value, partitions: u32, wants: &Wants) -> Option<Finding> {
    let on = subject(facts);
    match name {
        "retention" => Some(retention(facts, value, wants)),
        "backlogQuotaMap" => Some(backlog_quota(&on, value)),
        "messageTTL" => Some(ttl(facts, value)),
        "inactiveTopicPolicies" => Some(inactive(facts, value, wants)),
        "maxProducers" => max_producers(facts, value, partitions, wants),
        "publishRate" => publish_rate(&on, "the topic", value),
        "compactionThreshold" if facts.role == Role::Checkpoints => Some(compaction(&on, value, wants)),
        _ => None,
    }
}

/// A retention, in minutes and MiB; -1: no limit. (0, 0): what no subscription holds is deleted.
pub(crate) fn retention_of(value: &Value) -> (i64, i64) {
    let part = |name: &str| value[name].as_i64().unwrap_or(0);
    (part("retentionTimeInMinutes"), part("retentionSizeInMB"))
}

fn retention(facts: &TopicFacts, value: &Value, wants: &Wants) -> Finding {
    let (check, on) = ("pulsar.retention", subject(facts));
    let (minutes, mib) = retention_of(value);
    let forever = minutes < 0 && mib < 0;
    match facts.role {
        _ if minutes == 0 || mib == 0 => Finding::error(
            check,
            on,
            "has no retention: what no subscription holds is deleted, and a bridge reads back what it has stored",
            wants.setup(),
        ),
        Role::Checkpoints if !forever => Finding::error(
            check,
            on,
            format!("keeps {}: checkpoints must never be deleted", kept(minutes, mib)),
            wants.setup(),
        ),
        _ => Finding::ok(check, on, format!("keeps {}", kept(minutes, mib))),
    }
}

/// A retention in words.
pub(crate) fn kept(minutes: i64, mib: i64) -> String {
    let time = match minutes {
        ..0 => "for ever".to_owned(),
        _ if minutes % 1440 == 0 => format!("{} days", minutes / 1440),
        _ if minutes % 60 == 0 => format!("{} h", minutes / 60),
        _ => format!("{minutes} min"),
    };
    if mib < 0 { time } else { format!("{time}, and {mib} MiB at most") }
}

fn backlog_quota(on: &str, quotas: &Value) -> Finding {
    let check = "pulsar.backlog-quota";
    let limited = quotas.as_object().into_iter().flatten().map(|(_, quota)| quota).find(|quota| {
        let limit = quota["limitSize"].as_i64().or(quota["limit"].as_i64()).unwrap_or(-1);
        limit >= 0 || quota["limitTime"].as_i64().unwrap_or(-1) >= 0
    });
    let Some(quota) = limited else { return Finding::ok(check, on, "no backlog quota") };
    let bytes = quota["limitSize"].as_i64().or(quota["limit"].as_i64()).unwrap_or(-1);
    let limit = match bytes {
        0.. => format!("{} MiB", bytes >> 20),
        _ => format!("{} s", quota["limitTime"]),
    };
    match quota["policy"].as_str() {
        Some("consumer_backlog_eviction") => Finding::error(
            check,
            on,
            format!(
                "evicts the backlog of consumers above {limit} (consumer_backlog_eviction): they lose records unread"
            ),
            "Set the policy producer_request_hold, or take the quota away",
        ),
        _ => Finding::ok(check, on, format!("a consumer's backlog of {limit} makes the bridge wait")),
    }
}

fn ttl(facts: &TopicFacts, value: &Value) -> Finding {
    let (check, on) = ("pulsar.ttl", subject(facts));
    match value.as_i64() {
        Some(seconds) if seconds > 0 => Finding::warning(
            check,
            on,
            format!("has a time to live of {seconds} s: what a consumer has not read by then counts as read"),
            "Take messageTTLInSeconds away, or make sure that no consumer is ever that late",
        ),
        _ => Finding::ok(check, on, "no time to live"),
    }
}

fn inactive(facts: &TopicFacts, value: &Value, wants: &Wants) -> Finding {
    let (check, on) = ("pulsar.inactive-topics", subject(facts));
    let kept_for_ever = facts.policies.get("retention").and_then(|told| told.as_ref().ok()).map(retention_of);
    match value["deleteWhileInactive"].as_bool() {
        Some(true) if kept_for_ever.is_some_and(|(minutes, _)| minutes < 0) => {
            Finding::ok(check, on, "kept while it is not in use, by its retention")
        }
        Some(true) => Finding::error(
            check,
            on,
            "is deleted when it was not in use for some time, and with it all that deduplication remembers",
            wants.setup(),
        ),
        _ => Finding::ok(check, on, "kept while it is not in use"),
    }
}

/// Every source partition holds a producer on each partition of the target, and on the topics of the bridge itself.
fn max_producers(facts: &TopicFacts, value: &Value, partitions: u32, wants: &Wants) -> Option<Finding> {
    let (check, on) = ("pulsar.max-producers", subject(facts));
    let limit = value.as_i64().filter(|limit| *limit > 0)?;
    let each = if partitions > 1 { " on each partition" } else { "" };
    let found = format!("takes {limit} producers{each}");
    Some(match wants.source_partitions.map(i64::from) {
        Some(needed) if needed >= limit => Finding::error(
            check,
            on,
            format!("{found}, and the bridge needs one for each of {needed} source partitions, and another to repair"),
            "Raise maxProducersPerTopic",
        ),
        Some(_) => Finding::ok(check, on, found),
        None => Finding::untold(check, on, format!("{found}; how many the bridge needs is not known")),
    })
}

/// Judges a publish rate, of a topic or of each topic in a namespace.
pub(super) fn publish_rate(on: &str, whose: &str, value: &Value) -> Option<Finding> {
    let part = |name: &str| value[name].as_i64().filter(|rate| *rate > 0);
    let limit = match (part("publishThrottlingRateInMsg"), part("publishThrottlingRateInByte")) {
        (None, None) => return None,
        (Some(messages), None) => format!("{messages} messages/s"),
        (None, Some(bytes)) => format!("{bytes} bytes/s"),
        (Some(messages), Some(bytes)) => format!("{messages} messages/s and {bytes} bytes/s"),
    };
    Some(Finding::warning(
        "pulsar.publish-rate",
        on,
        format!("{whose} is limited to {limit}: when the source brings more, the lag grows"),
        "Raise the publish rate above the source's peaks, or take it away",
    ))
}

fn compaction(on: &str, value: &Value, wants: &Wants) -> Finding {
    match value.as_i64() {
        Some(bytes) if bytes > 0 => {
            Finding::ok("pulsar.compaction", on, format!("compacted above {} MiB", (bytes >> 20).max(1)))
        }
        _ => Finding::warning(
            "pulsar.compaction",
            on,
            "is never compacted: it grows, and every start reads more of it",
            wants.setup(),
        ),
    }
}
