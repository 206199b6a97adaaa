//! Walks the plan and the JSON text together, and writes Avro.
//!
//! Invariant: a value is always encoded at the end of `out`. A record's fields are written as they come; as long as they
//! come in the contract's order, with defaults in the gaps, the bytes are the datum as they stand. Where they do not,
//! the pieces are copied in order behind, and moved down.

mod record;

use super::drift::OnUnknownField;
use super::error::{Fault, wrong_type};
use super::number::{integer, out_of_range, put_bytes, put_long};
use super::plan::{Node, NodeId, UnionPlan};
use super::scan::{Kind, Quoted, Scanner, unescape};
use super::text::{put_decimal, put_text};
use crate::record::Coordinates;

/// Start and end of a piece, in `out` or in the text. An empty piece that was written is still `start == end`;
/// [`ABSENT`] is not there at all.
type Span = (usize, usize);
const ABSENT: Span = (usize::MAX, usize::MAX);

/// Memory that is used again for every record, so that nothing is allocated per record. One per lane.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of every open record: where its fields are in `out`, then what its taps found in the text.
    spans: Vec<Span>,
    /// A string whose escapes were resolved.
    text: Vec<u8>,
    /// Unknown fields: the record's node and the key's place in the text.
    pub(super) unknown: Vec<(NodeId, usize, usize)>,
    /// How many more unknown fields there were than [`UNKNOWN_MAX`].
    pub(super) unknown_more: u64,
}

/// How many unknown fields of one record are noted by name.
const UNKNOWN_MAX: usize = 256;

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.unknown.clear();
        self.unknown_more = 0;
    }
}

