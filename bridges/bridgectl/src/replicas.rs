//! The replicas of a bridge, and their HTTP. One URL of `fleet.url` may stand for several: its host's name has an address
//! for each, as that of a headless service has.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bridge_common::config::Config;
use reqwest::{Client, Url};

/// What one request to a bridge may take: it answers from memory, or not at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// One process of a bridge.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    base: Url,
    client: Client,
}

/// An answer: status and body.
pub(crate) type Answer = Result<(u16, String), String>;

/// All replicas of a stream's bridge, as the configuration and the names' addresses have it now, each by its name. A URL without
/// an address is an error in the place of its replicas.
pub(crate) async fn replicas(config: &Config) -> Vec<(String, Result<Replica, String>)> {
    let mut found = Vec::new();
    for text in config.fleet_urls() {
        match addresses(&text).await {
            Ok((url, addresses)) => found.extend(addresses.into_iter().map(|address| {
                let replica = Replica::at(&url, address);
                (format!("{}://{address}", url.scheme()), replica)
            })),
            Err(problem) => found.push((text, Err(problem))),
        }
    }
    found
}

/// Those that can be asked.
pub(crate) async fn reachable(config: &Config) -> impl Iterator<Item = (String, Replica)> {
    replicas(config).await.into_iter().filter_map(|(name, replica)| Some((name, replica.ok()?)))
}

async fn addresses(text: &str) -> Result<(Url, Vec<SocketAddr>), String> {
    let url: Url = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let port = url.port_or_known_default().ok_or("has no port")?;
    let host = url.host_str().ok_or("has no host")?.trim_matches(['[', ']']).to_owned();
    // An address that a bridge listens on, which is no address to call.
    if host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        return Err("listens on all addresses: set fleet.url to one that can be called".to_owned());
    }
    let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port)));
    let found = looked_up.await.map_err(|_| format!("{host}: no answer from the name service"))?;
    let found = one_family(found.map_err(|error| format!("{host}: {error}"))?);
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok((url, found)) }
}

/// Each address once. A host with addresses of both families has them for the same replicas.
fn one_family(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: BTreeSet<SocketAddr> = found.collect();
    let v4: Vec<SocketAddr> = all.iter().copied().filter(SocketAddr::is_ipv4).collect();
    if v4.is_empty() { all.into_iter().collect() } else { v4 }
}

impl Replica {
    fn at(url: &Url, address: SocketAddr) -> Result<Self, String> {
        let host = url.host_str().unwrap_or_default();
        // The name stays in the request, for TLS and for proxies; only its address is chosen here.
        let client = Client::builder().timeout(PATIENCE).no_proxy().resolve(host, address);
        let client = client.build().map_err(|error| format!("{url}: {error}"))?;
        let mut base = url.clone();
        base.set_query(None);
        Ok(Self { base, client })
    }

    /// Asks for a page.
    pub(crate) async fn get(&self, page: &str) -> Answer {
        self.send(self.client.get(self.url(page))).await
    }

    /// Sends an order, with a token.
    pub(crate) async fn post(&self, page: &str, query: &[(&str, String)], token: &str) -> Answer {
        let mut url = self.url(page);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.post(url).bearer_auth(token)).await
    }

    fn url(&self, page: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{page}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => format!("no answer within {} s", PATIENCE.as_secs()),
            false if error.is_connect() => "nothing listens there".to_owned(),
            false => error.without_url().to_string(),
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(failed)?.trim_end().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_both_families_has_one_address_for_each_replica() {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = parsed(&["[::1]:1", "127.0.0.1:1", "127.0.0.1:1"]);
        assert_eq!(one_family(found.into_iter()), parsed(&["127.0.0.1:1"]));
        let found = parsed(&["[fd00::2]:1", "[fd00::1]:1"]);
        assert_eq!(one_family(found.into_iter()), parsed(&["[fd00::1]:1", "[fd00::2]:1"]));
    }

    #[tokio::test]
    async fn all_addresses_is_nowhere_to_call() {
        let problem = addresses("http://0.0.0.0:9464").await.unwrap_err();
        assert!(problem.contains("fleet.url"), "{problem}");
    }
}
