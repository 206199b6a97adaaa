//! Avro's rules of resolution: which of the contract's types takes which of the writer's, decided once per pair.
//!
//! By the specification, with these readings where it is silent or implementations differ:
//! - Named types match by full name or by an alias of the contract's, or else by the last parts of these.
//! - Types whose logical types differ do not match (a timestamp's milliseconds as microseconds would be another time),
//!   but for a decimal that gains digits in front of the point. A logical type on one side only means nothing.
//! - What cannot be resolved fails where it is met, not before: a union's branch, a symbol, an item that never comes
//!   harms nobody.
//! - A field of the contract takes the writer's field of its own name; only without one, that of an alias.

use std::collections::HashMap;

use super::super::drift::OnUnknownField;
use super::super::error::Cause;
use super::defaults;
use super::plan::{Node, NodeId, RecordNode, Widening, finish};
use super::types::{EnumType, Field, RecordType, STRING, Type, TypeId, TypeName, Types, short_name};
use super::writer::SchemaError;

/// The most pairs of types that a plan may have.
const NODES_MAX: usize = 20_000;
/// How deep types may be inside each other, named ones included.
const TYPES_DEEP_MAX: u32 = 250;

/// A finished compilation.
pub(super) struct Resolved {
    pub(super) nodes: Vec<Node>,
    pub(super) top: NodeId,
    /// The paths of the writer's fields that the contract lacks.
    pub(super) drift: Vec<String>,
}

/// Compiles a pair of schemas. Errors: too large.
pub(super) fn resolve(
    writer: &Types,
    contract: &Types,
    on_unknown_field: OnUnknownField,
) -> Result<Resolved, SchemaError> {
    let mut resolver = Resolver {
        writer,
        contract,
        on_unknown_field,
        nodes: Vec::new(),
        writers: Vec::new(),
        known: HashMap::new(),
        drift: Vec::new(),
    };
    let top = resolver.pair(writer.top, contract.top, "", 0)?;
    finish(&mut resolver.nodes, &resolver.writers);
    Ok(Resolved { nodes: resolver.nodes, top, drift: resolver.drift })
}

struct Resolver<'a> {
    writer: &'a Types,
    contract: &'a Types,
    on_unknown_field: OnUnknownField,
    nodes: Vec<Node>,
    /// By node: the writer's type.
    writers: Vec<TypeId>,
    known: HashMap<(TypeId, TypeId), NodeId>,
    drift: Vec<String>,
}

/// How well two types match, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Exact,
    ShortName,
    Promotion,
}

