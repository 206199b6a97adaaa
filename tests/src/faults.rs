//! Faults that a broker's administrator can cause, by Pulsar's admin API.

use reqwest::Method;
use serde_json::{Value, json};

use std::time::Duration;

use crate::http::{get, send};
use crate::{Result, wait};

/// Pulsar's admin API at an address.
#[derive(Debug, Clone)]
pub struct PulsarAdmin {
    url: String,
}

/// `persistent://tenant/namespace/name` as a path of the admin API.
fn path(topic: &str) -> String {
    topic.replacen("://", "/", 1)
}

impl PulsarAdmin {
    /// At `http://host:port`.
    pub fn at(url: &str) -> Self {
        Self { url: format!("{}/admin/v2", url.trim_end_matches('/')) }
    }

    /// Closes one topic partition on its broker; clients are told to look it up again.
    pub async fn unload(&self, topic: &str, partition: u32) -> Result<()> {
        let url = format!("{}/{}-partition-{partition}/unload", self.url, path(topic));
        send(Method::PUT, &url, &Value::Null).await.map(drop)
    }

    /// Closes a whole namespace bundle by bundle.
    pub async fn unload_namespace(&self, namespace: &str) -> Result<()> {
        send(Method::PUT, &format!("{}/namespaces/{namespace}/unload", self.url), &Value::Null).await.map(drop)
    }

    /// Creates a namespace, with or without deduplication.
    pub async fn create_namespace(&self, namespace: &str, deduplication: bool) -> Result<()> {
        let url = format!("{}/namespaces/{namespace}", self.url);
        send(Method::PUT, &url, &json!({})).await?;
        self.set_deduplication(namespace, deduplication).await
    }

    /// Turns deduplication of a namespace on or off.
    pub async fn set_deduplication(&self, namespace: &str, enabled: bool) -> Result<()> {
        let url = format!("{}/namespaces/{namespace}/deduplication", self.url);
        send(Method::POST, &url, &json!(enabled)).await.map(drop)
    }

    /// Turns deduplication of a topic on or off, whatever its namespace says.
    pub async fn set_topic_deduplication(&self, topic: &str, enabled: bool) -> Result<()> {
        let url = format!("{}/{}/deduplicationEnabled", self.url, path(topic));
        send(Method::POST, &url, &json!(enabled)).await.map(drop)
    }

    /// Turns deduplication of a topic on or off, and waits until the broker does so.
    pub async fn deduplicate(&self, topic: &str, enabled: bool) -> Result<()> {
        self.set_topic_deduplication(topic, enabled).await?;
        self.deduplicates(topic, enabled).await
    }

