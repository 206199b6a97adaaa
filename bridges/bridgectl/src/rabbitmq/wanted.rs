//! What a stream's configuration wants to be there.

use std::collections::BTreeMap;

use bridge_common::config::{BindSection, QueueType, RabbitmqSource, UnroutableSection, queue_arguments};
use serde_json::{Value, json};

/// All that one stream needs in RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(super) queues: BTreeMap<String, WantedQueue>,
    pub(super) unroutable: Vec<UnroutableSection>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WantedQueue {
    pub(super) kind: QueueType,
    /// False: somebody else makes it.
    pub(super) declare: bool,
    pub(super) arguments: Value,
    pub(super) bindings: Vec<BindSection>,
}

/// Derives it from the sources and the exchanges with unroutable messages. What a queue's arguments are depends on the
/// server's version.
pub(crate) fn wanted<'a>(
    sources: impl IntoIterator<Item = &'a RabbitmqSource>,
    unroutable: &[UnroutableSection],
    version: &str,
) -> Wanted {
    let mut queues = BTreeMap::new();
    for source in sources {
        let arguments = queue_arguments(source.queue_type, &source.arguments, source.delivery_limit, version);
        for name in source.queue_names() {
            let (kind, declare, bindings) = (source.queue_type, source.declare, source.bind.clone());
            queues.insert(name.to_owned(), WantedQueue { kind, declare, arguments: json!(arguments), bindings });
        }
    }
    Wanted { queues, unroutable: unroutable.to_vec() }
}
