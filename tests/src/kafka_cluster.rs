//! The Kafka cluster of three in a test's hands: which nodes lead, and whether all is well.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::stack::Stack;
use crate::{Result, wait};

/// Its nodes, as the stack calls them.
pub const NODES: [&str; 3] = ["kafka1", "kafka2", "kafka3"];

/// The servers that a test of the cluster needs.
pub fn servers() -> Vec<&'static str> {
    [NODES.as_slice(), &["pulsar"]].concat()
}

/// The cluster of a stack.
#[derive(Debug)]
pub struct KafkaCluster<'s> {
    stack: &'s Stack,
}

impl<'s> KafkaCluster<'s> {
    /// Of this stack, which has it up.
    pub fn of(stack: &'s Stack) -> Self {
        Self { stack }
    }

    /// Waits until every node can be seen by all, and every partition of the topic has a leader and so many copies in sync.
    pub async fn healed(&self, topic: &str, in_sync: usize) -> Result<()> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.stack.kafka_cluster()).create()?;
        wait::until("the cluster to heal", Duration::from_secs(120), async || {
            tokio::task::block_in_place(|| {
                let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5));
                let metadata = metadata.map_err(|error| error.to_string())?;
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                let sick = partitions.filter(|one| one.leader() < 0 || one.isr().len() < in_sync).count();
                let nodes = metadata.brokers().len();
                if sick == 0 && nodes == NODES.len() {
                    Ok(())
                } else {
                    Err(format!("{nodes} nodes, {sick} partitions"))
                }
            })
        })
        .await
    }

    /// The node that leads each partition, by the nodes' numbers (from 1); -1 where none does.
    pub fn leaders(&self, topic: &str) -> Result<Vec<i32>> {
        Ok(self.nodes(topic)?.into_iter().map(|(_, leader, _)| leader).collect())
    }

    /// Each partition with its leader and with the node that should be.
    fn nodes(&self, topic: &str) -> Result<Vec<(i32, i32, i32)>> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.stack.kafka_cluster()).create()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut nodes: Vec<(i32, i32, i32)> =
            partitions.map(|one| (one.id(), one.leader(), one.replicas().first().copied().unwrap_or(-1))).collect();
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// Waits until each partition is led by the node that should: the stack has those elected again soon after they are back.
    pub async fn led_as_preferred(&self, topic: &str) -> Result<()> {
        wait::until("the leaders to move back", Duration::from_secs(120), async || {
            match tokio::task::block_in_place(|| self.nodes(topic)) {
                Ok(nodes) if nodes.iter().all(|(_, leader, preferred)| leader == preferred) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }
}
