//! The schemas of a source whose values carry a registry's ids: fetched when one is first met. Until then the partition
//! takes nothing; a registry that is down stalls it visibly, and nothing is lost.
//!
//! In mirror mode each of them must be a version of the target's schema, too, and Pulsar is asked for the version. Where the
//! topic's policy refuses the schema, the partition waits in the same way: no record is broken, and somebody may change the
//! policy. As dead letters they would be lost to their consumers for a setting that was wrong for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pulsar::{Client, Error, SchemaInfo, SchemaKind};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::translate::{AvroSchemas, Permanent, SCHEMAS_MAX, SchemaId, WriterSchema};

/// The version of a schema on a topic, as Pulsar writes it.
pub(super) type Version = Arc<[u8]>;

/// A registry, and what is known of it so far.
#[derive(Debug)]
pub(crate) struct Schemas {
    pub(super) registry: Registry,
    pub(super) known: Arc<AvroSchemas>,
    /// In mirror mode: the versions of the target.
    pub(super) versions: Option<Arc<Versions>>,
}

/// Which version of the target's schema each writer's schema is.
#[derive(Debug)]
pub(crate) struct Versions {
    client: Client,
    /// A partition of the target: all of them share the versions, and Pulsar wants to be asked by one.
    topic: String,
    known: Mutex<HashMap<SchemaId, Version>>,
}

impl Schemas {
    /// Learns what an id stands for, however long that takes. What goes wrong meanwhile is told to `trouble`.
    pub(super) async fn fetch(&self, id: SchemaId, trouble: impl Fn(String)) {
        let mut retry = Retry::for_brokers();
        let answer = loop {
            match self.fetch_once(id).await {
                Ok(answer) => break answer,
                Err(text) => trouble(text),
            }
            tokio::time::sleep(retry.next_pause()).await;
        };
        self.known.install(id, answer);
    }

    /// Learns what an id stands for, if that can be had now. Errors: what is in the way.
    pub(super) async fn learn(&self, id: SchemaId) -> Result<(), String> {
        self.fetch_once(id).await.map(|answer| self.known.install(id, answer))
    }

    /// What the registry says of an id; the version, where one is wanted, is known then. Errors: what is in the way.
    pub(super) async fn fetch_once(&self, id: SchemaId) -> Result<Result<WriterSchema, Permanent>, String> {
        let schema = match self.registry.schema(id).await {
            Ok(schema) => schema,
            Err(error) => return error.permanent().cloned().map(Err).ok_or_else(|| error.to_string()),
        };
        if let Some(versions) = &self.versions {
            versions.learn(id, &schema).await.map_err(|error| {
                format!("contract.mode = \"mirror\": schema id {id} is no version of the target's schema yet: {error}")
            })?;
        }
        Ok(Ok(schema))
    }
}

impl Versions {
    /// The versions of this topic's schema, which is asked for by one of its partitions.
    pub(super) fn new(client: Client, topic: String) -> Self {
        Self { client, topic, known: Mutex::default() }
    }

    /// The version of a schema that was learned.
    pub(super) fn get(&self, id: SchemaId) -> Option<Version> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn learn(&self, id: SchemaId, schema: &WriterSchema) -> Result<(), Error> {
        let version = self.client.get_or_create_schema(&self.topic, &mirrored(schema)).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // More than any source has; those that are used are soon learned again.
        if known.len() >= SCHEMAS_MAX {
            known.clear();
        }
        known.insert(id, version.into());
        Ok(())
    }
}

/// A writer's schema as it is kept with the target.
pub(super) fn mirrored(schema: &WriterSchema) -> SchemaInfo {
    let data = schema.json().as_bytes().to_vec();
    SchemaInfo { name: "writer".to_owned(), kind: SchemaKind::Avro, data, properties: Vec::new() }
}
