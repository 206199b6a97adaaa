//! A record's headers and key as Pulsar has them: properties are pairs of UTF-8 strings with names that should not
//! repeat (of a repeated name Java keeps the last value, Python the first; one that is not UTF-8 breaks the Python
//! client), a key is a UTF-8 string or base64 with a flag.
//!
//! The rule, without loss: a header is the property of its name and value. Where that cannot be, it is a property
//! `bridge.header.<n>.<form>.<name>`, `n` its place among all headers of the record, counted from 0:
//!
//! | the header | form | the property's value |
//! |---|---|---|
//! | repeats the name of an earlier one, or its name starts with `bridge.` | `text` | the value |
//! | has a value that is not UTF-8 | `base64` | the value in base64 (RFC 4648, padded) |
//! | has no value (null) | `null` | empty |

use std::borrow::Cow;
use std::collections::HashSet;

use crate::record::Header;

/// What the names of our own properties start with.
pub const OWN: &str = "bridge.";
/// Up to so many headers a table of their names is slower than looking through them.
const FEW: usize = 32;
/// What the names of encoded headers start with.
pub const ENCODED: &str = "bridge.header.";

/// Gives each header as a property, in order. Allocates only for those that must be encoded.
pub fn properties(headers: &[Header<'_>], mut each: impl FnMut(&str, &str)) {
    // A few names are compared one by one; of many, as a message may have, each is looked up.
    let mut seen = (headers.len() > FEW).then(HashSet::new);
    for (place, header) in headers.iter().enumerate() {
        let text = header.value.map(std::str::from_utf8);
        let repeats = match &mut seen {
            Some(seen) => !seen.insert(header.name),
            None => headers[..place].iter().any(|earlier| earlier.name == header.name),
        };
        let taken = repeats || header.name.starts_with(OWN);
        let mut encoded = |form: &str, value: &str| each(&format!("{ENCODED}{place}.{form}.{}", header.name), value);
        match (text, header.value) {
            (Some(Ok(text)), _) if !taken => each(header.name, text),
            (Some(Ok(text)), _) => encoded("text", text),
            (_, Some(bytes)) => encoded("base64", &base64(bytes)),
            (_, None) => encoded("null", ""),
        }
    }
}

/// A header as [`headers`] gives it back.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// The headers that these properties were made from, in their order; other `bridge.*` properties are left out. `None`:
/// an encoded name or value that [`properties`] never makes.
pub fn headers<'p>(properties: impl IntoIterator<Item = (&'p str, &'p str)>) -> Option<Vec<OwnedHeader>> {
    let mut plain = Vec::new();
    let mut encoded = Vec::new();
    for (name, value) in properties {
        if let Some(rest) = name.strip_prefix(ENCODED) {
            let (place, rest) = rest.split_once('.')?;
            let (form, name) = rest.split_once('.')?;
            let value = match form {
                "text" => Some(value.as_bytes().to_vec()),
                "base64" => Some(from_base64(value)?),
                "null" if value.is_empty() => None,
                _ => return None,
            };
            encoded.push((place.parse::<usize>().ok()?, (name.to_owned(), value)));
        } else if !name.starts_with(OWN) {
            plain.push((name.to_owned(), Some(value.as_bytes().to_vec())));
        }
    }
    encoded.sort_by_key(|(place, _)| *place);
    // Each encoded header goes back to its place; the plain ones fill the places between.
    let mut headers = Vec::with_capacity(plain.len() + encoded.len());
    let mut plain = plain.into_iter();
    for (place, header) in encoded {
        // Two have one place, or there are too few before it: nothing that we make.
        let between = place.checked_sub(headers.len())?;
        if between > plain.len() {
            return None;
        }
        headers.extend(plain.by_ref().take(between));
        headers.push(header);
    }
    headers.extend(plain);
    Some(headers)
}

/// A key as Pulsar's `partition_key` and `partition_key_b64_encoded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key, or its base64.
    pub text: Cow<'a, str>,
    /// Whether `text` is base64.
    pub base64: bool,
}

impl<'a> Key<'a> {
    /// UTF-8 as it is, anything else in base64. The empty key stays a key.
    pub fn new(key: &'a [u8]) -> Self {
        match std::str::from_utf8(key) {
            Ok(text) => Self { text: Cow::Borrowed(text), base64: false },
            Err(_) => Self { text: Cow::Owned(base64(key)), base64: true },
        }
    }

    /// The key's bytes again; `None` if the text is not base64 though it should be.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        if self.base64 { from_base64(&self.text) } else { Some(self.text.as_bytes().to_vec()) }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let padding = digit > group.len();
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if padding { '=' } else { char::from(DIGITS[value]) });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for place in 0..4 {
            let value = match group.get(place) {
                Some(digit) => DIGITS.iter().position(|known| known == digit)? as u32,
                None => 0,
            };
            bits = bits << 6 | value;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(headers: &[Header<'_>]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        properties(headers, |name, value| all.push((name.to_owned(), value.to_owned())));
        all
    }

    #[test]
    fn headers_become_properties_by_the_rule() {
        let header = |name, value| Header { name, value };
        let made = mapped(&[
            header("a", Some(b"1")),
            header("a", Some(b"2")),
            header("a", Some(&[0xFF, 0xFE][..])),
            header("n", None),
            header("bridge.cause", Some(b"mine")),
            header("empty", Some(b"")),
        ]);
        let expected = [
            ("a", "1"),
            ("bridge.header.1.text.a", "2"),
            ("bridge.header.2.base64.a", "//4="),
            ("bridge.header.3.null.n", ""),
            ("bridge.header.4.text.bridge.cause", "mine"),
            ("empty", ""),
        ];
        assert_eq!(made.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn base64_is_the_standard_one() {
        // RFC 4648, section 10.
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (bytes, text) in known {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!((from_base64("Zg="), from_base64("Z==="), from_base64("Zm9*")), (None, None, None));
    }

    #[test]
    fn what_was_never_made_is_refused() {
        for name in ["bridge.header.x.text.a", "bridge.header.0.huh.a", "bridge.header.5.text.a", "bridge.header.0"] {
            assert_eq!(headers([(name, "v")]), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn headers_survive_there_and_back(
            list in proptest::collection::vec(
                ("(bridge\\.|bridge.header.1.text.)?[ab.]{0,3}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4))),
                0..8,
            )
        ) {
            let borrowed: Vec<_> =
                list.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
            let made = mapped(&borrowed);
            let mut names: Vec<_> = made.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), made.len(), "no name twice");
            let back = headers(made.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(back, Some(list));
        }

        #[test]
        fn keys_survive_there_and_back(key in proptest::collection::vec(any::<u8>(), 0..9)) {
            let mapped = Key::new(&key);
            prop_assert_eq!(mapped.base64, std::str::from_utf8(&key).is_err());
            prop_assert_eq!(mapped.bytes(), Some(key));
        }
    }
}
