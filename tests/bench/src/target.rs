//! The Pulsar topic that a run writes to: made for it, counted by the broker, removed after it.

use bridge_tests::Result;
use bridge_tests::faults::PulsarAdmin;
use bridge_tests::http::{get, send};
use reqwest::Method;
use serde_json::{Value, json};

/// A topic in a namespace of its own.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `public/<name>`.
    pub(crate) namespace: String,
    /// `persistent://public/<name>/events`.
    pub(crate) topic: String,
    /// How many partitions it has.
    pub(crate) partitions: u32,
    admin_url: String,
}

impl Target {
    /// Names a topic; nothing is made yet.
    pub(crate) fn new(admin_url: &str, name: &str, partitions: u32) -> Self {
        let namespace = format!("public/{name}");
        let topic = format!("persistent://{namespace}/events");
        let admin_url = format!("{admin_url}/admin/v2");
        Self { namespace, topic, partitions, admin_url }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.admin_url, self.topic.replacen("://", "/", 1))
    }

    /// Makes namespace and topic as a user of another contender would: with a retention, so that nothing is deleted while it
    /// is counted, and with the broker's own defaults else. (What our bridges write to is made by `bridgectl setup`.)
    pub(crate) async fn create(&self, deduplication: bool) -> Result<()> {
        let admin = PulsarAdmin::at(self.admin_url.trim_end_matches("/admin/v2"));
        admin.create_namespace(&self.namespace, deduplication).await?;
        let retention = json!({"retentionTimeInMinutes": -1, "retentionSizeInMB": -1});
        send(Method::POST, &format!("{}/namespaces/{}/retention", self.admin_url, self.namespace), &retention).await?;
        admin.create_topic(&self.topic, self.partitions).await
    }

    async fn stats(&self, url: &str) -> Result<Value> {
        let (status, body) = get(url).await?;
        if status == 200 { Ok(serde_json::from_str(&body)?) } else { Err(format!("{url}: {status} {body}").into()) }
    }

    /// How many messages the broker has taken for it so far; 0 where it does not know it yet.
    pub(crate) async fn taken(&self) -> u64 {
        let stats = self.stats(&format!("{}/partitioned-stats?perPartition=false", self.path())).await;
        stats.map_or(0, |stats| stats["msgInCounter"].as_u64().unwrap_or_default())
    }

    /// Whether all that was taken is stored.
    pub(crate) async fn is_stored(&self) -> Result<bool> {
        for partition in 0..self.partitions {
            let stats = self.stats(&format!("{}-partition-{partition}/internalStats", self.path())).await?;
            if stats["pendingAddEntriesCount"].as_i64().unwrap_or(1) > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes all of it.
    pub(crate) async fn delete(&self) {
        let url = format!("{}/namespaces/{}?force=true", self.admin_url, self.namespace);
        if send(Method::DELETE, &url, &Value::Null).await.is_ok() {
            return;
        }
        // A broker that does not delete namespaces with what is in them deletes topics.
        let _ = send(Method::DELETE, &format!("{}/partitions?force=true", self.path()), &Value::Null).await;
    }
}
