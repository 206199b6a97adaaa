//! The sources: `[source.<name>]`, by kind.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::choices::*;
use super::{PollSource, RabbitmqSource, Start};

/// One source; `kind` says which, and so which keys there are.
#[derive(Debug, Clone)]
pub enum Source {
    /// `kind = "kafka"`
    Kafka(KafkaSource),
    /// `kind = "rabbitmq"`
    Rabbitmq(RabbitmqSource),
    /// `kind = "poll"`
    Poll(PollSource),
}

impl Source {
    /// The schema that its values were written with, where that is given.
    pub fn schema_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Kafka(kafka) => kafka.schema_file.as_ref(),
            Self::Rabbitmq(rabbitmq) => rabbitmq.schema_file.as_ref(),
            Self::Poll(_) => None,
        }
    }

    pub(super) fn schema_file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Kafka(kafka) => kafka.schema_file.as_mut(),
            Self::Rabbitmq(rabbitmq) => rabbitmq.schema_file.as_mut(),
            Self::Poll(_) => None,
        }
    }

    /// The source, if it is RabbitMQ's.
    pub fn rabbitmq(&self) -> Option<&RabbitmqSource> {
        match self {
            Self::Rabbitmq(rabbitmq) => Some(rabbitmq),
            _ => None,
        }
    }

    /// What its values are.
    pub fn format(&self) -> Format {
        match self {
            Self::Kafka(kafka) => kafka.format,
            Self::Rabbitmq(rabbitmq) => rabbitmq.format,
            Self::Poll(_) => Format::Json,
        }
    }
}

/// `[source.<name>]` with `kind = "kafka"`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// The topic.
    pub topic: String,
    /// Where a partition without a checkpoint starts: `"earliest"`, `"latest"`, an RFC 3339 time, or a table of `partition = offset`.
    #[serde(default)]
    pub start: Start,
    /// What to do when records were purged before they were mirrored: `"stop"` and name them, or `"continue"` and record the gap.
    #[serde(default, deserialize_with = "choice")]
    pub on_gap: OnGap,
    /// Raised by one after the topic was recreated: a new sequence, new producer names and a new group.
    #[serde(default)]
    pub generation: u32,
    /// What the values are: `"json"`, `"confluent-avro"` (with a schema's id from the registry), `"avro"` (by `schema_file`), or
    /// `"bytes"` to pass them as they are (JSON Schema and Protobuf too).
    #[serde(default, deserialize_with = "choice")]
    pub format: Format,
    /// For `format = "avro"`: the Avro schema that the values are written with.
    #[serde(default)]
    pub schema_file: Option<PathBuf>,
}
