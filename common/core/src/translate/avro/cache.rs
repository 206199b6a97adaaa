//! What is known of schema ids, shared by all lanes: schemas with their plans, and ids that can never be used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::contract::Contract;
use super::super::drift::OnUnknownField;
use super::AvroPlan;
use super::translator::SchemaId;
use super::writer::{SchemaError, WriterSchema};

/// How many schema ids are kept. The least recently used goes first; it is fetched again when it comes back.
pub const SCHEMAS_MAX: usize = 1000;
/// How many bytes of schema text are kept.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Why the records of a schema id can never be translated, whatever is tried again: they are dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Permanent {
    /// The registry does not have the id, or a schema that it refers to.
    #[error("the schema registry does not know it: {0}")]
    Unknown(String),
    /// JSON Schema or Protobuf.
    #[error("its type is {0}, not AVRO: such a source is format = \"bytes\"")]
    OtherType(String),
    /// A schema that cannot be read.
    #[error("{0}")]
    Unusable(SchemaError),
}

/// What an id stands for.
pub(super) type Known = Result<Arc<AvroPlan>, Arc<Permanent>>;

/// The schemas of one source, and what their records become. Lanes share it.
#[derive(Debug)]
pub struct AvroSchemas {
    /// `None`: bodies are untouched, and each writer's schema is a version of the target's (mirror mode).
    contract: Option<(Arc<Contract>, OnUnknownField)>,
    schemas_max: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    known: HashMap<SchemaId, Entry>,
    text_bytes: usize,
    /// Rises with every use.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    text_bytes: usize,
    used: u64,
}

impl AvroSchemas {
    /// Every body becomes the contract's.
    pub fn to_contract(contract: Arc<Contract>, on_unknown_field: OnUnknownField) -> Self {
        Self { contract: Some((contract, on_unknown_field)), schemas_max: SCHEMAS_MAX, cache: Mutex::default() }
    }

    /// Every body stays what it is, without the registry's header.
    pub fn mirror() -> Self {
        Self { contract: None, schemas_max: SCHEMAS_MAX, cache: Mutex::default() }
    }

    /// With room for another number of ids, at least one.
    #[must_use]
    pub fn with_room_for(mut self, schemas: usize) -> Self {
        self.schemas_max = schemas.max(1);
        self
    }

    /// What the records of this schema become.
    ///
    /// # Errors
    /// See [`AvroPlan::compile`].
    pub fn compile(&self, writer: Arc<WriterSchema>) -> Result<AvroPlan, SchemaError> {
        match &self.contract {
            Some((contract, on_unknown_field)) => AvroPlan::compile(writer, contract, *on_unknown_field),
            None => Ok(AvroPlan::untouched(writer)),
        }
    }

    /// Takes what the registry said about an id, compiled for the contract.
    pub fn install(&self, id: SchemaId, answer: Result<WriterSchema, Permanent>) {
        let known = answer
            .and_then(|schema| self.compile(Arc::new(schema)).map_err(Permanent::Unusable))
            .map(Arc::new)
            .map_err(Arc::new);
        let text_bytes = known.as_ref().map_or(0, |plan| plan.writer().json().len());
        let mut cache = self.cache();
        cache.forget(id);
        while cache.known.len() >= self.schemas_max
            || (cache.text_bytes + text_bytes > TEXT_BYTES_MAX && !cache.known.is_empty())
        {
            cache.forget_oldest();
        }
        let used = cache.tick();
        cache.text_bytes += text_bytes;
        cache.known.insert(id, Entry { known, text_bytes, used });
    }

    /// Forgets the ids that can never be used: somebody may have restored the registry. Worth calling whenever a
    /// partition opens; each id costs one request again.
    pub fn forget_unknown(&self) {
        self.cache().known.retain(|_, entry| entry.known.is_ok());
    }

    /// What is known of an id.
    pub(super) fn get(&self, id: SchemaId) -> Option<Known> {
        let mut cache = self.cache();
        let now = cache.tick();
        let entry = cache.known.get_mut(&id)?;
        entry.used = now;
        Some(entry.known.clone())
    }

    /// Nothing that is held under the lock can panic half-way, so a poisoned one is whole.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn forget(&mut self, id: SchemaId) {
        if let Some(entry) = self.known.remove(&id) {
            self.text_bytes -= entry.text_bytes;
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
        oldest.into_iter().for_each(|id| self.forget(id));
    }
}
