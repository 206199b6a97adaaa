//! The trace that a record belongs to, where its headers say so: W3C Trace Context. Pure.

use crate::record::Header;

/// The header that carries it. It travels on as a property of the message, untouched, as every header does.
pub const TRACEPARENT: &str = "traceparent";

/// The trace id: 32 hexadecimal digits. `None` where no header has one that is valid.
pub fn trace_id<'r>(headers: &[Header<'r>]) -> Option<&'r str> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(TRACEPARENT));
    of_traceparent(std::str::from_utf8(found?.value?).ok()?)
}

/// `<version>-<trace id>-<parent id>-<flags>`; later versions may have more behind it.
fn of_traceparent(text: &str) -> Option<&str> {
    let mut parts = text.trim().split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_nothing = |text: &str| text.bytes().all(|byte| byte == b'0');
    let has_form = is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2);
    let is_valid = has_form && version != "ff" && !is_nothing(trace_id) && !is_nothing(parent_id);
    (is_valid && (version != "00" || parts.next().is_none())).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn valid_ones_are_found_and_others_are_not() {
        let good = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_eq!(of_traceparent(&good), Some(ID));
        assert_eq!(of_traceparent(&format!("cc-{ID}-00f067aa0ba902b7-01-later")), Some(ID));
        for bad in [
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{ID}-00f067aa0ba902b7"),
            String::new(),
        ] {
            assert_eq!(of_traceparent(&bad), None, "{bad}");
        }
        let headers =
            [Header { name: "other", value: None }, Header { name: "TraceParent", value: Some(good.as_bytes()) }];
        assert_eq!(trace_id(&headers), Some(ID));
        assert_eq!(trace_id(&headers[..1]), None);
    }

    proptest! {
        #[test]
        fn whatever_a_header_holds_only_an_id_comes_out(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let headers = [Header { name: TRACEPARENT, value: Some(&value) }];
            prop_assert!(trace_id(&headers).is_none_or(|id| id.len() == 32));
        }
    }
}
