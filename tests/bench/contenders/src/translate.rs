//! From one format to another by values, as apache-avro and serde_json have it.

use std::path::PathBuf;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use pulsar::proto;
use serde_json::Value;

use crate::Result;

/// What the bodies are, and what they are to become.
#[derive(clap::Args)]
pub(crate) struct How {
    /// What the bodies are
    #[arg(long, value_enum)]
    form: Form,
    /// The contract's file
    #[arg(long)]
    contract: PathBuf,
    /// The file of the schema that they are written with, where it is not the contract
    #[arg(long)]
    writer: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Bytes,
    Json,
    ConfluentAvro,
}

/// How a value becomes another.
pub(crate) enum Translate {
    Bytes,
    Json { json: Value, contract: Schema },
    Confluent { writer: Schema, contract: Schema },
}

impl Translate {
    pub(crate) fn new(how: &How) -> Result<Self> {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&how.contract)?)?;
        let contract = Schema::parse(&json)?;
        Ok(match how.form {
            Form::Bytes => Self::Bytes,
            Form::Json => Self::Json { json, contract },
            Form::ConfluentAvro => {
                let writer = match &how.writer {
                    Some(file) => Schema::parse_str(&std::fs::read_to_string(file)?)?,
                    None => contract.clone(),
                };
                Self::Confluent { writer, contract }
            }
        })
    }

    pub(crate) fn value(&self, body: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Bytes => Ok(body.to_vec()),
            Self::Json { json, contract } => Ok(to_avro_datum(contract, avro_event(body, json)?)?),
            Self::Confluent { writer, contract } => {
                let mut datum = body.get(5..).ok_or("no header of a registry")?;
                let value: Avro = from_avro_datum(writer, &mut datum, Some(contract))?;
                Ok(to_avro_datum(contract, value)?)
            }
        }
    }

    /// The schema of the target.
    pub(crate) fn schema(&self, how: &How) -> Result<Option<proto::Schema>> {
        if matches!(self, Self::Bytes) {
            return Ok(None);
        }
        Ok(Some(proto::Schema {
            name: "contract".to_owned(),
            schema_data: std::fs::read(&how.contract)?,
            r#type: proto::schema::Type::Avro as i32,
            properties: Vec::new(),
        }))
    }
}

/// The event as a record of the contract; what it lacks is null.
fn avro_event(json: &[u8], schema: &Value) -> Result<Avro> {
    let event: Value = serde_json::from_slice(json)?;
    let text = |value: &Value| Avro::String(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let mut fields = Vec::new();
    for field in schema["fields"].as_array().into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default();
        let found = if name == "job_id" { &event["payload"]["job_id"] } else { &event[name] };
        let value = match (name, found) {
            ("schema_version", found) => Avro::Int(found.as_i64().unwrap_or(1) as i32),
            ("idempotency_key" | "parent_event_id" | "job_id" | "tags", Value::Null) => {
                Avro::Union(0, Box::new(Avro::Null))
            }
            ("tags", tags) => {
                let tags = tags.as_array().into_iter().flatten().map(text).collect();
                Avro::Union(1, Box::new(Avro::Array(tags)))
            }
            ("idempotency_key" | "parent_event_id" | "job_id", found) => Avro::Union(1, Box::new(text(found))),
            (_, found) => text(found),
        };
        fields.push((name.to_owned(), value));
    }
    Ok(Avro::Record(fields))
}
