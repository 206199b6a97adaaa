//! Faults that a broker's administrator can cause, by Pulsar's admin API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::Result;
use crate::http::{get, send};

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

    /// Gives a topic an Avro schema.
    pub async fn set_schema(&self, topic: &str, avro: &str) -> Result<()> {
        let path = path(topic);
        let path = path.trim_start_matches("persistent/");
        let body = json!({"type": "AVRO", "schema": avro, "properties": {}});
        send(Method::POST, &format!("{}/schemas/{path}/schema", self.url), &body).await.map(drop)
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