    /// Waits until the broker does, or does not, deduplicate on every partition of a topic.
    pub async fn deduplicates(&self, topic: &str, enabled: bool) -> Result<()> {
        let wanted = if enabled { "Enabled" } else { "Disabled" };
        let patience = Duration::from_secs(30);
        wait::until("deduplication to be as it was set", patience, async || match self.deduplication(topic).await {
            Ok(all) if all.iter().all(|(_, status)| status == wanted) => Ok(()),
            Ok(all) => Err(format!("{all:?}")),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// What the broker says of deduplication on each partition of a topic (or on a topic without), which loads it.
    pub async fn deduplication(&self, topic: &str) -> Result<Vec<(String, String)>> {
        let (_, body) = get(&format!("{}/{}/partitions", self.url, path(topic))).await?;
        let metadata: Value = serde_json::from_str(&body)?;
        let topics = match metadata["partitions"].as_u64().unwrap_or(0) {
            0 => vec![topic.to_owned()],
            partitions => (0..partitions).map(|partition| format!("{topic}-partition-{partition}")).collect(),
        };
        let mut found = Vec::new();
        for topic in topics {
            let (status, body) = get(&format!("{}/{}/stats", self.url, path(&topic))).await?;
            if status != 200 {
                return Err(format!("statistics of {topic}: {status} {body}").into());
            }
            let stats: Value = serde_json::from_str(&body)?;
            found.push((topic, stats["deduplicationStatus"].as_str().unwrap_or("?").to_owned()));
        }
        Ok(found)
    }

    /// Compacts a topic, and waits until that is done.
    pub async fn compact(&self, topic: &str) -> Result<()> {
        let url = format!("{}/{}/compaction", self.url, path(topic));
        send(Method::PUT, &url, &Value::Null).await?;
        wait::until("the topic to be compacted", Duration::from_secs(60), async || match get(&url).await {
            Ok((200, said)) if said.contains("SUCCESS") => Ok(()),
            Ok((status, said)) => Err(format!("{status}: {said}")),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Creates a partitioned topic.
    pub async fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        send(Method::PUT, &format!("{}/{}/partitions", self.url, path(topic)), &json!(partitions)).await.map(drop)
    }

    /// Gives a partitioned topic more partitions.
    pub async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let url = format!("{}/{}/partitions", self.url, path(topic));
        send(Method::POST, &url, &json!(partitions)).await.map(drop)
    }

    /// Deletes a partitioned topic with all that it holds.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let url = format!("{}/{}/partitions?force=true", self.url, path(topic));
        send(Method::DELETE, &url, &Value::Null).await.map(drop)
    }

    /// Deletes a topic without partitions, with all that it holds, under whoever uses it.
    pub async fn delete_plain_topic(&self, topic: &str) -> Result<()> {
        send(Method::DELETE, &format!("{}/{}?force=true", self.url, path(topic)), &Value::Null).await.map(drop)
    }

    /// Removes all messages of a topic partition (or a topic without partitions), and waits until they are gone. What
    /// the newest ledger holds stays, so that is closed before.
    pub async fn truncate(&self, topic: &str) -> Result<()> {
        let url = format!("{}/{}", self.url, path(topic));
        wait::until("a topic to be empty", Duration::from_secs(60), async || {
            let emptied = async {
                send(Method::PUT, &format!("{url}/unload"), &Value::Null).await?;
                // Loads it again, with a ledger of its own.
                get(&format!("{url}/stats")).await?;
                send(Method::DELETE, &format!("{url}/truncate"), &Value::Null).await?;
                let (_, body) = get(&format!("{url}/internalStats")).await?;
                let stats: Value = serde_json::from_str(&body)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(stats["numberOfEntries"].as_u64().unwrap_or(u64::MAX))
            };
            match emptied.await {
                Ok(0) => Ok(()),
                Ok(entries) => Err(format!("{entries} entries are left in {topic}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Has a topic keep nothing, whatever its namespace keeps.
    pub async fn keep_nothing(&self, topic: &str) -> Result<()> {
        let nothing = json!({ "retentionTimeInMinutes": 0, "retentionSizeInMB": 0 });
        send(Method::POST, &format!("{}/{}/retention", self.url, path(topic)), &nothing).await.map(drop)
    }

    /// Gives a topic an Avro schema.
    pub async fn set_schema(&self, topic: &str, avro: &str) -> Result<()> {
        let path = path(topic);
        let path = path.trim_start_matches("persistent/");
        let body = json!({"type": "AVRO", "schema": avro, "properties": {}});
        send(Method::POST, &format!("{}/schemas/{path}/schema", self.url), &body).await.map(drop)
    }

    /// The binary address of the broker that serves a topic partition.
    pub async fn owner(&self, topic_partition: &str) -> Result<String> {
        let url = self.url.replace("/admin/v2", "/lookup/v2/topic");
        let (status, body) = get(&format!("{url}/{}", path(topic_partition))).await?;
        if status != 200 {
            return Err(format!("the lookup of {topic_partition}: {status} {body}").into());
        }
        let found: Value = serde_json::from_str(&body)?;
        Ok(found["brokerUrl"].as_str().unwrap_or_default().to_owned())
    }

    /// Moves the bundle of a topic to the broker with this HTTP address (`http://host:port`).
    pub async fn move_bundle(&self, namespace: &str, topic_partition: &str, to: &str) -> Result<()> {
        let url = self.url.replace("/admin/v2", "/lookup/v2/topic");
        let (status, bundle) = get(&format!("{url}/{}/bundle", path(topic_partition))).await?;
        if status != 200 {
            return Err(format!("the bundle of {topic_partition}: {status} {bundle}").into());
        }
        let broker = to.trim_start_matches("http://");
        let url = format!("{}/namespaces/{namespace}/{}/unload?destinationBroker={broker}", self.url, bundle.trim());
        send(Method::PUT, &url, &Value::Null).await.map(drop)
    }

    /// Ends a topic partition for good: nothing can be added any more.
    pub async fn terminate(&self, topic_partition: &str) -> Result<()> {
        let url = format!("{}/{}/terminate", self.url, path(topic_partition));
        send(Method::POST, &url, &Value::Null).await.map(drop)
    }

    /// Deletes a topic without partitions, or one partition.
    pub async fn delete_partition(&self, topic_partition: &str) -> Result<()> {
        let url = format!("{}/{}?force=true", self.url, path(topic_partition));
        send(Method::DELETE, &url, &Value::Null).await.map(drop)
    }

    /// A subscription to all partitions that nobody consumes: a backlog.
    pub async fn subscribe(&self, topic: &str, subscription: &str) -> Result<()> {
        let url = format!("{}/{}/subscription/{subscription}", self.url, path(topic));
        send(Method::PUT, &url, &Value::Null).await.map(drop)
    }

    /// How large a backlog of the topics of a namespace may be, and what happens above.
    pub async fn set_backlog_quota(&self, namespace: &str, bytes: u64, policy: &str) -> Result<()> {
        let url = format!("{}/namespaces/{namespace}/backlogQuota?backlogQuotaType=destination_storage", self.url);
        send(Method::POST, &url, &json!({"limitSize": bytes, "policy": policy})).await.map(drop)
    }

    /// Messages a second that a topic's partitions take, each; -1 is any.
    pub async fn set_topic_publish_rate(&self, topic: &str, messages: i64) -> Result<()> {
        let url = format!("{}/{}/publishRate", self.url, path(topic));
        let rate = json!({"publishThrottlingRateInMsg": messages, "publishThrottlingRateInByte": -1});
        send(Method::POST, &url, &rate).await.map(drop)
    }

    /// The same for each topic of a namespace.
    pub async fn set_namespace_publish_rate(&self, namespace: &str, messages: i64) -> Result<()> {
        let url = format!("{}/namespaces/{namespace}/publishRate", self.url);
        let rate = json!({"publishThrottlingRateInMsg": messages, "publishThrottlingRateInByte": -1});
        send(Method::POST, &url, &rate).await.map(drop)
    }

    /// How many messages a partitioned topic has taken since its broker loaded it.
    pub async fn messages_in(&self, topic: &str) -> Result<u64> {
        let (status, body) = get(&format!("{}/{}/partitioned-stats", self.url, path(topic))).await?;
        if status != 200 {
            return Err(format!("statistics of {topic}: {status} {body}").into());
        }
        let stats: Value = serde_json::from_str(&body)?;
        Ok(stats["msgInCounter"].as_u64().unwrap_or_default())
    }
}
