//! Queues: what the broker counts, beside what the target holds.

use bridge_common::config::Source;
use bridge_common::management::Management;
use serde_json::{Value, json};

use super::desk::{Desk, UnreadableKind};
use super::keys::Tally;

/// One source that cannot be read twice.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) tally: Tally,
    /// What RabbitMQ says of it; where it says nothing, why.
    pub(crate) broker: Result<Broker, String>,
}

/// RabbitMQ's own counters. Those of messages since its statistics began: they do not survive a restart of the node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Broker {
    pub(crate) ready: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) published: Option<u64>,
    pub(crate) acknowledged: Option<u64>,
    pub(crate) redelivered: Option<u64>,
}

/// Asks RabbitMQ about every queue. What it does not say is part of the report.
pub(crate) async fn look(desk: &Desk, tallies: &[Tally]) -> Vec<Queue> {
    let has_rabbit = desk.config.source.values().any(|source| matches!(source, Source::Rabbitmq(_)));
    let management = has_rabbit.then(|| Management::new(&desk.config.rabbitmq));
    let mut queues = Vec::new();
    for (source, tally) in desk.unreadable.iter().zip(tallies) {
        let broker = match (&management, source.kind) {
            (Some(Ok(management)), UnreadableKind::Queue | UnreadableKind::Stream) => {
                ask(management, &source.name).await
            }
            (Some(Err(problem)), UnreadableKind::Queue | UnreadableKind::Stream) => Err(problem.clone()),
            _ => Err("it is polled: there is no queue".to_owned()),
        };
        queues.push(Queue { name: source.name.clone(), tally: *tally, broker });
    }
    queues
}

async fn ask(management: &Management, queue: &str) -> Result<Broker, String> {
    let found = management.get("queues", &[queue]).await?.ok_or_else(|| "there is no such queue".to_owned())?;
    let number = |name: &str| found[name].as_u64();
    let counted = |name: &str| found["message_stats"][name].as_u64();
    Ok(Broker {
        ready: number("messages_ready").unwrap_or_default(),
        unacknowledged: number("messages_unacknowledged").unwrap_or_default(),
        published: counted("publish"),
        acknowledged: counted("ack"),
        redelivered: counted("redeliver"),
    })
}

impl Queue {
    pub(crate) fn text(&self) -> String {
        let Tally { messages, dead_letters, without_key, doubled } = self.tally;
        let said = match &self.broker {
            Ok(broker) => {
                let or_unknown =
                    |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
                format!(
                    "the broker: {} published, {} acknowledged, {} redelivered since it counts; {} ready, {} unacknowledged",
                    or_unknown(broker.published),
                    or_unknown(broker.acknowledged),
                    or_unknown(broker.redelivered),
                    broker.ready,
                    broker.unacknowledged
                )
            }
            Err(problem) => format!("the broker: {problem}"),
        };
        format!(
            "{}: {messages} messages in the range ({dead_letters} dead letters, {without_key} without a key), {doubled} doubled; {said}",
            self.name
        )
    }

    pub(crate) fn json(&self) -> Value {
        let broker = match &self.broker {
            Ok(broker) => json!({
                "ready": broker.ready, "unacknowledged": broker.unacknowledged, "published": broker.published,
                "acknowledged": broker.acknowledged, "redelivered": broker.redelivered,
            }),
            Err(problem) => json!({"problem": problem}),
        };
        let Tally { messages, dead_letters, without_key, doubled } = self.tally;
        json!({
            "name": self.name, "messages": messages, "dead_letters": dead_letters, "without_key": without_key,
            "doubled": doubled, "broker": broker,
        })
    }
}
