//! The Kafka cluster of three in a test's hands: which node leads, moving leaders by Kafka's own tools.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::stack::{Stack, unique};
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
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.stack.kafka_cluster()).create()?;
        wait::until("the cluster to heal", Duration::from_secs(120), async || {
            tokio::task::block_in_place(|| {
                let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5));
                let metadata = metadata.map_err(|error| error.to_string())?;
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                let sick = partitions.filter(|one| one.leader() < 0 || one.isr().len() < in_sync).count();
                let nodes = metadata.brokers().len();
                if sick == 0 && nodes == NODES.len() { Ok(()) } else { Err(format!("{nodes} nodes, {sick} partitions")) }
            })
        })
        .await
    }

    /// The node that leads each partition, by the nodes' numbers (from 1); -1 where none does.
    pub fn leaders(&self, topic: &str) -> Result<Vec<i32>> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.stack.kafka_cluster()).create()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let mut leaders: Vec<(i32, i32)> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| (partition.id(), partition.leader()))
            .collect();
        leaders.sort_unstable();
        Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
    }

    /// Gives each partition the next node as its preferred leader, and has the preferred ones elected.
    pub fn move_leaders(&self, topic: &str) -> Result<()> {
        let leaders = self.leaders(topic)?;
        let replicas = |leader: i32| [leader % 3 + 1, (leader + 1) % 3 + 1, (leader + 2) % 3 + 1];
        let plan: Vec<_> = leaders
            .iter()
            .enumerate()
            .map(|(partition, leader)| {
                serde_json::json!({"topic": topic, "partition": partition, "replicas": replicas(*leader)})
            })
            .collect();
        let file = self.file(&serde_json::json!({"version": 1, "partitions": plan}).to_string())?;
        let path = file.display().to_string();
        let reassign = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
        self.tool(reassign, &["--reassignment-json-file", &path, "--execute"])?;
        let elect = "org.apache.kafka.tools.LeaderElectionCommand";
        self.tool(elect, &["--election-type", "preferred", "--path-to-json-file", &path])?;
        Ok(std::fs::remove_file(file)?)
    }

    fn file(&self, text: &str) -> Result<PathBuf> {
        let file = std::env::temp_dir().join(unique("kafka-plan")).with_extension("json");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Runs one of Kafka's tools.
    fn tool(&self, class: &str, arguments: &[&str]) -> Result<()> {
        let jars = self.stack.home("kafka")?.join("libs/*");
        let output = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .arg(jars)
            .arg(class)
            .args(["--bootstrap-server", self.stack.kafka_cluster()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{class}: {}\n{}", output.status, String::from_utf8_lossy(&said)).into())
    }
}
