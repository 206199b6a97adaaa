//! Why a request to the admin API fails, in words for whoever can mend it.

use reqwest::StatusCode;
use serde_json::Value;
use thiserror::Error;

/// How much of a refusal's text is kept.
const REASON_CHARS: usize = 2_000;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The settings do not make a client.
    #[error("{0}")]
    Setting(String),
    /// No answer.
    #[error("{url}: no answer: {cause}. Check pulsar.admin_url, and that the broker runs")]
    Unreachable {
        /// The request's URL.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The broker does not know us, or does not allow it.
    #[error("{url}: {status}: {reason}. Check pulsar.auth, and the role's rights")]
    Unauthorised {
        /// The request's URL.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The broker's words.
        reason: String,
    },
    /// There is no such thing.
    #[error("{url}: not found: {reason}")]
    NotFound {
        /// The request's URL.
        url: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker says no.
    #[error("{url}: refused with {status}: {reason}")]
    Refused {
        /// The request's URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The broker's words.
        reason: String,
    },
}

/// The broker answers `{"reason": "..."}`, or plain text, or a page.
pub(super) fn refusal(url: String, status: StatusCode, text: &str) -> AdminError {
    let said = serde_json::from_str::<Value>(text).ok();
    let said = said.as_ref().and_then(|json| json.get("reason")?.as_str()).unwrap_or(text);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason: String = said.chars().take(REASON_CHARS).collect();
    let reason = reason.trim_end_matches('.').to_owned();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            AdminError::Unauthorised { url, status: status.as_u16(), reason }
        }
        StatusCode::NOT_FOUND => AdminError::NotFound { url, reason },
        _ => AdminError::Refused { url, status: status.as_u16(), reason },
    }
}

pub(super) fn understood<T: serde::de::DeserializeOwned>(url: String, text: &str) -> Result<T, AdminError> {
    serde_json::from_str(text).map_err(|error| AdminError::Refused {
        url,
        status: 200,
        reason: format!("the answer is not understood ({error}): is this Pulsar's admin URL?"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_and_keep_the_brokers_words() {
        let url = || "http://b/admin/v2/x".to_owned();
        let wrong = refusal(url(), StatusCode::UNAUTHORIZED, r#"{"reason":"Authentication required"}"#).to_string();
        assert_eq!(
            wrong,
            "http://b/admin/v2/x: 401: Authentication required. Check pulsar.auth, and the role's rights"
        );
        assert!(
            matches!(refusal(url(), StatusCode::NOT_FOUND, "gone"), AdminError::NotFound { reason, .. } if reason == "gone")
        );
        let long = "x".repeat(10_000);
        assert!(refusal(url(), StatusCode::CONFLICT, &long).to_string().len() < 2_200);
    }
}
