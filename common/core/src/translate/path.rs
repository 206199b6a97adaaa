//! One value out of a JSON body by its path, for what must know a record before it is translated: idempotency keys,
//! dedupe keys, routes.

use std::borrow::Cow;

use super::scan::{Kind, MAX_DEPTH, Quoted, Scanner, unescape};

/// Names of members, outermost first: `payload.job_id`. A name that holds a dot cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<String>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a path in JSON: write names separated by dots, such as \"payload.job_id\", at most {MAX_DEPTH} of them"
)]
pub struct JsonPathError(String);

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// A name is empty, or there are more names than objects that a body may have inside each other.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.len() > MAX_DEPTH as usize || names.iter().any(String::is_empty) {
            return Err(JsonPathError(text.to_owned()));
        }
        Ok(Self(names))
    }

    /// The text of the value at the path: a string's content, or a number or boolean as it stands. `None` where there is no
    /// such member, or it is null, an object or an array, or the body is not JSON up to there.
    ///
    /// Stops at the value: what follows it is not looked at. Of a member that is repeated the first one counts, while
    /// translation takes the last: for one body the answer is always the same, and that is what keys and routes need.
    pub fn find<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        let mut scanner = Scanner::new(body);
        scanner.skip_whitespace();
        for (depth, name) in (0..).zip(&self.0) {
            enter(&mut scanner, name.as_bytes(), depth)?;
        }
        scalar(&mut scanner)
    }
}

/// From the start of an object to the value of its first member `name`.
fn enter(scanner: &mut Scanner<'_>, name: &[u8], depth: u32) -> Option<()> {
    if scanner.peek() != b'{' {
        return None;
    }
    let mut more = scanner.open(b'}', depth).ok()?;
    while more {
        let key = scanner.key().ok()?;
        if key.raw == name || key.escaped && text(key)?.as_bytes() == name {
            return Some(());
        }
        scanner.skip(depth + 1).ok()?;
        more = scanner.more(b'}').ok()?;
    }
    None
}

fn scalar<'a>(scanner: &mut Scanner<'a>) -> Option<Cow<'a, str>> {
    match scanner.kind().ok()? {
        Kind::String => text(scanner.string().ok()?),
        Kind::Number => {
            let number = scanner.number().ok()?;
            // Without this the head of a stray text such as `1x` would pass.
            let ends = matches!(scanner.peek(), b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            ends.then(|| std::str::from_utf8(number).ok().map(Cow::Borrowed)).flatten()
        }
        Kind::Boolean => scanner.boolean().ok().map(|value| Cow::Borrowed(if value { "true" } else { "false" })),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

/// A string's content. The body was not checked to be UTF-8, so this piece is.
fn text(quoted: Quoted<'_>) -> Option<Cow<'_, str>> {
    if !quoted.escaped {
        return std::str::from_utf8(quoted.raw).ok().map(Cow::Borrowed);
    }
    let mut content = Vec::with_capacity(quoted.raw.len());
    unescape(quoted.raw, &mut content).ok()?;
    String::from_utf8(content).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str, body: &str) -> Option<String> {
        JsonPath::parse(path).unwrap().find(body.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn scalars_are_found_by_name_at_any_depth() {
        let body =
            r#" { "a" : {"x": [1, {"c": "no"}], "b\u0020c": 1, "c": "y\n\u00e9"}, "n": -1.50e3, "t": true, "e": "" } "#;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(find("a.c", body), some("y\né"));
        assert_eq!(find("a.b c", body), some("1"), "names are compared unescaped");
        assert_eq!(find("n", body), some("-1.50e3"), "as it stands");
        assert_eq!(find("t", body), some("true"));
        assert_eq!(find("e", body), some(""));
        assert_eq!(find("k", r#"{"k":1,"k":2}"#), some("1"), "the first of a name");
        assert_eq!(find("k", r#"{"k":"v", and then rubbish"#), some("v"), "nothing behind it is looked at");
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let path = JsonPath::parse("k").unwrap();
        assert!(matches!(path.find(br#"{"k":"v"}"#), Some(Cow::Borrowed("v"))));
    }

    #[test]
    fn nothing_is_found_where_no_scalar_is() {
        for body in [
            "",
            "7",
            "[1]",
            "{}",
            r#"{"k":null}"#,
            r#"{"k":[]}"#,
            r#"{"k":{}}"#,
            r#"{"k":nul"#,
            r#"{"k":1x}"#,
            r#"{"k":1"#,
            r#"{"k":01}"#,
            r#"{"k":"cut"#,
            r#"{"k":"\ud800"}"#,
            r#"{"x":tru,"k":1}"#,
            r#"{"k"1}"#,
        ] {
            assert_eq!(find("k", body), None, "{body}");
        }
        assert_eq!(find("a.b", r#"{"a":"b"}"#), None);
        assert_eq!(JsonPath::parse("k").unwrap().find(b"{\"k\":\"\xFF\"}"), None, "not UTF-8");
        let deep = format!(r#"{{"x":{}"#, "[".repeat(1_000_000));
        assert_eq!(find("k", &deep), None, "deep nesting ends the search");
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        for text in ["", ".", "a..b", "a.", &"a.".repeat(200)] {
            assert!(JsonPath::parse(text).unwrap_err().to_string().contains("payload.job_id"), "{text}");
        }
    }
}
