//! From a record's body, in the source's format, to the bytes that the contract promises.
//!
//! A contract is parsed ([`Contract`]) and compiled ([`JsonPlan`]) once, when a bridge starts. After that a body is
//! read in one pass over its text, straight to Avro's bytes: no tree of values, nothing allocated per record.

mod avro;
mod compile;
mod contract;
mod drift;
mod encode;
mod error;
mod json;
mod number;
mod path;
mod plan;
mod scan;
mod text;
mod time;

use std::sync::Arc;

pub use avro::{
    AvroPlan, AvroSchemas, AvroScratch, AvroTranslator, Permanent, SCHEMA_BYTES_MAX, SCHEMAS_MAX, SchemaError,
    SchemaId, WriterSchema,
};
pub use contract::Contract;
pub use drift::{DRIFT_PATHS_MAX, Drift, OnUnknownField};
pub use encode::Scratch;
pub use error::{Cause, ContractError, TranslateError};
pub use json::JsonPlan;
pub use path::{JsonPath, JsonPathError};
pub use scan::MAX_DEPTH;

use crate::record::Coordinates;

/// What the pipeline calls for each body: one per lane, since it keeps memory to use again.
#[derive(Debug)]
pub enum Translator {
    /// JSON in, Avro by the contract out.
    Json {
        /// The compiled contract, shared by all lanes.
        plan: Arc<JsonPlan>,
        /// This lane's memory.
        scratch: Scratch,
    },
    /// Avro by its writer's schema in, Avro by the contract (or the same) out.
    Avro {
        /// The writers' schemas, and this lane's memory.
        translator: AvroTranslator,
        /// Whether fields that the contract lacks are looked for.
        counts_drift: bool,
    },
    /// Bytes in, the same bytes out.
    Bytes,
}

impl Translator {
    /// A translator of JSON.
    pub fn json(plan: Arc<JsonPlan>) -> Self {
        Self::Json { plan, scratch: Scratch::default() }
    }

    /// The schema that must be fetched from the registry before this body can be judged.
    pub fn missing(&mut self, body: &[u8]) -> Option<SchemaId> {
        match self {
            Self::Avro { translator, .. } => translator.missing(body),
            Self::Json { .. } | Self::Bytes => None,
        }
    }

    /// The registry's id of the schema that this body was written under; `None` where it has none that can be used. Call
    /// [`Translator::missing`] first, with the same body.
    pub fn writer_schema_of(&self, body: &[u8]) -> Option<SchemaId> {
        match self {
            Self::Avro { translator, .. } => translator.writer_schema_of(body).map(|(id, _)| id),
            Self::Json { .. } | Self::Bytes => None,
        }
    }

    /// Appends the translated body of the record at `coordinates` to `out`, and counts unknown fields in `drift`. Errors: the body can never be
    /// translated (see [`Cause`]); `out` is then as it was.
    pub fn translate(
        &mut self,
        body: &[u8],
        coordinates: &Coordinates<'_>,
        out: &mut Vec<u8>,
        drift: &mut Drift,
    ) -> Result<(), TranslateError> {
        match self {
            Self::Json { plan, scratch } => plan.translate(scratch, body, coordinates, out, drift),
            Self::Avro { translator, counts_drift } => {
                translator.translate(body, out, drift)?;
                if *counts_drift {
                    drift.checked(coordinates.offset);
                }
                Ok(())
            }
            Self::Bytes => {
                out.extend_from_slice(body);
                Ok(())
            }
        }
    }
}
