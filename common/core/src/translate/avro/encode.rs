//! Walks the plan and the writer's bytes together, and writes the contract's bytes.
//!
//! Invariant: a value is always written at the end of `out`. A record whose fields the writer has in the contract's order
//! is written as it comes; of another its pieces are copied in order behind, and moved down.

use super::super::error::{Cause, Fault, fault};
use super::super::number::put_long;
use super::input::{Input, deeper};
use super::plan::{Node, NodeId, Piece, RecordNode, Step, Widening};
use super::types::{Field, Type, TypeId, Types};

/// The most bytes that one body may become. Defaults in the items of an array may make much of little.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Memory that is used again for every record, so that nothing is allocated per record. One per lane.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Of every open record that is put in order at its end: where each step's piece is in `out`.
    spans: Vec<(usize, usize)>,
    /// Fields left out of this body, by their number, each once.
    pub(super) dropped: Vec<usize>,
}

pub(super) struct Encoder<'a> {
    nodes: &'a [Node],
    types: &'a Types,
    pub(super) input: Input<'a>,
    out: &'a mut Vec<u8>,
    out_max: usize,
    scratch: &'a mut Scratch,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        types: &'a Types,
        body: &'a [u8],
        out: &'a mut Vec<u8>,
        scratch: &'a mut Scratch,
    ) -> Self {
        scratch.spans.clear();
        scratch.dropped.clear();
        let out_max = out.len() + OUTPUT_BYTES_MAX;
        Self { nodes, types, input: Input::new(body), out, out_max, scratch }
    }

    /// Translates the value at the cursor. `depth`: records, arrays and maps already open.
    pub(super) fn value(&mut self, id: NodeId, depth: u32) -> Result<(), Fault> {
        let nodes = self.nodes;
        match &nodes[id] {
            Node::Copy(kind) => {
                let start = self.input.pos;
                self.input.skip(self.types, *kind, depth)?;
                self.out.extend_from_slice(self.input.since(start));
                Ok(())
            }
            Node::Record(record) => self.record(record, deeper(depth)?),
            Node::Branches(branches) => {
                let branch = self.input.choice(branches.len(), "branch")?;
                self.value(branches[branch], depth)
            }
            Node::Into(branch, inner) => {
                put_long(self.out, *branch as i64);
                self.value(*inner, depth)
            }
            Node::Array(items, empty) => self.array(*items, *empty, deeper(depth)?),
            Node::Map(values) => self.map(*values, deeper(depth)?),
            Node::Widen(widening) => self.widen(*widening),
            Node::Enum(symbols) => match symbols[self.input.choice(symbols.len(), "symbol")?] {
                Some(symbol) => {
                    put_long(self.out, symbol as i64);
                    Ok(())
                }
                None => Err(fault(Cause::BadEnumSymbol, "the contract has no such symbol, and no default")),
            },
            Node::Fail(cause, field, detail) => {
                let fault = fault(*cause, detail.as_str());
                Err(if field.is_empty() { fault } else { fault.inside(field) })
            }
            Node::Unfinished => Err(fault(Cause::WrongType, "an unfinished plan")),
        }
    }

    fn widen(&mut self, widening: Widening) -> Result<(), Fault> {
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        match widening {
            Widening::IntToFloat => {
                let value = self.input.int()? as f32;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Widening::LongToFloat => {
                let value = self.input.long()? as f32;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Widening::IntToDouble => {
                let value = f64::from(self.input.int()?);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Widening::LongToDouble => {
                let value = self.input.long()? as f64;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Widening::FloatToDouble => {
                let value = f64::from(float(self.input.take(4)?));
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Blocks stay blocks; the sizes that a writer gave them do not hold any more, and are left out.
    fn array(&mut self, items: NodeId, empty: bool, depth: u32) -> Result<(), Fault> {
        let mut before = 0;
        while let Some(block) = self.input.block(empty)? {
            put_long(self.out, block.count as i64);
            for item in 0..block.count {
                self.value(items, depth).map_err(|fault| fault.inside(&format!("[{}]", before + item)))?;
                self.bounded()?;
            }
            self.input.end_block(block)?;
            before += block.count;
        }
        self.out.push(0);
        Ok(())
    }

    fn map(&mut self, values: NodeId, depth: u32) -> Result<(), Fault> {
        while let Some(block) = self.input.block(false)? {
            put_long(self.out, block.count as i64);
            for _ in 0..block.count {
                let start = self.input.pos;
                self.input.string().map_err(|fault| fault.inside("{}"))?;
                self.out.extend_from_slice(self.input.since(start));
                self.value(values, depth).map_err(|fault| fault.inside("{}"))?;
                self.bounded()?;
            }
            self.input.end_block(block)?;
        }
        self.out.push(0);
        Ok(())
    }

    #[inline]
    fn bounded(&self) -> Result<(), Fault> {
        if self.out.len() > self.out_max {
            let detail = format!("the record becomes longer than {OUTPUT_BYTES_MAX} bytes by the contract");
            return Err(fault(Cause::ExpandsTooFar, detail));
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordNode, depth: u32) -> Result<(), Fault> {
        if record.is_empty {
            self.input.charge(1)?;
        }
        let Type::Record(writer) = self.types.get(record.writer) else {
            return Err(fault(Cause::WrongType, "an unfinished plan"));
        };
        let start = self.out.len();
        let base = self.scratch.spans.len();
        for step in &record.steps {
            let from = self.out.len();
            self.step(step, &writer.fields, depth)?;
            if !record.order.is_empty() {
                self.scratch.spans.push((from, self.out.len()));
            }
        }
        self.bounded()?;
        if !record.order.is_empty() {
            self.reorder(record, start, base);
            self.scratch.spans.truncate(base);
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, step: &Step, fields: &[Field], depth: u32) -> Result<(), Fault> {
        match step {
            Step::Copy(first, end) => {
                let start = self.input.pos;
                for field in &fields[*first..*end] {
                    self.skip(field.id, &field.name, depth)?;
                }
                self.out.extend_from_slice(self.input.since(start));
                Ok(())
            }
            Step::Resolve(number, node) => {
                self.value(*node, depth).map_err(|fault| fault.inside(&fields[*number].name))
            }
            Step::Drop(number, drift) => {
                if let Some(drift) = drift
                    && !self.scratch.dropped.contains(drift)
                {
                    self.scratch.dropped.push(*drift);
                }
                self.skip(fields[*number].id, &fields[*number].name, depth)
            }
            Step::Put(default) => {
                self.out.extend_from_slice(default);
                Ok(())
            }
        }
    }

    #[inline]
    fn skip(&mut self, kind: TypeId, name: &str, depth: u32) -> Result<(), Fault> {
        self.input.skip(self.types, kind, depth).map_err(|fault| fault.inside(name))
    }

    /// Brings the pieces of a record into the contract's order: copies them behind, and moves the copy down.
    fn reorder(&mut self, record: &RecordNode, start: usize, base: usize) {
        let copy = self.out.len();
        for piece in &record.order {
            match piece {
                Piece::Step(step) => {
                    let (from, to) = self.scratch.spans[base + step];
                    debug_assert!(start <= from && from <= to && to <= copy, "a piece is in the record");
                    self.out.extend_from_within(from..to);
                }
                Piece::Put(default) => self.out.extend_from_slice(default),
            }
        }
        self.out.drain(start..copy);
    }
}
