//! Reading JSON text by RFC 8259, byte by byte and word by word. Knows nothing of contracts.
//!
//! The text has been checked to be UTF-8 before a scanner is made. Every piece a scanner hands out is cut at ASCII
//! bytes, so each piece is UTF-8 as well.

use super::error::{Cause, Fault, fault, wrong_type};

/// Objects and arrays inside each other that a body may have. The parsers of others that read what we write (serde_json,
/// Jackson's 1000, V8) take at least this.
pub const MAX_DEPTH: u32 = 128;

/// The six kinds of JSON value, seen from the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    /// The source bytes without the quotes, escapes not yet resolved.
    pub(super) raw: &'a [u8],
    /// Whether `raw` holds a backslash.
    pub(super) escaped: bool,
}

/// A cursor over one text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    pub(super) text: &'a [u8],
    pub(super) pos: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of a word that end a run of plain string characters: quote, backslash, control characters. Bytes
/// above the lowest marked one may be marked by a borrow; the lowest is always right, and only it is used.
#[inline(always)]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    ((quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash) | control) & HIGHS
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, pos: 0 }
    }

    /// The byte at the cursor; 0, which is never legal outside a string, at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.text.get(self.pos).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn skip_whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.pos += 1;
        }
    }

    /// Takes `byte` if it is next.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.pos += usize::from(found);
        found
    }

    /// What kind of value starts here.
    #[inline(always)]
    pub(super) fn kind(&self) -> Result<Kind, Fault> {
        Ok(match self.peek() {
            b'"' => Kind::String,
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => return Err(self.stray("a value")),
        })
    }

    /// The fault for a byte that cannot stand here. Never names the byte.
    #[cold]
    pub(super) fn stray(&self, expected: &str) -> Fault {
        let found = if self.pos >= self.text.len() { "the end of the body" } else { "something else" };
        fault(Cause::NotJson, format!("expected {expected}, found {found} at byte {}", self.pos))
    }

    /// The fault for a value of another kind; not JSON where there is no value at all.
    #[cold]
    pub(super) fn unexpected(&self, expected: &str) -> Fault {
        self.kind().map_or_else(|fault| fault, |kind| wrong_type(expected, kind.name()))
    }

    /// A word: `null`, `true`, `false`.
    #[inline]
    pub(super) fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.text[self.pos..].starts_with(word) {
            return Err(self.stray("a value"));
        }
        self.pos += word.len();
        Ok(())
    }

    /// Takes a string, from quote to quote. Escapes are checked to be well formed; surrogates are looked at only when
    /// the string is decoded, since text that is carried as it stands need not be decodable.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        if !self.take(b'"') {
            return Err(self.stray("a string"));
        }
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos = end_of_run(self.text, self.pos);
            match self.peek() {
                b'"' => {
                    let raw = &self.text[start..self.pos];
                    self.pos += 1;
                    return Ok(Quoted { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.pos += 1;
                    self.escape()?;
                }
                _ => return Err(self.stray("a quote or a character that may stand in a string")),
            }
        }
    }

    /// Checks what follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.pos += 1,
            b'u' => {
                let digits = self.text.get(self.pos + 1..self.pos + 5).unwrap_or_default();
                if digits.len() != 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.stray("four hexadecimal digits"));
                }
                self.pos += 5;
            }
            _ => return Err(self.stray("an escape")),
        }
        Ok(())
    }

    /// Takes a number by JSON's grammar and gives its text.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.pos;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.pos += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.pos])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.pos;
        while self.peek().is_ascii_digit() {
            self.pos += 1;
        }
        if self.pos == start { Err(self.stray("a digit")) } else { Ok(()) }
    }

    /// Takes a key and its colon, and stands before the value.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Quoted<'a>, Fault> {
        let key = self.string()?;
        self.skip_whitespace();
        if !self.take(b':') {
            return Err(self.stray("a colon"));
        }
        self.skip_whitespace();
        Ok(key)
    }

    /// Enters an object or array whose bracket is next; true if there is a first element before `close`.
    #[inline]
    pub(super) fn open(&mut self, close: u8, depth: u32) -> Result<bool, Fault> {
        if depth >= MAX_DEPTH {
            return Err(fault(Cause::TooDeep, format!("more than {MAX_DEPTH} objects and arrays inside each other")));
        }
        self.pos += 1;
        self.skip_whitespace();
        Ok(!self.take(close))
    }

    /// After an element: true if a further one follows, false if `close` was taken.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip_whitespace();
        if self.take(b',') {
            self.skip_whitespace();
            return Ok(true);
        }
        if self.take(close) { Ok(false) } else { Err(self.stray("a comma or the closing bracket")) }
    }

    /// Takes one value of any kind, checking it, and gives its exact text. `depth`: containers already open.
    #[inline]
    pub(super) fn skip(&mut self, depth: u32) -> Result<&'a [u8], Fault> {
        let start = self.pos;
        self.skip_value(depth)?;
        Ok(&self.text[start..self.pos])
    }

    fn skip_value(&mut self, depth: u32) -> Result<(), Fault> {
        match self.kind()? {
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Null => self.word(b"null"),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Object => {
                let mut more = self.open(b'}', depth)?;
                while more {
                    self.key()?;
                    self.skip_value(depth + 1)?;
                    more = self.more(b'}')?;
                }
                Ok(())
            }
            Kind::Array => {
                let mut more = self.open(b']', depth)?;
                while more {
                    self.skip_value(depth + 1)?;
                    more = self.more(b']')?;
                }
                Ok(())
            }
        }
    }

    /// Takes `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool, Fault> {
        let value = self.peek() == b't';
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// After the value: nothing but whitespace.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.pos == self.text.len() {
            return Ok(());
        }
        Err(fault(Cause::TrailingBytes, format!("the JSON value ends at byte {}, the body goes on", self.pos)))
    }
}

