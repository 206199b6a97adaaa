//! lapin's errors, as errors of a source.

use lapin::{Error, ErrorKind};

use super::super::SourceError;

/// AMQP's reply codes that are acted on.
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// What a bridge needs.
const RIGHTS: &str = "give the user access to the vhost, read on the queue and its exchanges, and configure and write on the queue \
    where the bridge declares it";

/// An error of a question to the server. What a person has to settle stops; everything else is tried again.
pub(super) fn typed(what: &str, error: &Error) -> SourceError {
    let (what, reason) = (what.to_owned(), error.to_string());
    match refusal(error) {
        // Another consumer holds the queue for itself: that may end.
        Some((ACCESS_REFUSED, words)) if words.contains("exclusive") => SourceError::Unavailable { what, reason },
        Some((ACCESS_REFUSED | NOT_ALLOWED, _)) => SourceError::Denied { what, reason, advice: RIGHTS },
        _ => SourceError::Unavailable { what, reason },
    }
}

/// The server's reply code where it refused, and its words.
pub(super) fn refusal(error: &Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => Some((protocol.get_id(), protocol.get_message().to_string())),
        _ => None,
    }
}
