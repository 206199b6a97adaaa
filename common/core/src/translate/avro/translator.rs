//! Avro bodies with a schema registry's header, or without: what a lane calls.

use std::sync::Arc;

use super::super::drift::Drift;
use super::super::error::{Cause, TranslateError, fault};
use super::cache::{AvroSchemas, Known};
use super::{AvroPlan, AvroScratch};

/// A schema's number in the registry, as it stands in front of every body.
pub type SchemaId = u32;

/// The registry's header: a magic byte 0 and the schema's id, four bytes, the highest first.
const HEADER_BYTES: usize = 5;

/// Translates Avro: one per lane, since it keeps memory to use again.
#[derive(Debug)]
pub struct AvroTranslator {
    schemas: Schemas,
    scratch: AvroScratch,
}

#[derive(Debug)]
enum Schemas {
    /// One schema for all bodies, which have no header.
    Given(Arc<AvroPlan>),
    /// The schema that the body's header names; and the last one used, so that lanes do not share a lock per record.
    Registered(Arc<AvroSchemas>, Option<(SchemaId, Known)>),
}

impl AvroTranslator {
    /// Bodies without a header, all written under one schema.
    pub fn raw(plan: Arc<AvroPlan>) -> Self {
        Self { schemas: Schemas::Given(plan), scratch: AvroScratch::default() }
    }

    /// Bodies with a registry's header.
    pub fn registered(schemas: Arc<AvroSchemas>) -> Self {
        Self { schemas: Schemas::Registered(schemas, None), scratch: AvroScratch::default() }
    }

    /// The schema that must be fetched and installed ([`AvroSchemas::install`]) before this body can be judged. `None`:
    /// go on with [`AvroTranslator::translate`], at once: another lane's schemas may push this one out of the shared
    /// memory, but not what this call has found.
    pub fn missing(&mut self, body: &[u8]) -> Option<SchemaId> {
        let Schemas::Registered(schemas, last) = &mut self.schemas else { return None };
        let id = header(body).ok()?.0;
        if matches!(last, Some((known, Ok(_))) if *known == id) {
            return None;
        }
        // What can never be used is asked again of the shared memory, which may have been told to forget it.
        *last = schemas.get(id).map(|known| (id, known));
        last.is_none().then_some(id)
    }

    /// Appends the translated body to `out`, and counts the writer's fields that the contract lacks. Errors: the body can
    /// never be translated; `out` is then as it was. Call [`AvroTranslator::missing`] first, with the same body.
    pub fn translate(&mut self, body: &[u8], out: &mut Vec<u8>, drift: &mut Drift) -> Result<(), TranslateError> {
        let plan = match &self.schemas {
            Schemas::Given(plan) => return plan.translate(&mut self.scratch, body, out, drift),
            Schemas::Registered(_, last) => {
                let (id, datum) = header(body).map_err(|error| *error)?;
                match last {
                    Some((known, Ok(plan))) if *known == id => (plan, datum),
                    Some((known, Err(permanent))) if *known == id => {
                        return Err(*fault(Cause::UnusableSchema, format!("schema id {id}: {permanent}")));
                    }
                    _ => {
                        debug_assert!(false, "translate without missing");
                        return Err(*fault(Cause::UnusableSchema, format!("schema id {id} was not fetched")));
                    }
                }
            }
        };
        plan.0.translate(&mut self.scratch, plan.1, out, drift)
    }

    /// The schema that this body was written under, for a target that keeps every writer's schema as a version of its own
    /// (mirror mode): its id, and its whole text. As [`AvroTranslator::missing`] left it; `None` for a body that cannot be
    /// translated, or without a header.
    pub fn writer_schema_of(&self, body: &[u8]) -> Option<(SchemaId, Arc<str>)> {
        let Schemas::Registered(_, Some((id, Ok(plan)))) = &self.schemas else { return None };
        let (named, _) = header(body).ok()?;
        (named == *id).then(|| (named, Arc::clone(plan.writer().json())))
    }
}

/// The id and the datum behind it. Registries number from 1 and keep a signed number.
fn header(body: &[u8]) -> Result<(SchemaId, &[u8]), Box<TranslateError>> {
    match body {
        [0, a, b, c, d, datum @ ..] => {
            let id = SchemaId::from_be_bytes([*a, *b, *c, *d]);
            if id == 0 || id > i32::MAX as u32 {
                return Err(fault(Cause::UnusableSchema, format!("schema id {id} is none that a registry gives")));
            }
            Ok((id, datum))
        }
        [0, ..] => {
            let detail = format!("{} bytes, fewer than the {HEADER_BYTES} of a registry's header", body.len());
            Err(fault(Cause::Truncated, detail))
        }
        [] => Err(fault(Cause::Truncated, "an empty body, without a registry's header")),
        _ => Err(fault(Cause::BadMagic, "the first byte is not the 0 of a registry's header")),
    }
}