/// The first byte at or after `pos` that is not a plain string character, or the end of the text.
#[inline(always)]
fn end_of_run(text: &[u8], mut pos: usize) -> usize {
    while let Some(chunk) = text.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = special(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return pos + (marks.trailing_zeros() / 8) as usize;
        }
        pos += 8;
    }
    while let Some(byte) = text.get(pos) {
        if *byte < 0x20 || matches!(*byte, b'"' | b'\\') {
            break;
        }
        pos += 1;
    }
    pos
}

/// Whether the whole text is one JSON value and nothing else.
pub(super) fn check(text: &[u8]) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.skip_whitespace();
    scanner.skip(0)?;
    scanner.end()
}

/// Resolves the escapes of a string that has some, appending UTF-8 to `out`. Errors: half of a surrogate pair.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let code = rest[at + 1];
        rest = &rest[at + 2..];
        out.push(match code {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = unicode(&mut rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        });
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The character of `\uXXXX`, or of a pair of them, with `rest` after the first `\u`.
fn unicode(rest: &mut &[u8]) -> Result<char, Fault> {
    let lone = || fault(Cause::LoneSurrogate, "half of a surrogate pair, which UTF-8 cannot hold");
    let first = hex(rest);
    if let Some(character) = char::from_u32(first) {
        return Ok(character);
    }
    // A high surrogate, and a low one right behind it.
    if first >= 0xDC00 || !rest.starts_with(b"\\u") {
        return Err(lone());
    }
    *rest = &rest[2..];
    let second = hex(rest);
    if !(0xDC00..0xE000).contains(&second) {
        return Err(lone());
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or_else(lone)
}

/// Four hexadecimal digits, which the scanner has already checked to be there.
fn hex(rest: &mut &[u8]) -> u32 {
    let (digits, after) = rest.split_at(4);
    *rest = after;
    digits.iter().fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}
