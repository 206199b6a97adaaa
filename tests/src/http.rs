//! A few plain HTTP requests: to a bridge and to Pulsar's admin API.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, Method};

use crate::Result;

fn client() -> Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // Somebody else may have chosen the provider first: then it is chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // No pool: a server that was restarted must not be met on a dead connection.
    let client = Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(20)).build()?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// The status and the body.
pub async fn get(url: &str) -> Result<(u16, String)> {
    let response = client()?.get(url).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

/// Sends JSON (`null` for no body); anything but a 2xx is an error that shows the answer.
pub async fn send(method: Method, url: &str, json: &serde_json::Value) -> Result<String> {
    let mut request = client()?.request(method.clone(), url);
    if !json.is_null() {
        request = request.json(json);
    }
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    if status.is_success() { Ok(body) } else { Err(format!("{method} {url}: {status} {body}").into()) }
}
