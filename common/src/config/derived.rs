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

    /// The days that the namespaces of this stream's topics are to keep what is in them: as long as the target and the dead
    /// letters, whichever is kept longer, -1 for ever. `None`: that is not wanted.
    ///
    /// Checkpoints and the operations log, which are kept for ever, do not lengthen it: it is what remains when a topic's own
    /// retention is passed over for a moment, and checkpoints are written anew all the time.
    pub fn namespace_retention_days(&self) -> Option<i32> {
        let SetupSection { retention_days, dead_letters_retention_days, namespace_retention, .. } = &self.setup;
        let longest = match (*retention_days, *dead_letters_retention_days) {
            (target, dead_letters) if target < 0 || dead_letters < 0 => -1,
            (target, dead_letters) => target.max(dead_letters),
        };
        namespace_retention.then_some(longest)
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

    /// What this stream's clients are called in Kafka.
    pub fn client_id(&self) -> String {
        format!("bridge-{}", self.stream.name)
    }

    /// The name of the Kafka group of a source: a new generation is a new group.
    pub fn group_of(&self, source: &KafkaSource) -> String {
        let group = format!("{}{}", self.kafka.group_prefix, self.stream.name);
        match source.generation {
            0 => group,
            generation => format!("{group}-g{generation}"),
        }
    }

    /// The name of the static member that reads a source, where `kafka.instance_id` makes it one: all sources of a bridge are
    /// members of one group, which fences whoever comes second under a name. No source has a '.' in its own.
    pub fn member_of(&self, source: &str) -> Option<String> {
        self.kafka.instance_id.as_ref().map(|instance| format!("{instance}.{source}"))
    }
}
