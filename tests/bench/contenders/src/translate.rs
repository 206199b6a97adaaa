//! From one format to another by values, as apache-avro and serde_json have it.

use std::path::PathBuf;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use bench_contenders::avro_event;
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
