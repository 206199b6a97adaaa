//! The schemas of a topic.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::error::understood;
use super::{Admin, AdminError};
use crate::config::TopicName;

/// A schema as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredSchema {
    /// The version, from 0.
    pub version: i64,
    /// `AVRO`, `JSON`, `BYTES`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its definition: for AVRO the schema's JSON as text.
    pub data: String,
}

impl Admin {
    /// The newest version of the topic's schema, if it has one.
    pub async fn schema(&self, topic: &TopicName) -> Result<Option<StoredSchema>, AdminError> {
        match self.get(&schema_path(topic)).await {
            Ok(schema) => Ok(Some(schema)),
            Err(AdminError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All versions of the topic's schema, the newest last; none where it has no schema.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn schema_versions(&self, topic: &TopicName) -> Result<Vec<StoredSchema>, AdminError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            get_schema_responses: Vec<StoredSchema>,
        }
        match self.get::<Answer>(&format!("{}s", schema_path(topic))).await {
            Ok(Answer { get_schema_responses: mut versions }) => {
                versions.sort_by_key(|schema| schema.version);
                Ok(versions)
            }
            Err(AdminError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the topic's compatibility policy would take this Avro schema as its next version.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn takes_avro_schema(&self, topic: &TopicName, schema: &str) -> Result<bool, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            compatibility: bool,
        }
        let body = json!({ "type": "AVRO", "schema": schema, "properties": {} });
        let path = format!("schemas/{}/{}/{}/compatibility", topic.tenant, topic.namespace, topic.name);
        let (url, text) = match self.send(Method::POST, &path, Some(&body)).await {
            // Pulsar 4.0 answers an incompatible schema with 500 and these words, not with `false`.
            Err(AdminError::Refused { reason, .. }) if reason.contains("schema compatibility check") => {
                return Ok(false);
            }
            answer => answer?,
        };
        understood::<Answer>(url, &text).map(|answer| answer.compatibility)
    }

    /// Registers an Avro schema: a new version, unless the topic has it already, as its newest version or an earlier one.
    /// The broker does not tell schemas apart by their docs.
    ///
    /// # Errors
    /// [`AdminError::Refused`] with the broker's reason when it is incompatible with the earlier versions.
    pub async fn upload_avro_schema(&self, topic: &TopicName, schema: &str) -> Result<(), AdminError> {
        let body = json!({ "type": "AVRO", "schema": schema, "properties": {} });
        self.send(Method::POST, &schema_path(topic), Some(&body)).await.map(drop)
    }
}

fn schema_path(topic: &TopicName) -> String {
    format!("schemas/{}/{}/{}/schema", topic.tenant, topic.namespace, topic.name)
}
