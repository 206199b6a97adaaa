//! Numbers, exactly: integers and decimals from their JSON text, and Avro's own way of writing integers.

use super::error::{Cause, Fault, fault, wrong_type};

/// The most digits that a decimal of a contract may have: what 128 bits hold.
pub(super) const DECIMAL_DIGITS_MAX: usize = 38;

/// Appends a long, or an int, in Avro's zigzag variable-length code.
#[inline]
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string's or bytes' length and content.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// The integer that a number's text means. `1e3` and `2.0` are integers; 1.5 is not.
#[inline]
pub(super) fn integer(text: &[u8], expected: &'static str) -> Result<i64, Fault> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // 18 digits always fit.
    if digits.len() <= 18 {
        let mut value = 0i64;
        let plain = digits.iter().all(|byte| {
            value = value * 10 + i64::from(byte.wrapping_sub(b'0'));
            byte.is_ascii_digit()
        });
        if plain {
            return Ok(if negative { -value } else { value });
        }
    }
    let scaled = Decimal::parse(text).and_then(|number| number.scaled(0)).map_err(|problem| match problem {
        Inexact::Fraction => wrong_type(expected, "a number with a fraction"),
        Inexact::Range => out_of_range(expected),
    })?;
    i64::try_from(scaled).map_err(|_| out_of_range(expected))
}

#[cold]
pub(super) fn out_of_range(expected: &str) -> Fault {
    fault(Cause::NumberOutOfRange, format!("the number does not fit {expected}"))
}

/// Why a number cannot be what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inexact {
    /// Digits behind the last place that there is.
    Fraction,
    /// Too many digits.
    Range,
}

/// A decimal number, exactly: `digits * 10^exponent`, the last digit not 0 (or all of it 0).
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    negative: bool,
    digits: u128,
    exponent: i64,
}

impl Decimal {
    /// From text that follows JSON's grammar of numbers.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Inexact> {
        let mut number = Self { negative: text.first() == Some(&b'-'), digits: 0, exponent: 0 };
        let mut zeros = 0u32;
        let mut fraction = false;
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'0'..=b'9' => {
                    number.exponent -= i64::from(fraction);
                    if *byte == b'0' {
                        zeros = zeros.saturating_add(1);
                    } else {
                        number.push(zeros, *byte - b'0')?;
                        zeros = 0;
                    }
                }
                b'.' => fraction = true,
                b'e' | b'E' => {
                    let exponent = std::str::from_utf8(bytes.as_slice()).unwrap_or("");
                    // Beyond i64 only the sign matters: everything is out of range, or all fraction.
                    let beyond = if exponent.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
                    number.exponent += exponent.parse::<i64>().unwrap_or(beyond).clamp(i64::MIN / 4, i64::MAX / 4);
                    break;
                }
                _ => {}
            }
        }
        number.exponent += i64::from(zeros);
        Ok(number)
    }

    /// Adds `zeros` zeros and a digit that is not 0 at the end.
    fn push(&mut self, zeros: u32, digit: u8) -> Result<(), Inexact> {
        if self.digits != 0 {
            let factor = 10u128.checked_pow(zeros + 1).ok_or(Inexact::Range)?;
            self.digits = self.digits.checked_mul(factor).ok_or(Inexact::Range)?;
        }
        self.digits = self.digits.checked_add(u128::from(digit)).ok_or(Inexact::Range)?;
        Ok(())
    }

    /// The number times `10^scale`, if that is an integer.
    pub(super) fn scaled(self, scale: usize) -> Result<i128, Inexact> {
        if self.digits == 0 {
            return Ok(0);
        }
        let power = self.exponent.saturating_add(scale as i64);
        // The last digit is not 0, so a negative power always leaves a fraction.
        if power < 0 {
            return Err(Inexact::Fraction);
        }
        let factor = u32::try_from(power).ok().and_then(|power| 10i128.checked_pow(power)).ok_or(Inexact::Range)?;
        let digits = i128::try_from(self.digits).map_err(|_| Inexact::Range)?;
        let value = digits.checked_mul(factor).ok_or(Inexact::Range)?;
        Ok(if self.negative { -value } else { value })
    }
}

/// The value of a decimal by precision and scale, unscaled. More digits than `scale` behind the point, or more than
/// `precision` in all, is an error: nothing is rounded.
pub(super) fn unscaled(text: &[u8], precision: usize, scale: usize) -> Result<i128, Fault> {
    let refuse = || out_of_range(&format!("decimal({precision}, {scale})"));
    let value = Decimal::parse(text).and_then(|number| number.scaled(scale)).map_err(|_| refuse())?;
    let limit = 10u128.pow(precision.min(DECIMAL_DIGITS_MAX) as u32);
    if value.unsigned_abs() < limit { Ok(value) } else { Err(refuse()) }
}

/// The shortest big-endian two's complement of a number; at least one byte.
pub(super) fn shortest(bytes: &[u8; 16]) -> &[u8] {
    let sign = if bytes[0] & 0x80 == 0 { 0x00 } else { 0xFF };
    let redundant = |pair: &[u8]| pair[0] == sign && pair[1] & 0x80 == sign & 0x80;
    let skip = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    &bytes[skip..]
}
