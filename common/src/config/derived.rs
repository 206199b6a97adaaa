//! What follows from a configuration as a whole.

use super::*;

impl Config {
    /// The topic of the dead letters: `dead_letters.topic`, or the target's name with `-dead-letters`.
    pub fn dead_letter_topic(&self) -> TopicName {
        let named = self.dead_letters.topic.clone();
        named.unwrap_or_else(|| self.target.topic.sibling(&format!("{}-dead-letters", self.target.topic.name)))
    }

    /// The topic of the checkpoints: one per namespace, beside the target.
    pub fn checkpoint_topic(&self) -> TopicName {
        self.target.topic.sibling("bridge-checkpoints")
    }

    /// The topic of the operations log: `fleet.operations_topic`, or `bridge-operations` beside the target.
    pub fn operations_topic(&self) -> TopicName {
        self.fleet.operations_topic.clone().unwrap_or_else(|| self.target.topic.sibling("bridge-operations"))
    }

    /// Where this bridge's HTTP is: `fleet.url`, or `http.listen`. One URL may stand for several replicas.
    pub fn fleet_urls(&self) -> Vec<String> {
        match self.fleet.url.as_slice() {
            [] => vec![format!("http://{}", self.http.listen)],
            urls => urls.to_vec(),
        }
    }

    /// Whether what is published has a schema; values that are passed as bytes have none.
    pub fn has_schema(&self) -> bool {
        self.source.values().any(|source| source.format() != Format::Bytes)
    }

    /// Whether values keep the schemas that they were written under, each a version of the target's.
    pub fn is_mirror(&self) -> bool {
        self.contract.mode == ContractMode::Mirror
    }

    /// How the broker is to check new versions of the target's schema.
    pub fn schema_compatibility(&self) -> SchemaCompatibility {
        let usual =
            if self.is_mirror() { SchemaCompatibility::AlwaysCompatible } else { SchemaCompatibility::default() };
        self.setup.schema_compatibility.unwrap_or(usual)
    }

    /// Whether what is published is under the contract.
    pub fn has_contract(&self) -> bool {
        self.has_schema() && !self.is_mirror()
    }

    /// The name of the Kafka group and the client id of this stream.
    pub fn group(&self) -> String {
        format!("bridge-{}", self.stream.name)
    }

    /// The name of the Kafka group of a source: a new generation is a new group.
    pub fn group_of(&self, source: &KafkaSource) -> String {
        match source.generation {
            0 => self.group(),
            generation => format!("{}-g{generation}", self.group()),
        }
    }

    /// The name of the static member that reads a source, where `kafka.instance_id` makes it one: all sources of a bridge are
    /// members of one group, which fences whoever comes second under a name. No source has a '.' in its own.
    pub fn member_of(&self, source: &str) -> Option<String> {
        self.kafka.instance_id.as_ref().map(|instance| format!("{instance}.{source}"))
    }
}
