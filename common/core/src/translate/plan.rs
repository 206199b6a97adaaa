//! What a contract is compiled to: a flat list of nodes, one per type, that the encoder walks along with the JSON text.

use super::scan::Kind;

/// The place of a node in the list. Named types are compiled once, so recursion is a node that names an earlier one.
pub(super) type NodeId = usize;

/// One type of the contract.
#[derive(Debug)]
pub(super) enum Node {
    /// Stands for a record while its fields are compiled; never in a finished plan.
    Unfinished,
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    String,
    /// A string that takes any JSON value as its text.
    JsonText,
    Bytes,
    Fixed(usize),
    Enum(EnumPlan),
    Array(NodeId),
    Map(NodeId),
    Record(RecordPlan),
    Union(UnionPlan),
    Date,
    /// Units of a second: 1000 (an int) or 1,000,000 (a long).
    Time(i64),
    /// Units of a second, and whether without an offset.
    Timestamp(i64, bool),
    Uuid,
    /// A UUID as its 16 bytes.
    UuidFixed,
    Decimal(DecimalPlan),
}

#[derive(Debug)]
pub(super) struct EnumPlan {
    pub(super) symbols: Vec<String>,
    /// The symbol that stands for unknown ones, where the contract names one.
    pub(super) default: Option<usize>,
}

#[derive(Debug)]
pub(super) struct DecimalPlan {
    pub(super) precision: usize,
    pub(super) scale: usize,
    /// The bytes of a fixed; `None` for bytes.
    pub(super) size: Option<usize>,
}

/// A record: its fields in the contract's order, and ways to find them.
#[derive(Debug)]
pub(super) struct RecordPlan {
    /// Where the record stands in the contract, for drift; empty at the top.
    pub(super) path: String,
    pub(super) fields: Vec<FieldPlan>,
    /// Names and aliases, sorted, of the fields that are taken from the JSON member of that name.
    pub(super) by_name: Vec<(String, usize)>,
    /// What is taken out of members by path.
    pub(super) taps: Vec<Tap>,
    /// How many taps there are in all.
    pub(super) tapped: usize,
}

#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) name: String,
    pub(super) node: NodeId,
    /// The default's datum.
    pub(super) default: Option<Vec<u8>>,
    pub(super) origin: Origin,
    /// Whether the record's coordinates stand in where the member is absent or null. Such a field is a plain string,
    /// comes from the member of its name, and has no default.
    pub(super) is_derived: bool,
}

/// Where a field's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The JSON member of its name. If a tap starts at this member too: which of the record's taps.
    Member(Option<usize>),
    /// The tap of this number.
    Path(usize),
}

/// One step of the paths that start at some member: a small tree by name.
#[derive(Debug, Default)]
pub(super) struct Tap {
    pub(super) name: String,
    pub(super) steps: Vec<Tap>,
    /// The taps that end here.
    pub(super) ends: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct UnionPlan {
    /// The branches that take a JSON value, by its kind, in the order in which they are tried.
    pub(super) by_kind: [Vec<(usize, NodeId)>; 6],
}

impl RecordPlan {
    /// The field that takes the member `name`; `next` is tried first, since producers keep their order.
    #[inline]
    pub(super) fn find(&self, name: &[u8], next: usize) -> Option<usize> {
        if let Some(field) = self.fields.get(next)
            && field.name.as_bytes() == name
            && matches!(field.origin, Origin::Member(_))
        {
            return Some(next);
        }
        let place = self.by_name.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok()?;
        Some(self.by_name[place].1)
    }
}

impl UnionPlan {
    pub(super) fn candidates(&self, kind: Kind) -> &[(usize, NodeId)] {
        &self.by_kind[kind as usize]
    }
}

impl Node {
    /// The kinds of JSON value that this type takes.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::Null => &[Kind::Null],
            Self::Boolean => &[Kind::Boolean],
            Self::Int | Self::Long | Self::Float | Self::Double => &[Kind::Number],
            Self::String | Self::Bytes | Self::Fixed(_) | Self::Enum(_) | Self::Uuid | Self::UuidFixed => {
                &[Kind::String]
            }
            Self::Date | Self::Time(_) | Self::Timestamp(..) | Self::Decimal(_) => &[Kind::Number, Kind::String],
            Self::Array(_) => &[Kind::Array],
            Self::Map(_) | Self::Record(_) | Self::Unfinished => &[Kind::Object],
            Self::JsonText => &[Kind::Null, Kind::Boolean, Kind::Number, Kind::String, Kind::Array, Kind::Object],
            // Unions do not stand in unions.
            Self::Union(_) => &[],
        }
    }

    /// What the type is called in errors.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Int => "an int",
            Self::Long => "a long",
            Self::Float => "a float",
            Self::Double => "a double",
            Self::String => "a string",
            Self::JsonText => "a JSON value",
            Self::Bytes => "bytes (a string of characters up to U+00FF)",
            Self::Fixed(_) => "a fixed (a string of characters up to U+00FF)",
            Self::Enum(_) => "an enum's symbol",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map (an object)",
            Self::Record(_) | Self::Unfinished => "a record (an object)",
            Self::Union(_) => "a branch of the union",
            Self::Date => "a date (YYYY-MM-DD, or days)",
            Self::Time(_) => "a time (HH:MM:SS.fff, or a number)",
            Self::Timestamp(_, false) => "a timestamp (ISO 8601 with offset, or a number)",
            Self::Timestamp(_, true) => "a local timestamp (ISO 8601 without offset, or a number)",
            Self::Uuid | Self::UuidFixed => "a UUID",
            Self::Decimal(_) => "a decimal (a number, or one in a string)",
        }
    }
}
