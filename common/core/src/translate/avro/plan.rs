//! What a pair of schemas is compiled to: a flat list of nodes, one per pair of types that can meet, that the encoder
//! walks along with the writer's bytes.

use super::super::error::Cause;
use super::types::{Type, TypeId};

/// The place of a node in the list. Pairs are compiled once, so recursion is a node that names an earlier one.
pub(super) type NodeId = usize;

/// How values of one writer's type become values of one type of the contract.
#[derive(Debug)]
pub(super) enum Node {
    /// Stands for a record while its fields are compiled; never in a finished plan.
    Unfinished,
    /// The bytes are the same; they are checked as those of this type, the writer's (or a string, where bytes become one).
    Copy(TypeId),
    /// A number that becomes a wider one.
    Widen(Widening),
    /// By the writer's symbol, the contract's; `None`: it has none, and no default.
    Enum(Vec<Option<usize>>),
    /// The items, and whether the writer's take no bytes, so that nothing of the body bounds their count.
    Array(NodeId, bool),
    Map(NodeId),
    /// A writer's union: a node per branch.
    Branches(Vec<NodeId>),
    /// A branch of the contract's union.
    Into(usize, NodeId),
    Record(RecordNode),
    /// Can never be resolved: cause, the field of the contract, what is wrong.
    Fail(Cause, String, String),
}

/// Promotions that change the bytes. From int to long, and between string and bytes, they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Widening {
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
}

/// A pair of records.
#[derive(Debug)]
pub(super) struct RecordNode {
    /// The writer's record.
    pub(super) writer: TypeId,
    /// Whether it takes no bytes.
    pub(super) is_empty: bool,
    /// By the writer's field: the contract's field that it is, and how; `None`: the contract has none.
    pub(super) fields: Vec<Option<(usize, NodeId)>>,
    /// By the contract's field: its datum where the writer has no such field.
    pub(super) defaults: Vec<Option<Vec<u8>>>,
    /// By the writer's field: the number of its drift, where the contract lacks it.
    pub(super) drift: Vec<Option<usize>>,
    /// What to do, in the writer's order; made from the above when all nodes are known.
    pub(super) steps: Vec<Step>,
    /// Where the contract has another order: which pieces make the record. Empty where the steps write it as it stands.
    pub(super) order: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The writer's fields from the first up to (not including) the second are copied.
    Copy(usize, usize),
    /// The writer's field is resolved.
    Resolve(usize, NodeId),
    /// The writer's field is left out, and counted under this number.
    Drop(usize, Option<usize>),
    /// A default.
    Put(Vec<u8>),
}

/// One piece of a record that is put in order at its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What this step wrote.
    Step(usize),
    /// A default.
    Put(Vec<u8>),
}

/// Turns nodes whose bytes are the same on both sides into [`Node::Copy`], and gives records their steps.
pub(super) fn finish(nodes: &mut [Node], writers: &[TypeId]) {
    let same = same_bytes(nodes, writers);
    for id in 0..nodes.len() {
        if same[id] {
            if !matches!(nodes[id], Node::Copy(_)) {
                nodes[id] = Node::Copy(writers[id]);
            }
        } else if let Node::Record(record) = &mut nodes[id] {
            arrange(record, &same);
        }
    }
}

/// Which nodes take every value to the same bytes. Of recursive types all are supposed to until one is found that does not.
fn same_bytes(nodes: &[Node], writers: &[TypeId]) -> Vec<bool> {
    let mut same = vec![true; nodes.len()];
    loop {
        let mut changed = false;
        for id in (0..nodes.len()).rev() {
            let now = same[id] && keeps_bytes(&nodes[id], writers[id], nodes, &same);
            changed |= now != same[id];
            same[id] = now;
        }
        if !changed {
            return same;
        }
    }
}

fn keeps_bytes(node: &Node, writer: TypeId, nodes: &[Node], same: &[bool]) -> bool {
    match node {
        // Not so for bytes that become a string: what is around them would check them as bytes.
        Node::Copy(kind) => *kind == writer,
        Node::Array(inner, _) | Node::Map(inner) => same[*inner],
        Node::Enum(symbols) => symbols.iter().enumerate().all(|(number, symbol)| *symbol == Some(number)),
        Node::Branches(branches) => branches.iter().enumerate().all(|(number, branch)| match nodes[*branch] {
            Node::Into(into, inner) => into == number && same[inner],
            _ => false,
        }),
        Node::Record(record) => {
            record.fields.len() == record.defaults.len()
                && record
                    .fields
                    .iter()
                    .enumerate()
                    .all(|(number, field)| field.is_some_and(|(contract, node)| contract == number && same[node]))
        }
        Node::Into(..) | Node::Widen(_) | Node::Fail(..) | Node::Unfinished => false,
    }
}

/// The steps of a record, and the order of its pieces.
fn arrange(record: &mut RecordNode, same: &[bool]) {
    let taken: Vec<usize> = record.fields.iter().flatten().map(|(contract, _)| *contract).collect();
    let in_order = taken.is_sorted();
    let mut next = 0;
    for (number, field) in record.fields.iter().enumerate() {
        let Some((contract, node)) = *field else {
            record.steps.push(Step::Drop(number, record.drift[number]));
            continue;
        };
        // Every field of the contract in between has a default: it is not the writer's.
        while in_order && next < contract {
            record.steps.extend(record.defaults[next].clone().map(Step::Put));
            next += 1;
        }
        let follows = contract == next;
        next = contract + 1;
        match record.steps.last_mut() {
            Some(Step::Copy(_, end)) if follows && same[node] && *end == number => *end += 1,
            _ if same[node] => record.steps.push(Step::Copy(number, number + 1)),
            _ => record.steps.push(Step::Resolve(number, node)),
        }
    }
    if in_order {
        let rest = record.defaults[next..].iter().flatten();
        record.steps.extend(rest.map(|default| Step::Put(default.clone())));
    } else {
        record.order = order(record);
    }
}

/// By the contract's fields: the step that writes each, or its default.
fn order(record: &RecordNode) -> Vec<Piece> {
    let mut writes = vec![None; record.defaults.len()];
    for (place, step) in record.steps.iter().enumerate() {
        let field = match step {
            Step::Copy(first, _) | Step::Resolve(first, _) => record.fields[*first],
            Step::Drop(..) | Step::Put(_) => None,
        };
        if let Some((contract, _)) = field {
            writes[contract] = Some(place);
        }
    }
    // A field without either is a later one of a step that copies several.
    let piece = |(number, step): (usize, &Option<usize>)| match step {
        Some(step) => Some(Piece::Step(*step)),
        None => record.defaults[number].clone().map(Piece::Put),
    };
    writes.iter().enumerate().filter_map(piece).collect()
}

impl Widening {
    /// The promotion between two types that differ, if there is one that changes the bytes.
    pub(super) fn between(writer: &Type, contract: &Type) -> Option<Self> {
        match (writer, contract) {
            (Type::Int, Type::Float) => Some(Self::IntToFloat),
            (Type::Int, Type::Double) => Some(Self::IntToDouble),
            (Type::Long, Type::Float) => Some(Self::LongToFloat),
            (Type::Long, Type::Double) => Some(Self::LongToDouble),
            (Type::Float, Type::Double) => Some(Self::FloatToDouble),
            _ => None,
        }
    }
}
