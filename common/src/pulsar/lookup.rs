//! Which broker serves a topic: LOOKUP with its redirects.

use std::sync::Arc;

use ::pulsar::message::proto::{CommandLookupTopicResponse, command_lookup_topic_response::LookupType};

use super::client::Client;
use super::command;
use super::connection::{Address, Connection};
use super::error::Error;
use super::service_url::ServiceUrl;

/// Redirects that are followed before a lookup is given up.
const MAX_REDIRECTS: u32 = 20;

/// A connection to the broker that serves `topic`.
pub(super) async fn broker_of(client: &Client, topic: &str, operation: &str) -> Result<Arc<Connection>, Error> {
    let (turn, mut connection) = client.service_connection().await.map_err(|error| error.during(operation))?;
    let mut authoritative = false;
    for hop in 0..MAX_REDIRECTS {
        let listener = client.config().listener_name.clone();
        let answer = connection.request(operation, |id| command::lookup(id, topic, authoritative, listener)).await;
        let answer = if hop == 0 { client.heard(turn, answer)? } else { answer? };
        let answer = answer.lookup_topic_response.ok_or_else(|| connection.unexpected(operation))?;
        let found = answer.response() == LookupType::Connect;
        if answer.response() == LookupType::Failed {
            let code = answer.error.unwrap_or_default();
            return Err(Error::from_server(operation, connection.broker(), code, answer.message()));
        }
        let host = host_of(client, &answer).ok_or_else(|| connection.unexpected(operation))?;
        let address = if answer.proxy_through_service_url() {
            Address { host: client.service_host(), behind_proxy: Some(host) }
        } else {
            Address::direct(&host)
        };
        connection = client.connection_to(&address).await.map_err(|error| error.during(operation))?;
        if found {
            return Ok(connection);
        }
        authoritative = answer.authoritative();
    }
    Err(Error::Retryable {
        operation: operation.to_owned(),
        broker: connection.broker().to_owned(),
        code: super::ServerError::ServiceNotReady,
        message: format!("{MAX_REDIRECTS} redirects, one to the next"),
    })
}

fn host_of(client: &Client, answer: &CommandLookupTopicResponse) -> Option<String> {
    let url = if client.uses_tls() { &answer.broker_service_url_tls } else { &answer.broker_service_url };
    let url = ServiceUrl::parse(url.as_deref()?).ok()?;
    url.hosts.into_iter().next()
}
