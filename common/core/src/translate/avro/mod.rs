//! Avro bodies: what a writer wrote under its schema, as the contract promises it.
//!
//! A pair of schemas is compiled once ([`AvroPlan`]). After that a body is walked once and written straight out as the
//! contract's datum: no tree of values, nothing allocated per record. Where both schemas say the same bytes, they are
//! checked and copied: even then a body that is cut short, is followed by more, or is not of its schema is found.
//!
//! Bodies come by themselves (`format = "avro"`, one schema by configuration) or behind a schema registry's header
//! (`format = "confluent-avro"`): [`AvroTranslator`]. Of what registries keep besides, JSON Schema and Protobuf, nothing
//! is translated: such a source is `format = "bytes"`, which passes its bodies with their headers as they are.

mod cache;
mod defaults;
mod encode;
mod input;
mod plan;
mod resolve;
mod translator;
mod types;
mod writer;

use std::sync::Arc;

pub use cache::{AvroSchemas, Permanent, SCHEMAS_MAX};
pub use translator::{AvroTranslator, SchemaId};
pub use writer::{SCHEMA_BYTES_MAX, SchemaError, WriterSchema};

use self::encode::{Encoder, Scratch};
use self::plan::{Node, NodeId};
use self::types::Types;
use super::contract::Contract;
use super::drift::{Drift, OnUnknownField};
use super::error::{Fault, TranslateError};

/// A pair of schemas, compiled. Never changes, so lanes share it; each lane has an [`AvroScratch`] of its own.
#[derive(Debug)]
pub struct AvroPlan {
    writer: Arc<WriterSchema>,
    nodes: Vec<Node>,
    top: NodeId,
    /// The paths of the writer's fields that the contract lacks.
    drift: Vec<String>,
}

/// A lane's memory.
#[derive(Debug, Default)]
pub struct AvroScratch(Scratch);

impl AvroPlan {
    /// Compiles what turns the writer's bodies into the contract's. Types that do not go together are no error yet: the
    /// records that come to them are.
    ///
    /// # Errors
    /// The schemas together are larger than a plan may be; or the contract is none, which [`Contract::parse`] excludes.
    pub fn compile(
        writer: Arc<WriterSchema>,
        contract: &Contract,
        on_unknown_field: OnUnknownField,
    ) -> Result<Self, SchemaError> {
        let types = Types::read(&contract.source).map_err(SchemaError::NotAvro)?;
        let resolved = resolve::resolve(&writer.types, &types, on_unknown_field)?;
        Ok(Self { writer, nodes: resolved.nodes, top: resolved.top, drift: resolved.drift })
    }

    /// The plan that lets bodies pass as they are, checked.
    pub fn untouched(writer: Arc<WriterSchema>) -> Self {
        let nodes = vec![Node::Copy(writer.types.top)];
        Self { writer, nodes, top: 0, drift: Vec::new() }
    }

    /// Whether bodies pass as they are: the writer's schema says the same bytes as the contract.
    pub fn is_identity(&self) -> bool {
        matches!(self.nodes[self.top], Node::Copy(_))
    }

    /// Why no record at all can be translated, if so: the schemas do not go together at the top.
    pub fn never(&self) -> Option<&str> {
        match &self.nodes[self.top] {
            Node::Fail(_, _, detail) => Some(detail),
            _ => None,
        }
    }

    /// The writer's schema.
    pub fn writer(&self) -> &Arc<WriterSchema> {
        &self.writer
    }

    /// Translates one datum and appends it to `out`. The writer's fields that the contract lacks are counted in `drift`,
    /// each once per record. Errors: see [`super::Cause`]; `out` is then as it was.
    pub fn translate(
        &self,
        scratch: &mut AvroScratch,
        body: &[u8],
        out: &mut Vec<u8>,
        drift: &mut Drift,
    ) -> Result<(), TranslateError> {
        let start = out.len();
        match self.encode(&mut scratch.0, body, out) {
            Ok(()) => {
                scratch.0.dropped.iter().for_each(|field| drift.count("", &self.drift[*field]));
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(*error)
            }
        }
    }

    fn encode(&self, scratch: &mut Scratch, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut encoder = Encoder::new(&self.nodes, &self.writer.types, body, out, scratch);
        encoder.value(self.top, 0)?;
        encoder.input.end()
    }
}
