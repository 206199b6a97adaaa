//! The few pieces of protobuf's wire format that the fast paths need: writing fields straight from slices, and walking
//! the fields of a message without building it (<https://protobuf.dev/programming-guides/encoding/>).

/// Appends a base-128 varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] takes for `value`.
pub(super) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a field of wire type 0: integers, enums and booleans.
pub(super) fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a field of wire type 2: bytes, strings and messages.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_length(out, field, value.len());
    out.extend_from_slice(value);
}

/// Appends the head of a field of wire type 2, whose `length` bytes the caller writes next.
pub(super) fn put_length(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, length as u64);
}

/// Bytes that [`put_bytes`] takes for a field number below 16 and a value of `length` bytes.
pub(super) fn small_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Uint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5, which none of the messages read here uses.
    Fixed,
}

/// Walks the fields of one message. Ends after the first field that is not well-formed, which it gives as an error.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let head = self.varint()?;
        let number = u32::try_from(head >> 3).map_err(|_| Malformed)?;
        let value = match head & 7 {
            0 => Value::Uint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_the_length_that_was_announced() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            put_varint(&mut out, 7);
            let mut fields = Fields::new(&out);
            assert_eq!(fields.varint(), Ok(value));
            assert_eq!(fields.varint(), Ok(7));
        }
    }

    #[test]
    fn fields_come_back_and_broken_ones_end_the_walk() {
        let mut out = Vec::new();
        put_uint(&mut out, 8, 300);
        put_bytes(&mut out, 2, b"key");
        let fields: Vec<_> = Fields::new(&out).collect();
        assert_eq!(fields, [Ok((8, Value::Uint(300))), Ok((2, Value::Bytes(b"key")))]);
        out.pop();
        let fields: Vec<_> = Fields::new(&out).collect();
        assert_eq!(fields, [Ok((8, Value::Uint(300))), Err(Malformed)]);
    }
}
