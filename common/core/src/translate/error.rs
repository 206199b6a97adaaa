//! What can be wrong with a contract, and what can be wrong with a record.

use std::fmt;

/// Why a record cannot be translated. The names of [`Cause::as_str`] are on the wire (dead letters) and in metrics: they
/// never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The body is not JSON by RFC 8259: cut short, a stray byte, a bad escape.
    NotJson,
    /// Something follows the JSON value.
    TrailingBytes,
    /// The body is not UTF-8.
    InvalidUtf8,
    /// More objects and arrays inside each other than [`super::MAX_DEPTH`].
    TooDeep,
    /// A field of the contract is absent and has no default.
    MissingField,
    /// The JSON value is of another type than the contract's field.
    WrongType,
    /// A string that is none of the enum's symbols.
    BadEnumSymbol,
    /// A number that the field's type cannot hold exactly (integers, decimals) or at all (floats).
    NumberOutOfRange,
    /// A string that is not what its logical type wants: a timestamp, a date, a UUID, the bytes of a fixed.
    BadFormat,
    /// A string with one half of a surrogate pair, which UTF-8 cannot hold.
    LoneSurrogate,
    /// A field that the contract does not know, where the configuration asks to dead-letter those.
    UnknownField,
    /// The body does not start with a schema registry's magic byte.
    BadMagic,
    /// The body names a schema that the registry does not have, or one that is not Avro or cannot be read.
    UnusableSchema,
    /// The body ends before its schema does.
    Truncated,
    /// Bytes that the writer's schema does not allow: a boolean of 7, a branch that there is not.
    NotAvro,
    /// A few bytes that would become far too many.
    ExpandsTooFar,
}

impl Cause {
    /// Every cause, for metrics that name all their series from the start.
    pub const ALL: [Self; 16] = [
        Self::NotJson,
        Self::TrailingBytes,
        Self::InvalidUtf8,
        Self::TooDeep,
        Self::MissingField,
        Self::WrongType,
        Self::BadEnumSymbol,
        Self::NumberOutOfRange,
        Self::BadFormat,
        Self::LoneSurrogate,
        Self::UnknownField,
        Self::BadMagic,
        Self::UnusableSchema,
        Self::Truncated,
        Self::NotAvro,
        Self::ExpandsTooFar,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TrailingBytes => "trailing_bytes",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooDeep => "too_deep",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::BadEnumSymbol => "bad_enum_symbol",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::BadFormat => "bad_format",
            Self::LoneSurrogate => "lone_surrogate",
            Self::UnknownField => "unknown_field",
            Self::BadMagic => "bad_magic",
            Self::UnusableSchema => "unusable_schema",
            Self::Truncated => "truncated",
            Self::NotAvro => "not_avro",
            Self::ExpandsTooFar => "expands_too_far",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one record was not translated. Holds no part of the body: only the path of the field, and what was expected and
/// found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause} at {}: {detail}", if path.is_empty() { "the top" } else { path })]
pub struct TranslateError {
    /// The kind of fault.
    pub cause: Cause,
    /// The field: `payload`, `tags[3]`, `samples[0].unit`, `labels{}` for a value of a map; empty for the whole body.
    pub path: String,
    /// What was expected and what was found, in words.
    pub detail: String,
}

/// The error on its way up: boxed, so that the ordinary path returns one word.
pub(super) type Fault = Box<TranslateError>;

#[cold]
pub(super) fn fault(cause: Cause, detail: impl Into<String>) -> Fault {
    Box::new(TranslateError { cause, path: String::new(), detail: detail.into() })
}

#[cold]
pub(super) fn wrong_type(expected: &str, found: &str) -> Fault {
    fault(Cause::WrongType, format!("expected {expected}, found {found}"))
}

/// The longest field name of the body that a path repeats; contract names are shorter anyhow.
const NAME_BYTES_MAX: usize = 64;

impl TranslateError {
    /// The same fault seen from one level up: the path gains a field, `[index]` or `{}` in front.
    #[cold]
    pub(super) fn inside(mut self: Box<Self>, outer: &str) -> Box<Self> {
        let outer = shorten(outer);
        let dot = !self.path.is_empty() && !self.path.starts_with(['[', '{']);
        self.path.insert_str(0, if dot { "." } else { "" });
        self.path.insert_str(0, outer);
        self
    }
}

/// The head of a name, cut at a character.
pub(super) fn shorten(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// What is wrong with a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The file is not JSON.
    #[error("the contract is not JSON: {0}; correct the file")]
    NotJson(String),
    /// A conforming Avro parser refuses it.
    #[error("the contract is not a legal Avro schema: {0}; correct the file")]
    NotAvro(String),
    /// Legal Avro, but nothing that JSON can be translated to by rule.
    #[error("contract, {path}: {reason}")]
    Field {
        /// The field, from the record's name on: `JobLifecycleEvent.payload`.
        path: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
}

impl ContractError {
    pub(super) fn field(path: &str, reason: impl Into<String>) -> Self {
        Self::Field { path: path.to_owned(), reason: reason.into() }
    }
}
