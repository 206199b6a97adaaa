//! When certificates are valid no more: those in the files that the configuration names, and those that servers have shown.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where the connections to one server leave when the certificate ends that was shown last. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct ShownEnd(Arc<AtomicI64>);

impl ShownEnd {
    /// The server has shown these certificates, its own first.
    pub fn note(&self, shown: Option<&[CertificateDer<'_>]>) {
        if let Some(end) = shown.and_then(<[_]>::first).and_then(|own| end_of(own)) {
            self.0.store(end, Ordering::Relaxed);
        }
    }

    /// When the last one ends, in seconds since the epoch; `None` before there was one.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|end| *end != 0)
    }
}

/// When the certificate that ends first in a PEM file is valid no more, in seconds since the epoch.
///
/// # Errors
/// Where the file cannot be read, or holds no certificate; the message names it.
pub fn first_end_in(file: &Path) -> Result<i64, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("cannot read the certificates in {}: {error}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?;
    let mut first: Option<i64> = None;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        let end = end_of(&certificate).ok_or_else(|| unreadable(&"one of them is no X.509 certificate"))?;
        first = Some(first.map_or(end, |first| first.min(end)));
    }
    first.ok_or_else(|| unreadable(&"there is none"))
}

/// When a certificate ends, in seconds since the epoch. Whether it is otherwise sound is the connection's to find out: this walks to
/// one place of RFC 5280's structure and takes the rest as it is, since a library that knows all of it is five crates more.
fn end_of(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    // The version may be absent; then come serial number, algorithm and issuer.
    let body = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_, body) = element(body, INTEGER)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (validity, _) = element(body, SEQUENCE)?;
    let (_, not_after) = element(validity, UTC_TIME).or_else(|| element(validity, GENERALIZED_TIME))?;
    match element(not_after, UTC_TIME) {
        // Two digits of the year: 50 to 99 are of the last century.
        Some((text, _)) => {
            let century = if *text.first()? >= b'5' { b"19" } else { b"20" };
            unix_seconds(&[century, text].concat())
        }
        None => unix_seconds(element(not_after, GENERALIZED_TIME)?.0),
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of the DER element at the beginning, which must be of this kind, and what follows it.
fn element(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[kind])?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // So many bytes of length follow; a certificate has no more than four.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Of `YYYYMMDDHHMMSSZ`, the only form that RFC 5280 has.
fn unix_seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z').filter(|text| text.len() == 14)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hours, minutes, seconds) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    // Days since the epoch, of years that begin with March, so that the day of a leap year is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two self-signed certificates: one of version 1 until 2030-01-01T00:00:00Z, one of version 3 until 2060-01-01T00:00:00Z, which the format
    /// writes in another way.
    const TWO: &str = include_str!("certificates_testdata.pem");
    const UNTIL_2030: i64 = 1_893_456_000;
    const UNTIL_2060: i64 = 2_840_140_800;

    #[test]
    fn the_one_that_ends_first_counts() {
        let file = std::env::temp_dir().join(format!("certificates-{}.pem", std::process::id()));
        std::fs::write(&file, TWO).expect("a file can be written");
        let first = first_end_in(&file);
        std::fs::remove_file(&file).expect("it is there");
        assert_eq!(first, Ok(UNTIL_2030));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let times = [
            ("19700101000000Z", Some(0)),
            ("20000229120000Z", Some(951_825_600)),
            ("20301231235959Z", Some(1_924_991_999)),
            ("21000301000000Z", Some(4_107_542_400)),
            ("20300101000000", None),
            ("2030010100000xZ", None),
        ];
        for (text, expected) in times {
            assert_eq!(unix_seconds(text.as_bytes()), expected, "{text}");
        }
    }

    /// Whatever a server shows: nothing panics.
    #[test]
    fn what_is_cut_or_altered_has_no_end_or_another() {
        let whole = CertificateDer::from_pem_slice(TWO.as_bytes()).expect("it is one");
        for length in 0..whole.len().min(200) {
            assert_eq!(end_of(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.to_vec();
            altered[at] ^= 0xff;
            let _ = end_of(&altered);
        }
    }

    #[test]
    fn files_without_certificates_are_named() {
        for file in ["/nowhere/ca.pem", "/dev/null"] {
            assert!(first_end_in(Path::new(file)).is_err_and(|text| text.contains(file)));
        }
    }

    #[test]
    fn what_a_server_shows_is_remembered() {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(TWO.as_bytes()).map(|one| one.expect("it is one")).collect();
        let shown = ShownEnd::default();
        assert_eq!(shown.get(), None);
        shown.clone().note(Some(&certificates[1..]));
        assert_eq!(shown.get(), Some(UNTIL_2060));
        shown.note(None);
        shown.note(Some(&[CertificateDer::from(vec![1, 2, 3])]));
        assert_eq!(shown.get(), Some(UNTIL_2060), "what cannot be read changes nothing");
    }
}
