//! From the content of JSON strings to the Avro types that have a text of their own.
//!
//! The rules: bytes and fixed as Avro's own JSON encoding has them, one character from U+0000 to U+00FF per byte; a
//! UUID in its 36 characters, kept as it came; dates and times as in [`super::time`]; decimals as JSON numbers, in a
//! string or bare, exactly.

use super::error::{Cause, Fault, fault, wrong_type};
use super::number::{out_of_range, put_bytes, put_long, shortest, unscaled};
use super::plan::{DecimalPlan, EnumPlan, Node};
use super::scan::Scanner;
use super::time;

/// Appends a string's content as the type `node`. `literal`: the text is a schema's default, where logical types stand
/// as the types under them.
pub(super) fn put_text(out: &mut Vec<u8>, node: &Node, text: &[u8], literal: bool) -> Result<(), Fault> {
    match node {
        Node::Bytes => put_characters(out, node, text, None),
        Node::Fixed(size) => put_characters(out, node, text, Some(*size)),
        Node::UuidFixed if literal => put_characters(out, node, text, Some(16)),
        Node::Decimal(decimal) if literal => put_characters(out, node, text, decimal.size),
        Node::Enum(plan) => put_symbol(out, plan, text),
        Node::Uuid => {
            uuid(text).ok_or_else(|| bad_format(node))?;
            put_bytes(out, text);
            Ok(())
        }
        Node::UuidFixed => {
            out.extend_from_slice(&uuid(text).ok_or_else(|| bad_format(node))?);
            Ok(())
        }
        Node::Decimal(decimal) => {
            let mut scanner = Scanner::new(text);
            let number = scanner.number().map_err(|_| bad_format(node))?;
            if number.len() < text.len() {
                return Err(bad_format(node));
            }
            put_decimal(out, decimal, number)
        }
        _ if literal => Err(wrong_type("a number", "a string")),
        _ => {
            put_long(out, moment(node, text)?);
            Ok(())
        }
    }
}

fn bad_format(node: &Node) -> Fault {
    fault(Cause::BadFormat, format!("the string is not {}", node.name()))
}

/// A date, time or timestamp in the units of its type.
fn moment(node: &Node, text: &[u8]) -> Result<i64, Fault> {
    let value = match node {
        Node::Date => time::date(text),
        Node::Time(per_second) => time::time(text).map(|nanos| nanos / (1_000_000_000 / per_second)),
        Node::Timestamp(per_second, local) => {
            let instant = time::timestamp(text, *local).ok_or_else(|| bad_format(node))?;
            return instant.in_units(*per_second).ok_or_else(|| out_of_range(node.name()));
        }
        _ => None,
    };
    value.ok_or_else(|| bad_format(node))
}

/// One byte per character. `size`: of a fixed; bytes have their length in front.
fn put_characters(out: &mut Vec<u8>, node: &Node, text: &[u8], size: Option<usize>) -> Result<(), Fault> {
    let characters = std::str::from_utf8(text).map_err(|_| bad_format(node))?.chars();
    let count = characters.clone().count();
    match size {
        Some(size) if size != count => {
            return Err(fault(Cause::BadFormat, format!("expected {size} characters, one per byte, found {count}")));
        }
        Some(_) => {}
        None => put_long(out, count as i64),
    }
    for character in characters {
        out.push(u8::try_from(u32::from(character)).map_err(|_| bad_format(node))?);
    }
    Ok(())
}

fn put_symbol(out: &mut Vec<u8>, plan: &EnumPlan, text: &[u8]) -> Result<(), Fault> {
    let known = plan.symbols.iter().position(|symbol| symbol.as_bytes() == text);
    let Some(symbol) = known.or(plan.default) else {
        return Err(fault(Cause::BadEnumSymbol, format!("expected one of: {}", plan.symbols.join(", "))));
    };
    put_long(out, symbol as i64);
    Ok(())
}

/// Appends a number as a decimal: big-endian two's complement, the shortest for bytes, of its full size for fixed.
pub(super) fn put_decimal(out: &mut Vec<u8>, plan: &DecimalPlan, text: &[u8]) -> Result<(), Fault> {
    let value = unscaled(text, plan.precision, plan.scale)?;
    let all = value.to_be_bytes();
    match plan.size {
        None => put_bytes(out, shortest(&all)),
        Some(size) => {
            // The precision was checked against the size, so the shortest form fits.
            let sign = if value < 0 { 0xFF } else { 0 };
            let bytes = shortest(&all);
            out.resize(out.len() + size.saturating_sub(bytes.len()), sign);
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// The 16 bytes of `8-4-4-4-12` hexadecimal digits.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = 0;
    if text.len() != 36 {
        return None;
    }
    for (place, byte) in text.iter().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)? as u8;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}
