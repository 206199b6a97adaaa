//! JSON to Avro by a contract, in one pass over the text.

use serde_json::Value;

use super::compile::{Compiler, PendingDefault};
use super::contract::Contract;
use super::drift::{Drift, OnUnknownField};
use super::encode::{Encoder, Scratch};
use super::error::{Cause, ContractError, TranslateError};
use super::plan::{Node, NodeId};
use super::scan::check;
use crate::record::Coordinates;

/// A contract compiled for JSON. Never changes, so lanes share it; each lane has a [`Scratch`] of its own.
#[derive(Debug)]
pub struct JsonPlan {
    nodes: Vec<Node>,
    top: NodeId,
    on_unknown_field: OnUnknownField,
}

impl JsonPlan {
    /// Compiles a contract. Errors name the field: a union that JSON cannot tell apart, a default that is not of the
    /// field's type, a logical type on a wrong type, a wrong attribute of ours.
    pub fn compile(contract: &Contract, on_unknown_field: OnUnknownField) -> Result<Self, ContractError> {
        let mut compiler = Compiler::default();
        let top = compiler.top(&contract.source)?;
        let mut plan = Self { nodes: compiler.nodes, top, on_unknown_field };
        plan.encode_defaults(compiler.defaults)?;
        Ok(plan)
    }

    /// Encodes the defaults. One may rest on others (a record's on its fields'), so rounds are made until none is left,
    /// or none of the rest can be done.
    fn encode_defaults(&mut self, mut pending: Vec<PendingDefault>) -> Result<(), ContractError> {
        while !pending.is_empty() {
            let before = pending.len();
            let mut error = None;
            let mut rest = Vec::new();
            for default in pending {
                let Node::Record(record) = &self.nodes[default.record] else { continue };
                match self.encode_default(record.fields[default.field].node, &default.value) {
                    Ok(datum) => self.set_default(&default, datum),
                    Err(reason) => {
                        let reason = format!("the default does not fit the type: {reason}");
                        error.get_or_insert(ContractError::field(&default.path, reason));
                        rest.push(default);
                    }
                }
            }
            if let Some(error) = error.filter(|_| rest.len() == before) {
                return Err(error);
            }
            pending = rest;
        }
        Ok(())
    }

    fn set_default(&mut self, default: &PendingDefault, datum: Vec<u8>) {
        if let Node::Record(record) = &mut self.nodes[default.record] {
            record.fields[default.field].default = Some(datum);
        }
    }

    /// A default as Avro writes it in schemas: logical types as what is under them, bytes as characters.
    fn encode_default(&self, node: NodeId, value: &Value) -> Result<Vec<u8>, Box<TranslateError>> {
        let text = value.to_string();
        let mut datum = Vec::new();
        let mut scratch = Scratch::default();
        let mut encoder =
            Encoder::new(&self.nodes, OnUnknownField::DeadLetter, text.as_bytes(), &mut datum, &mut scratch);
        encoder.literal = true;
        encoder.value(node, 0)?;
        Ok(datum)
    }

    /// Translates one body, that of the record at `coordinates`, and appends the datum to `out`. Unknown fields are counted in `drift` once the record is
    /// translated, or refused for one. Errors: see [`Cause`]; `out` is then as it was. A body that is not JSON is always reported as that,
    /// whatever else is wrong with it. Of a member that is repeated in an object the last one counts.
    pub fn translate(
        &self,
        scratch: &mut Scratch,
        body: &[u8],
        coordinates: &Coordinates<'_>,
        out: &mut Vec<u8>,
        drift: &mut Drift,
    ) -> Result<(), TranslateError> {
        let start = out.len();
        let result = match std::str::from_utf8(body) {
            Ok(_) => self.encode(scratch, body, coordinates, out),
            Err(error) => Err(self.not_utf8(scratch, &body[..error.valid_up_to()], coordinates, out)),
        };
        match result {
            Ok(()) => {
                if self.on_unknown_field != OnUnknownField::Ignore {
                    drift.checked(coordinates.offset);
                }
                if !scratch.unknown.is_empty() {
                    self.count_unknown(scratch, body, drift);
                }
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                let error = *explain(error, body);
                if error.cause == Cause::UnknownField {
                    drift.checked(coordinates.offset);
                    drift.count("", &error.path);
                }
                Err(error)
            }
        }
    }

    fn encode(
        &self,
        scratch: &mut Scratch,
        body: &[u8],
        coordinates: &Coordinates<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<TranslateError>> {
        scratch.clear();
        let mut encoder = Encoder::new(&self.nodes, self.on_unknown_field, body, out, scratch);
        encoder.coordinates = Some(*coordinates);
        encoder.scanner.skip_whitespace();
        encoder.value(self.top, 0)?;
        encoder.scanner.end()
    }

    /// The fault of a body that stops being UTF-8 after `head`: in the field at which the head ends.
    #[cold]
    fn not_utf8(
        &self,
        scratch: &mut Scratch,
        head: &[u8],
        coordinates: &Coordinates<'_>,
        out: &mut Vec<u8>,
    ) -> Box<TranslateError> {
        let path = match self.encode(scratch, head, coordinates, out) {
            Err(error) if error.cause == Cause::NotJson => error.path,
            _ => String::new(),
        };
        let detail = format!("the byte at {} is not UTF-8", head.len());
        Box::new(TranslateError { cause: Cause::InvalidUtf8, path, detail })
    }

    fn count_unknown(&self, scratch: &Scratch, body: &[u8], drift: &mut Drift) {
        for (record, start, end) in &scratch.unknown {
            let Node::Record(record) = &self.nodes[*record] else { continue };
            let name = std::str::from_utf8(&body[*start..*end]).unwrap_or_default();
            drift.count(&record.path, name);
        }
        drift.count_more(scratch.unknown_more);
    }
}

/// Lets "not JSON" go before every other cause.
#[cold]
fn explain(error: Box<TranslateError>, body: &[u8]) -> Box<TranslateError> {
    if matches!(error.cause, Cause::NotJson | Cause::InvalidUtf8 | Cause::TooDeep) {
        return error;
    }
    match check(body) {
        Err(other) if other.cause == Cause::NotJson => other,
        _ => error,
    }
}
