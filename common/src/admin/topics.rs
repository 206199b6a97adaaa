//! Topics, their policies and statistics.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, AdminError, existing_is_fine};
use crate::config::TopicName;

/// The policies of a topic that matter to a bridge. Set on the topic: other topics in its namespace are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicPolicy {
    /// `true`: the broker drops what it has stored already.
    Deduplication,
    /// `{"retentionTimeInMinutes", "retentionSizeInMB"}`, -1 for no limit.
    Retention,
    /// `{"inactiveTopicDeleteMode", "maxInactiveDurationSeconds", "deleteWhileInactive"}`
    InactiveTopics,
    /// Bytes of backlog above which the broker compacts by itself.
    CompactionThreshold,
    /// How new schema versions are checked, by [`crate::config::SchemaCompatibility::name`].
    SchemaCompatibility,
}

impl TopicPolicy {
    /// The policy's name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deduplication => "deduplicationEnabled",
            Self::Retention => "retention",
            Self::InactiveTopics => "inactiveTopicPolicies",
            Self::CompactionThreshold => "compactionThreshold",
            Self::SchemaCompatibility => "schemaCompatibilityStrategy",
        }
    }

    fn method(self) -> Method {
        if self == Self::SchemaCompatibility { Method::PUT } else { Method::POST }
    }
}

/// A producer that is connected to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Publisher {
    /// Its name.
    #[serde(rename = "producerName")]
    pub name: String,
    /// Where it is connected from.
    #[serde(default)]
    pub address: String,
    /// Since when.
    #[serde(default, rename = "connectedSince")]
    pub connected_since: String,
    /// What it calls itself.
    #[serde(default, rename = "clientVersion")]
    pub client_version: String,
}

impl std::fmt::Display for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, connected_since, client_version, .. } = self;
        write!(f, "{} ({client_version}), connected since {connected_since}", address.trim_start_matches('/'))
    }
}

impl Admin {
    /// The topic's partitions: `Some(0)` where it is not partitioned, `None` where there is no such topic.
    pub async fn partitions(&self, topic: &TopicName) -> Result<Option<u32>, AdminError> {
        #[derive(Deserialize)]
        struct Metadata {
            partitions: u32,
        }
        let found: Result<Metadata, _> = self.get(&format!("{}/partitions", topic_path(topic))).await;
        match found {
            Ok(Metadata { partitions: 0 }) => Ok(self.has_plain_topic(topic).await?.then_some(0)),
            Ok(Metadata { partitions }) => Ok(Some(partitions)),
            Err(AdminError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brokers answer "0 partitions" for topics that do not exist, too: the namespace's list tells.
    async fn has_plain_topic(&self, topic: &TopicName) -> Result<bool, AdminError> {
        let path = format!("persistent/{}/{}", topic.tenant, topic.namespace);
        let topics: Vec<String> = self.get(&path).await?;
        let name = topic.to_string();
        Ok(topics.contains(&name))
    }

    /// Creates a topic: partitioned, or with `None` a plain one. No error where it exists already.
    pub async fn create_topic(&self, topic: &TopicName, partitions: Option<u32>) -> Result<(), AdminError> {
        let path = topic_path(topic);
        existing_is_fine(match partitions {
            Some(count) => self.send(Method::PUT, &format!("{path}/partitions"), Some(&json!(count))).await,
            None => self.send(Method::PUT, &path, None).await,
        })
    }

    /// A policy as it is set on the topic itself; `None`: the namespace's or the broker's holds.
    pub async fn topic_policy(&self, topic: &TopicName, policy: TopicPolicy) -> Result<Option<Value>, AdminError> {
        let value: Option<Value> = self.get(&format!("{}/{}", topic_path(topic), policy.name())).await?;
        // "Nothing set" is said by this word where there is no null for it.
        Ok(value.filter(|value| value != "UNDEFINED"))
    }

    /// What holds for the topic, by the policy's name in the admin API: its own, else its namespace's, else the broker's.
    /// `Null` where nothing is set at all. Policies that know no `applied` are the topic's own.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn effective_policy(&self, topic: &TopicName, policy: &str) -> Result<Value, AdminError> {
        self.get(&format!("{}/{policy}?applied=true", topic_path(topic))).await
    }

    /// Sets a policy on the topic. Takes effect a moment later: brokers learn of it by a topic of their own.
    pub async fn set_topic_policy(
        &self,
        topic: &TopicName,
        policy: TopicPolicy,
        value: &Value,
    ) -> Result<(), AdminError> {
        let path = format!("{}/{}", topic_path(topic), policy.name());
        self.send(policy.method(), &path, Some(value)).await.map(drop)
    }

    /// Whether the broker really deduplicates on every partition of this topic, whichever policy says so: each follows a change
    /// of policy in its own time, and may fail to. Loads the topic.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where there is no such topic.
    pub async fn deduplicates(&self, topic: &TopicName) -> Result<bool, AdminError> {
        let path = topic_path(topic);
        let paths = match self.partitions(topic).await? {
            Some(count) if count > 0 => (0..count).map(|number| format!("{path}-partition-{number}")).collect(),
            _ => vec![path],
        };
        let (mut asked, mut missing) = (0, None);
        for path in &paths {
            // Without the list of those who publish, which may be long.
            match self.get::<Value>(&format!("{path}/stats?excludePublishers=true&excludeConsumers=true")).await {
                Ok(stats) if stats.get("deduplicationStatus").and_then(Value::as_str) == Some("Enabled") => asked += 1,
                Ok(_) => return Ok(false),
                // The broker makes a single partition that is missing, by the same policies, when somebody connects to it.
                Err(error @ AdminError::NotFound { .. }) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if asked == 0 => Err(error),
            _ => Ok(true),
        }
    }

    /// Who publishes to a topic partition under this name, if anybody does.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn publisher(&self, topic: &TopicName, name: &str) -> Result<Option<Publisher>, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            publishers: Vec<Publisher>,
        }
        let answer: Answer = self.get(&format!("{}/stats", topic_path(topic))).await?;
        Ok(answer.publishers.into_iter().find(|publisher| publisher.name == name))
    }

    /// The topic's statistics, those of all its partitions summed up where it has several.
    pub async fn stats(&self, topic: &TopicName) -> Result<Value, AdminError> {
        let partitioned = self.partitions(topic).await?.is_some_and(|count| count > 0);
        let kind = if partitioned { "partitioned-stats" } else { "stats" };
        self.get(&format!("{}/{kind}", topic_path(topic))).await
    }

    /// Asks for a compaction now. Returns before it is done.
    pub async fn compact(&self, topic: &TopicName) -> Result<(), AdminError> {
        self.send(Method::PUT, &format!("{}/compaction", topic_path(topic)), None).await.map(drop)
    }
}

fn topic_path(topic: &TopicName) -> String {
    format!("persistent/{}/{}/{}", topic.tenant, topic.namespace, topic.name)
}
