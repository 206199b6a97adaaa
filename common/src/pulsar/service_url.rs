//! `pulsar://host:port,host:port` and `pulsar+ssl://...`.

use super::error::Error;

/// Where brokers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceUrl {
    /// Whether connections speak TLS.
    pub(super) tls: bool,
    /// `host:port` of each.
    pub(super) hosts: Vec<String>,
}

impl ServiceUrl {
    /// Reads a service URL. A port that is missing is the usual one: 6650, with TLS 6651.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let (tls, rest) = match url.trim().split_once("://") {
            Some(("pulsar", rest)) => (false, rest),
            Some(("pulsar+ssl", rest)) => (true, rest),
            _ => return Err(bad(url, "it must start with pulsar:// or pulsar+ssl://")),
        };
        let default_port = if tls { 6651 } else { 6650 };
        let hosts = rest.trim_end_matches('/').split(',').map(|host| with_port(url, host.trim(), default_port));
        Ok(Self { tls, hosts: hosts.collect::<Result<_, _>>()? })
    }
}

fn bad(url: &str, why: &str) -> Error {
    Error::Config(format!("`{url}` is no service URL: {why}"))
}

fn with_port(url: &str, host: &str, default_port: u16) -> Result<String, Error> {
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(bad(url, "each host must be a name or an address, with or without a port"));
    }
    match host.rsplit_once(':') {
        // An IPv6 address in brackets has colons of its own.
        Some((_, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(_) => Ok(host.to_owned()),
            Err(_) => Err(bad(url, "a port is not a number")),
        },
        _ => Ok(format!("{host}:{default_port}")),
    }
}

/// The name in `host:port` that a certificate must carry.
pub(super) fn host_name(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_with_and_without_ports() {
        let url = ServiceUrl::parse("pulsar://a:1,b,[::1]:7,[::2]").unwrap();
        assert!(!url.tls);
        assert_eq!(url.hosts, ["a:1", "b:6650", "[::1]:7", "[::2]:6650"]);
        assert_eq!(ServiceUrl::parse("pulsar+ssl://a/").unwrap().hosts, ["a:6651"]);
        assert_eq!(host_name("[::1]:7"), "::1");
        assert_eq!(host_name("broker-1.example:6651"), "broker-1.example");
    }

    #[test]
    fn other_texts_are_refused() {
        for url in ["", "http://a", "pulsar://", "pulsar://a:b", "pulsar://a,,b", "pulsar://user@a"] {
            assert!(matches!(ServiceUrl::parse(url), Err(Error::Config(_))), "{url}");
        }
    }
}
