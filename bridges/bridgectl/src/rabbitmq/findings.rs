//! What is wrong with a queue that is there already.

use bridge_common::config::{QueueType, major_version};
use serde_json::Value;

use super::plan::kind_name;
use super::wanted::WantedQueue;

/// Everything about the queue by which events would be lost, or two consumers have it. `there` is the queue as the
/// management API shows it, policies included.
pub(super) fn of_queue(queue: &str, want: &WantedQueue, there: &Value, version: &str) -> Vec<String> {
    let mut found = Vec::new();
    let kind = there["type"].as_str().unwrap_or("classic");
    if kind != kind_name(want.kind) {
        found
            .push(format!("queue {queue} is of the type {kind}: set queue_type = \"{kind}\", or choose another queue"));
        return found;
    }
    if there["durable"] != true {
        found.push(format!("queue {queue} is not durable: a restart of RabbitMQ deletes it with all its messages"));
    }
    if want.kind == QueueType::Stream {
        return found;
    }
    if there["arguments"]["x-single-active-consumer"] != true {
        found.push(format!(
            "queue {queue} has no x-single-active-consumer: any other consumer takes events away from the bridge. It \
             cannot be added: make another queue, or delete this one when it is empty"
        ));
    }
    if want.declare {
        found.extend(other_arguments(queue, want, there));
    }
    found.extend(losses(queue, there, version));
    found
}

fn other_arguments(queue: &str, want: &WantedQueue, there: &Value) -> Option<String> {
    (there["arguments"] != want.arguments).then(|| {
        format!(
            "queue {queue} was declared with {}, where the configuration wants {}: it is used as it is; adapt \
             source.<name>.arguments, or delete the queue when it is empty",
            there["arguments"], want.arguments
        )
    })
}

/// What makes the queue drop messages. A policy's value holds where the queue has none; of two numbers the smaller one.
fn losses(queue: &str, there: &Value, version: &str) -> Vec<String> {
    let mut found = Vec::new();
    let setting = |name: &str| {
        let argument = there["arguments"][format!("x-{name}")].clone();
        let policy = there["effective_policy_definition"][name].clone();
        match (argument.as_i64(), policy.as_i64()) {
            (Some(argument), Some(policy)) => Some(Value::from(argument.min(policy))),
            _ => [argument, policy].into_iter().find(|value| !value.is_null()),
        }
    };
    let dead_letters = setting("dead-letter-exchange").is_some();
    let dropped = if dead_letters { "leave it for its dead-letter exchange" } else { "are dropped" };
    if there["type"] == "quorum" {
        found.extend(delivery_limit(
            queue,
            setting("delivery-limit").and_then(|limit| limit.as_i64()),
            version,
            dropped,
        ));
    }
    if let Some(ms) = setting("expires") {
        found.push(format!("queue {queue} has expires = {ms} ms: it is deleted while the bridge is down that long"));
    }
    if dead_letters {
        return found;
    }
    if let Some(ms) = setting("message-ttl") {
        found.push(format!(
            "queue {queue} has message-ttl = {ms} ms and no dead-letter exchange: events {dropped} when the bridge lags \
             that long"
        ));
    }
    for name in ["max-length", "max-length-bytes"] {
        if let Some(limit) = setting(name) {
            found.push(format!(
                "queue {queue} has {name} = {limit} and no dead-letter exchange: events {dropped} (or refused) when it \
                 is full"
            ));
        }
    }
    found
}

fn delivery_limit(queue: &str, limit: Option<i64>, version: &str, dropped: &str) -> Option<String> {
    let since_4 = major_version(version) >= 4;
    match limit {
        None if since_4 => Some(format!(
            "queue {queue} has RabbitMQ's own delivery limit of 20: events {dropped} after so many restarts of the \
             bridge. Set the policy delivery-limit = -1"
        )),
        Some(-1) if !since_4 => Some(format!(
            "queue {queue} has delivery-limit = -1, which RabbitMQ {version} takes for \"none at all\": events {dropped} \
             after one redelivery. Take the limit away"
        )),
        Some(limit) if limit >= 0 => Some(format!(
            "queue {queue} has delivery-limit = {limit}: events {dropped} after so many redeliveries. Take it away, or \
             set -1 on RabbitMQ 4 and later"
        )),
        _ => None,
    }
}