pub(super) struct Encoder<'a> {
    nodes: &'a [Node],
    on_unknown_field: OnUnknownField,
    pub(super) scanner: Scanner<'a>,
    out: &'a mut Vec<u8>,
    scratch: &'a mut Scratch,
    /// Whether the text is a default of a schema, where values stand as Avro writes them.
    pub(super) literal: bool,
    /// Whose record the text is; a default is nobody's.
    pub(super) coordinates: Option<Coordinates<'a>>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        on_unknown_field: OnUnknownField,
        text: &'a [u8],
        out: &'a mut Vec<u8>,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { nodes, on_unknown_field, scanner: Scanner::new(text), out, scratch, literal: false, coordinates: None }
    }

    /// Encodes the value at the cursor as the type `id`. `depth`: containers already open.
    pub(super) fn value(&mut self, id: NodeId, depth: u32) -> Result<(), Fault> {
        let nodes = self.nodes;
        let node = &nodes[id];
        match node {
            Node::String => self.string(node),
            Node::JsonText if self.literal => self.string(node),
            Node::JsonText => {
                let text = self.scanner.skip(depth)?;
                put_bytes(self.out, text);
                Ok(())
            }
            Node::Union(union) => self.union(union, depth),
            Node::Record(record) => self.record(id, record, depth),
            Node::Int => self.int(node),
            Node::Long => self.long(node),
            Node::Array(items) => self.array(*items, node, depth),
            Node::Map(values) => self.map(*values, node, depth),
            Node::Null | Node::Boolean | Node::Float | Node::Double => self.simple(node),
            _ => self.logical(node),
        }
    }

    fn expect(&self, kind: Kind, node: &Node) -> Result<(), Fault> {
        match self.scanner.kind() {
            Ok(found) if found == kind => Ok(()),
            _ => Err(self.scanner.unexpected(node.name())),
        }
    }

    #[inline]
    fn string(&mut self, node: &Node) -> Result<(), Fault> {
        if self.scanner.peek() != b'"' {
            return Err(self.scanner.unexpected(node.name()));
        }
        let quoted = self.scanner.string()?;
        let text = resolve(&mut self.scratch.text, quoted)?;
        put_bytes(self.out, text);
        Ok(())
    }

    fn int(&mut self, node: &Node) -> Result<(), Fault> {
        let value = self.integer(node)?;
        i32::try_from(value).map_err(|_| out_of_range(node.name()))?;
        put_long(self.out, value);
        Ok(())
    }

    fn long(&mut self, node: &Node) -> Result<(), Fault> {
        let value = self.integer(node)?;
        put_long(self.out, value);
        Ok(())
    }

    fn integer(&mut self, node: &Node) -> Result<i64, Fault> {
        self.expect(Kind::Number, node)?;
        integer(self.scanner.number()?, node.name())
    }

    fn simple(&mut self, node: &Node) -> Result<(), Fault> {
        match node {
            Node::Null => {
                self.expect(Kind::Null, node)?;
                self.scanner.word(b"null")
            }
            Node::Boolean => {
                self.expect(Kind::Boolean, node)?;
                let value = self.scanner.boolean()?;
                self.out.push(u8::from(value));
                Ok(())
            }
            Node::Float => {
                let value: f32 = self.float(node)?;
                if value.is_infinite() {
                    return Err(out_of_range(node.name()));
                }
                self.out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
            _ => {
                let value: f64 = self.float(node)?;
                if value.is_infinite() {
                    return Err(out_of_range(node.name()));
                }
                self.out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
        }
    }

    /// Correctly rounded by the standard library, which takes all of JSON's numbers.
    fn float<T: std::str::FromStr>(&mut self, node: &Node) -> Result<T, Fault> {
        self.expect(Kind::Number, node)?;
        let text = self.scanner.number()?;
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| out_of_range(node.name()))
    }

    /// The types that have a text of their own: written as strings, or as the numbers under them.
    fn logical(&mut self, node: &Node) -> Result<(), Fault> {
        let kind = self.scanner.kind()?;
        if !node.kinds().contains(&kind) {
            return Err(self.scanner.unexpected(node.name()));
        }
        if kind == Kind::Number {
            return match node {
                Node::Decimal(_) if self.literal => Err(self.scanner.unexpected("characters up to U+00FF")),
                Node::Decimal(decimal) => {
                    let text = self.scanner.number()?;
                    put_decimal(self.out, decimal, text)
                }
                Node::Date | Node::Time(1_000) => self.int(node),
                _ => self.long(node),
            };
        }
        let quoted = self.scanner.string()?;
        let text = resolve(&mut self.scratch.text, quoted)?;
        put_text(self.out, node, text, self.literal)
    }

    /// The branch that takes this kind of value; of several the first that can hold it. Only single tokens are ever
    /// tried twice: at most one branch takes objects, and one arrays.
    fn union(&mut self, union: &UnionPlan, depth: u32) -> Result<(), Fault> {
        let kind = self.scanner.kind()?;
        let candidates = union.candidates(kind);
        let [rest @ .., last] = candidates else {
            return Err(wrong_type("a type of the union", kind.name()));
        };
        let start = self.scanner.pos;
        let end = self.out.len();
        for (branch, node) in rest {
            put_long(self.out, *branch as i64);
            if self.value(*node, depth).is_ok() {
                return Ok(());
            }
            self.scanner.pos = start;
            self.out.truncate(end);
        }
        put_long(self.out, last.0 as i64);
        self.value(last.1, depth)
    }

    fn array(&mut self, items: NodeId, node: &Node, depth: u32) -> Result<(), Fault> {
        self.expect(Kind::Array, node)?;
        let block = self.begin_block();
        let mut count = 0;
        let mut more = self.scanner.open(b']', depth)?;
        while more {
            self.value(items, depth + 1).map_err(|fault| fault.inside(&format!("[{count}]")))?;
            count += 1;
            more = self.scanner.more(b']')?;
        }
        self.end_block(block, count);
        Ok(())
    }

    /// A key that is repeated stays repeated in the datum; readers keep the last, as `JSON.parse` does.
    fn map(&mut self, values: NodeId, node: &Node, depth: u32) -> Result<(), Fault> {
        self.expect(Kind::Object, node)?;
        let block = self.begin_block();
        let mut count = 0;
        let mut more = self.scanner.open(b'}', depth)?;
        while more {
            let key = self.scanner.key()?;
            let text = resolve(&mut self.scratch.text, key).map_err(|fault| fault.inside("{}"))?;
            put_bytes(self.out, text);
            self.value(values, depth + 1).map_err(|fault| fault.inside("{}"))?;
            count += 1;
            more = self.scanner.more(b'}')?;
        }
        self.end_block(block, count);
        Ok(())
    }

    /// Leaves one byte for the count of a block that is about to be written.
    fn begin_block(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    /// Puts the count in. The byte that was left is the count of up to 63 items; of none it is the end of the array
    /// already. More items make room once, when all are there.
    fn end_block(&mut self, block: usize, count: i64) {
        if count == 0 {
            return;
        }
        let items = self.out.len();
        put_long(self.out, count);
        let width = self.out.len() - items;
        // From [0][items][count] to [count][items][0], the 0 being the end of the array.
        if width == 1 {
            self.out.swap(block, items);
        } else {
            self.out[block..].rotate_right(width);
            self.out[block + width..].rotate_left(1);
        }
    }
}

/// The string's content: as it stands, or with its escapes resolved into `text`.
#[inline]
fn resolve<'t>(text: &'t mut Vec<u8>, quoted: Quoted<'t>) -> Result<&'t [u8], Fault> {
    if !quoted.escaped {
        return Ok(quoted.raw);
    }
    text.clear();
    unescape(quoted.raw, text)?;
    Ok(text)
}
