//! Reads Avro's bytes, and steps over values by their schema. Everything is checked on the way: a value that was stepped
//! over is well-formed.

use super::super::error::{Cause, Fault, fault};
use super::super::scan::MAX_DEPTH;
use super::types::{Type, TypeId, Types};

/// Values without bytes that one body may have in arrays, and empty records: no byte of the body bounds them.
const EMPTY_VALUES_MAX: u64 = 65_536;

/// A body and the place up to which it was read.
pub(super) struct Input<'a> {
    body: &'a [u8],
    pub(super) pos: usize,
    empty_values_left: u64,
}

/// One block of an array or a map.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) count: u64,
    /// Where it must end, if it says.
    end: Option<usize>,
}

impl<'a> Input<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, pos: 0, empty_values_left: EMPTY_VALUES_MAX }
    }

    /// What was read from `start` on.
    #[inline]
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.body[start..self.pos]
    }

    fn remaining(&self) -> usize {
        self.body.len() - self.pos
    }

    /// The whole body must have been read.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.remaining() {
            0 => Ok(()),
            more => Err(fault(Cause::TrailingBytes, format!("{more} bytes follow the record"))),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.body[self.pos..];
        if count > rest.len() {
            return Err(truncated(count, rest.len()));
        }
        self.pos += count;
        Ok(&rest[..count])
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        match self.body.get(self.pos) {
            Some(byte) if *byte < 0x80 => {
                self.pos += 1;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<i64, Fault> {
        let mut value = 0u64;
        for (place, byte) in self.body[self.pos..].iter().enumerate().take(10) {
            // The tenth byte has room for one bit.
            if place == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * place);
            if *byte < 0x80 {
                self.pos += place + 1;
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if self.remaining() < 10 { truncated(1, 0) } else { not_avro("a number of more than 64 bits") })
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| not_avro("an int of more than 32 bits"))
    }

    /// Bytes with their length in front.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(not_avro("a negative length")),
        }
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a [u8], Fault> {
        let bytes = self.bytes()?;
        if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
            return Err(fault(Cause::InvalidUtf8, "the string is not UTF-8"));
        }
        Ok(bytes)
    }

    /// The number of a union's branch or an enum's symbol, of `count` that there are.
    #[inline]
    pub(super) fn choice(&mut self, count: usize, what: &str) -> Result<usize, Fault> {
        let number = self.long()?;
        let known = usize::try_from(number).ok().filter(|number| *number < count);
        known.ok_or_else(|| not_avro(format!("{what} {number} of {count}")))
    }

    /// The next block of items, `None` at the end. A count that the rest of the body cannot hold is an error at once.
    #[inline]
    pub(super) fn block(&mut self, items_are_empty: bool) -> Result<Option<Block>, Fault> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut block = Block { count: count.unsigned_abs(), end: None };
        if count < 0 {
            let size = self.long()?;
            let size = usize::try_from(size).map_err(|_| not_avro("a negative size of a block"))?;
            if size > self.remaining() {
                return Err(truncated(size, self.remaining()));
            }
            block.end = Some(self.pos + size);
        }
        if items_are_empty {
            self.charge(block.count)?;
        } else if block.count > self.remaining() as u64 {
            return Err(fault(Cause::Truncated, format!("{} items in {} bytes", block.count, self.remaining())));
        }
        Ok(Some(block))
    }

    #[inline]
    pub(super) fn end_block(&self, block: Block) -> Result<(), Fault> {
        match block.end {
            Some(end) if end != self.pos => Err(not_avro("a block that is not of the size that it says")),
            _ => Ok(()),
        }
    }

    /// Counts values that take no bytes.
    #[inline]
    pub(super) fn charge(&mut self, count: u64) -> Result<(), Fault> {
        match self.empty_values_left.checked_sub(count) {
            Some(left) => {
                self.empty_values_left = left;
                Ok(())
            }
            None => Err(fault(Cause::ExpandsTooFar, format!("more than {EMPTY_VALUES_MAX} values that take no bytes"))),
        }
    }

    /// Steps over a value. `depth`: records, arrays and maps already open.
    pub(super) fn skip(&mut self, types: &Types, id: TypeId, depth: u32) -> Result<(), Fault> {
        match types.get(id) {
            Type::String => self.string().map(drop),
            Type::Union(branches) => {
                let branch = self.choice(branches.len(), "branch")?;
                self.skip(types, branches[branch], depth)
            }
            Type::Long => self.long().map(drop),
            Type::Int => self.int().map(drop),
            Type::Null => Ok(()),
            Type::Record(record) => {
                if types.is_empty(id) {
                    return Ok(());
                }
                let depth = deeper(depth)?;
                for field in &record.fields {
                    self.skip(types, field.id, depth).map_err(|fault| fault.inside(&field.name))?;
                }
                Ok(())
            }
            Type::Double => self.take(8).map(drop),
            Type::Float => self.take(4).map(drop),
            Type::Bytes => self.bytes().map(drop),
            Type::Fixed(_, size) => self.take(*size).map(drop),
            Type::Enum(one) => self.choice(one.symbols.len(), "symbol").map(drop),
            Type::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                _ => Err(not_avro("a boolean that is neither 0 nor 1")),
            },
            Type::Array(items) => self.skip_array(types, *items, deeper(depth)?),
            Type::Map(values) => self.skip_map(types, *values, deeper(depth)?),
            Type::Unfinished => Err(not_avro("an unfinished schema")),
        }
    }

    fn skip_array(&mut self, types: &Types, items: TypeId, depth: u32) -> Result<(), Fault> {
        let empty = types.is_empty(items);
        let mut before = 0;
        while let Some(block) = self.block(empty)? {
            for item in 0..if empty { 0 } else { block.count } {
                self.skip(types, items, depth).map_err(|fault| fault.inside(&format!("[{}]", before + item)))?;
            }
            self.end_block(block)?;
            before += block.count;
        }
        Ok(())
    }

    fn skip_map(&mut self, types: &Types, values: TypeId, depth: u32) -> Result<(), Fault> {
        while let Some(block) = self.block(false)? {
            for _ in 0..block.count {
                self.string().map_err(|fault| fault.inside("{}"))?;
                self.skip(types, values, depth).map_err(|fault| fault.inside("{}"))?;
            }
            self.end_block(block)?;
        }
        Ok(())
    }
}

/// One container deeper.
#[inline]
pub(super) fn deeper(depth: u32) -> Result<u32, Fault> {
    if depth >= MAX_DEPTH {
        let detail = format!("more than {MAX_DEPTH} records, arrays and maps inside each other");
        return Err(fault(Cause::TooDeep, detail));
    }
    Ok(depth + 1)
}

#[cold]
pub(super) fn not_avro(found: impl Into<String>) -> Fault {
    fault(Cause::NotAvro, format!("not what the writer's schema says: {}", found.into()))
}

#[cold]
fn truncated(wanted: usize, left: usize) -> Fault {
    fault(Cause::Truncated, format!("the body ends too early: {wanted} more bytes wanted, {left} there"))
}
