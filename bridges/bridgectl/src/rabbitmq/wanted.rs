//! What a stream's configuration wants to be there.

use std::collections::BTreeMap;

use bridge_common::check::{WantedQueue, wanted_queues};
use bridge_common::config::{RabbitmqSource, UnroutableSection};

/// All that one stream needs in RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(super) queues: BTreeMap<String, WantedQueue>,
    pub(super) unroutable: Vec<UnroutableSection>,
}

/// Derives it from the sources and the exchanges with unroutable messages. What a queue's arguments are depends on the
/// server's version.
pub(crate) fn wanted<'a>(
    sources: impl IntoIterator<Item = &'a RabbitmqSource>,
    unroutable: &[UnroutableSection],
    version: &str,
) -> Wanted {
    let queues = sources.into_iter().flat_map(|source| wanted_queues(source, version)).collect();
    Wanted { queues, unroutable: unroutable.to_vec() }
}