impl Resolver<'_> {
    /// The node of a pair. `path`: the contract's fields up to here, for drift.
    fn pair(&mut self, writer: TypeId, contract: TypeId, path: &str, depth: u32) -> Result<NodeId, SchemaError> {
        if let Some(known) = self.known.get(&(writer, contract)) {
            return Ok(*known);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(SchemaError::TooLarge(format!("more than {NODES_MAX} pairs of types")));
        }
        if depth > TYPES_DEEP_MAX {
            return Err(SchemaError::TooLarge(format!("types more than {TYPES_DEEP_MAX} deep inside each other")));
        }
        let id = self.nodes.len();
        self.nodes.push(Node::Unfinished);
        self.writers.push(writer);
        self.known.insert((writer, contract), id);
        self.nodes[id] = self.node(writer, contract, path, depth + 1)?;
        Ok(id)
    }

    fn node(&mut self, writer: TypeId, contract: TypeId, path: &str, depth: u32) -> Result<Node, SchemaError> {
        let (writers, contracts) = (self.writer, self.contract);
        match (writers.get(writer), contracts.get(contract)) {
            (Type::Union(branches), _) => {
                let nodes = branches.iter().map(|branch| self.pair(*branch, contract, path, depth));
                Ok(Node::Branches(nodes.collect::<Result<_, _>>()?))
            }
            (_, Type::Union(branches)) => {
                let best = (0..branches.len())
                    .filter_map(|number| Some((self.matching(writer, branches[number])?, number)))
                    .min();
                match best {
                    Some((_, number)) => Ok(Node::Into(number, self.pair(writer, branches[number], path, depth)?)),
                    None => Ok(self.mismatch(writer, contract)),
                }
            }
            _ if self.matching(writer, contract).is_none() => Ok(self.mismatch(writer, contract)),
            (Type::Record(from), Type::Record(to)) => self.record(writer, from, to, path, depth),
            (Type::Array(from), Type::Array(to)) => {
                Ok(Node::Array(self.pair(*from, *to, path, depth)?, writers.is_empty(*from)))
            }
            (Type::Map(from), Type::Map(to)) => Ok(Node::Map(self.pair(*from, *to, path, depth)?)),
            (Type::Enum(from), Type::Enum(to)) => Ok(enumeration(from, to)),
            (Type::Bytes, Type::String) => Ok(Node::Copy(STRING)),
            (from, to) => Ok(Widening::between(from, to).map_or(Node::Copy(writer), Node::Widen)),
        }
    }

    /// Whether the writer's type, no union, goes to the contract's, no union, leaving aside what is inside.
    fn matching(&self, writer: TypeId, contract: TypeId) -> Option<Match> {
        if !self.same_meaning(writer, contract) {
            return None;
        }
        match (self.writer.get(writer), self.contract.get(contract)) {
            (Type::Null, Type::Null)
            | (Type::Boolean, Type::Boolean)
            | (Type::Int, Type::Int)
            | (Type::Long, Type::Long)
            | (Type::Float, Type::Float)
            | (Type::Double, Type::Double)
            | (Type::Bytes, Type::Bytes)
            | (Type::String, Type::String)
            | (Type::Array(_), Type::Array(_))
            | (Type::Map(_), Type::Map(_)) => Some(Match::Exact),
            (Type::Record(from), Type::Record(to)) => same_name(&from.name, &to.name),
            (Type::Enum(from), Type::Enum(to)) => same_name(&from.name, &to.name),
            (Type::Fixed(from, size), Type::Fixed(to, wanted)) if size == wanted => same_name(from, to),
            (Type::Int, Type::Long) | (Type::String, Type::Bytes) | (Type::Bytes, Type::String) => {
                Some(Match::Promotion)
            }
            (from, to) => Widening::between(from, to).map(|_| Match::Promotion),
        }
    }

    fn same_meaning(&self, writer: TypeId, contract: TypeId) -> bool {
        match (self.writer.logical(writer), self.contract.logical(contract)) {
            (Some(from), Some(to)) => from.name == to.name && from.scale == to.scale && from.precision <= to.precision,
            _ => true,
        }
    }

    fn mismatch(&self, writer: TypeId, contract: TypeId) -> Node {
        let describe = |types: &Types, id: TypeId| match types.logical(id) {
            Some(logical) => format!("{} ({})", types.get(id).describe(), logical.name),
            None => types.get(id).describe(),
        };
        let (from, to) = (describe(self.writer, writer), describe(self.contract, contract));
        Node::Fail(Cause::WrongType, String::new(), format!("the contract's {to} does not take the writer's {from}"))
    }

    fn record(
        &mut self,
        writer: TypeId,
        from: &RecordType,
        to: &RecordType,
        path: &str,
        depth: u32,
    ) -> Result<Node, SchemaError> {
        let mut node = RecordNode {
            writer,
            is_empty: self.writer.is_empty(writer),
            fields: vec![None; from.fields.len()],
            defaults: Vec::new(),
            drift: vec![None; from.fields.len()],
            steps: Vec::new(),
            order: Vec::new(),
        };
        for (number, field) in to.fields.iter().enumerate() {
            let inner = format!("{path}{}{}", if path.is_empty() { "" } else { "." }, field.name);
            let Some(source) = source_of(from, field) else {
                match defaults::absent(self.contract, field) {
                    Ok(default) => node.defaults.push(Some(default)),
                    Err(problem) => return Ok(Node::Fail(Cause::MissingField, field.name.clone(), problem)),
                }
                continue;
            };
            node.defaults.push(None);
            node.fields[source] = Some((number, self.pair(from.fields[source].id, field.id, &inner, depth)?));
        }
        for (number, field) in from.fields.iter().enumerate() {
            if node.fields[number].is_some() {
                continue;
            }
            match self.on_unknown_field {
                OnUnknownField::Ignore => {}
                OnUnknownField::Count => {
                    node.drift[number] = Some(self.drift.len());
                    self.drift.push(format!("{path}{}{}", if path.is_empty() { "" } else { "." }, field.name));
                }
                OnUnknownField::DeadLetter => {
                    let detail = "the contract has no such field".to_owned();
                    return Ok(Node::Fail(Cause::UnknownField, field.name.clone(), detail));
                }
            }
        }
        Ok(Node::Record(node))
    }
}

/// The writer's field that the contract's takes: that of its name, or else of an alias. No two take the same: a contract's
/// names and aliases are all different ([`super::Contract::parse`] refuses others).
fn source_of(from: &RecordType, field: &Field) -> Option<usize> {
    let named = |name: &String| from.fields.iter().position(|field| field.name == *name);
    named(&field.name).or_else(|| field.aliases.iter().find_map(named))
}

fn enumeration(from: &EnumType, to: &EnumType) -> Node {
    let find = |symbol: &String| to.symbols.iter().position(|known| known == symbol).or(to.default);
    Node::Enum(from.symbols.iter().map(find).collect())
}

fn same_name(from: &TypeName, to: &TypeName) -> Option<Match> {
    if from.full == to.full || to.aliases.contains(&from.full) {
        return Some(Match::Exact);
    }
    let mut names = to.aliases.iter().chain([&to.full]);
    names.any(|name| short_name(name) == short_name(&from.full)).then_some(Match::ShortName)
}
