//! What is wrong with a RabbitMQ queue that is there.

use serde_json::Value;

use super::super::finding::Finding;
use crate::config::{BindSection, QueueType, major_version};

/// What a stream's configuration wants of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedQueue {
    /// The type.
    pub kind: QueueType,
    /// False: somebody else makes it.
    pub declare: bool,
    /// The arguments with which it would be declared.
    pub arguments: Value,
    /// What is bound to it.
    pub bindings: Vec<BindSection>,
}

/// Everything about the queue by which events would be lost, or two consumers have it. `there` is the queue as the
/// management API shows it, policies included.
pub fn problems(queue: &str, want: &WantedQueue, there: &Value, version: &str) -> Vec<Finding> {
    let on = format!("queue {queue}");
    let mut found = Vec::new();
    let kind = there["type"].as_str().unwrap_or("classic");
    if kind != want.kind.name() {
        let advice = format!("Set queue_type = \"{kind}\", or choose another queue");
        found.push(Finding::error("rabbitmq.queue-type", on, format!("is of the type {kind}"), advice));
        return found;
    }
    if there["durable"] != true {
        let what = "is not durable: a restart of RabbitMQ deletes it with all its messages";
        found.push(Finding::error("rabbitmq.durable", &on, what, "Make another one, or delete it when it is empty"));
    }
    if want.kind == QueueType::Stream {
        return found;
    }
    if there["arguments"]["x-single-active-consumer"] != true {
        found.push(Finding::error(
            "rabbitmq.single-active-consumer",
            &on,
            "has no x-single-active-consumer: any other consumer takes events away from the bridge",
            "It cannot be added: make another queue, or delete this one when it is empty",
        ));
    }
    if want.declare && there["arguments"] != want.arguments {
        found.push(Finding::warning(
            "rabbitmq.arguments",
            &on,
            format!(
                "was declared with {}, where the configuration wants {}: it is used as it is",
                there["arguments"], want.arguments
            ),
            "Adapt source.<name>.arguments, or delete the queue when it is empty",
        ));
    }
    found.extend(losses(&on, there, version));
    found
}

/// A setting of a queue: its argument, or its policy's value (an operator policy's too) where it has none; of two numbers the
/// smaller one.
pub(crate) fn setting(there: &Value, name: &str) -> Option<Value> {
    let argument = there["arguments"][format!("x-{name}")].clone();
    let policy = there["effective_policy_definition"][name].clone();
    match (argument.as_i64(), policy.as_i64()) {
        // -1 is no limit at all, to RabbitMQ 4: then the other one holds.
        (Some(argument), Some(policy)) if argument < 0 || policy < 0 => Some(Value::from(argument.max(policy))),
        (Some(argument), Some(policy)) => Some(Value::from(argument.min(policy))),
        _ => [argument, policy].into_iter().find(|value| !value.is_null()),
    }
}

/// What makes the queue drop messages.
fn losses(on: &str, there: &Value, version: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let has_dead_letters = setting(there, "dead-letter-exchange").is_some();
    let dropped = if has_dead_letters { "leave it for its dead-letter exchange" } else { "are dropped" };
    if there["type"] == "quorum" {
        let limit = setting(there, "delivery-limit").and_then(|limit| limit.as_i64());
        found.extend(delivery_limit(on, limit, version, dropped));
    }
    if let Some(ms) = setting(there, "expires") {
        let what = format!("has expires = {ms} ms: it is deleted while the bridge is down that long");
        found.push(Finding::error("rabbitmq.expires", on, what, "Take it away"));
    }
    if has_dead_letters {
        return found;
    }
    if let Some(ms) = setting(there, "message-ttl") {
        found.push(Finding::error(
            "rabbitmq.message-ttl",
            on,
            format!(
                "has message-ttl = {ms} ms and no dead-letter exchange: events {dropped} when the bridge lags that long"
            ),
            "Take it away, or give the queue a dead-letter exchange",
        ));
    }
    for (check, name) in [("rabbitmq.max-length", "max-length"), ("rabbitmq.max-length-bytes", "max-length-bytes")] {
        if let Some(limit) = setting(there, name) {
            found.push(Finding::error(
                check,
                on,
                format!(
                    "has {name} = {limit} and no dead-letter exchange: events {dropped} (or refused) when it is full"
                ),
                "Take it away, or give the queue a dead-letter exchange",
            ));
        }
    }
    found
}

fn delivery_limit(on: &str, limit: Option<i64>, version: &str, dropped: &str) -> Option<Finding> {
    let check = "rabbitmq.delivery-limit";
    let since_4 = major_version(version) >= 4;
    match limit {
        None if since_4 => Some(Finding::error(
            check,
            on,
            format!("has RabbitMQ's own delivery limit of 20: events {dropped} after so many restarts of the bridge"),
            "Set the policy delivery-limit = -1",
        )),
        Some(-1) if !since_4 => Some(Finding::error(
            check,
            on,
            format!(
                "has delivery-limit = -1, which RabbitMQ {version} takes for \"none at all\": events {dropped} after one \
                 redelivery"
            ),
            "Take the limit away",
        )),
        Some(limit) if limit >= 0 => Some(Finding::error(
            check,
            on,
            format!("has delivery-limit = {limit}: events {dropped} after so many redeliveries"),
            "Take it away, or set -1 on RabbitMQ 4 and later",
        )),
        _ => None,
    }
}
