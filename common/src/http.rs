//! The bridge's own HTTP: `/metrics`, `/livez`, `/readyz`, `/status`, and with a token `POST /pause`, `/resume`, `/drain`.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::Secret;
use crate::metrics::Metrics;
use crate::shutdown::Stop;
use crate::status::StatusBoard;

mod bounded;
#[cfg(test)]
mod tests;
mod which;

pub use which::Which;

/// What an operator asks of a running bridge. Holds until the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Read no more; drain, and keep the partitions. Of those that this instance does not have it is remembered, in case they
    /// come here.
    Pause(Which),
    /// Read again.
    Resume(Which),
    /// Read no more, drain, write the checkpoints, close the producers and leave the group; the process goes on to answer.
    Drain,
}

/// What the handlers need.
#[derive(Clone)]
pub struct Api {
    /// Rendered by `/metrics`.
    pub metrics: Metrics,
    /// Read by `/livez`, `/readyz` and `/status`.
    pub board: StatusBoard,
    /// `health.stall_seconds`.
    pub stall: Duration,
    /// The bearer token of the controls; `None`: they are refused.
    pub token: Option<Secret>,
    /// Where the controls go.
    pub controls: mpsc::Sender<Control>,
}

/// Binds the address of `http.listen`.
///
/// # Errors
/// When it cannot be bound; the message names it.
pub async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let say = |error: io::Error| io::Error::new(error.kind(), format!("http.listen = \"{listen}\": {error}"));
    TcpListener::bind(listen).await.map_err(say)
}

/// Answers until the stop's deadline: probes and scrapes see the drain as well.
pub async fn serve(listener: TcpListener, api: Api, mut stop: Stop) {
    let gone = async move {
        let deadline = stop.asked().await;
        tokio::time::sleep_until(deadline.into()).await;
    };
    let server = axum::serve(bounded::Bounded::new(listener), router(api));
    tokio::select! {
        // The server has no end of its own; its errors are those of single connections, and it handles them.
        _ = server => {}
        () = gone => {}
    }
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(api): State<Api>| async move { verdict(api.board.livez(Instant::now())) }))
        .route(
            "/readyz",
            get(|State(api): State<Api>| async move { verdict(api.board.readyz(Instant::now(), api.stall)) }),
        )
        .route("/status", get(status))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/drain", post(drain))
        .fallback(|| async {
            text(StatusCode::NOT_FOUND, "here are /metrics, /livez, /readyz, /status; POST /pause, /resume, /drain")
        })
        .with_state(api)
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", body.into())).into_response()
}

async fn metrics(State(api): State<Api>) -> Response {
    api.metrics.ready(api.board.readyz(Instant::now(), api.stall).is_ok());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render()).into_response()
}

async fn status(State(api): State<Api>) -> Response {
    let body = api.board.to_json(Instant::now()).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn verdict(answer: Result<(), String>) -> Response {
    match answer {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, problem),
    }
}

async fn pause(State(api): State<Api>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    control(&api, &headers, || Which::parse(query.as_deref()).map(Control::Pause))
}

async fn resume(State(api): State<Api>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    control(&api, &headers, || Which::parse(query.as_deref()).map(Control::Resume))
}

async fn drain(State(api): State<Api>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    control(&api, &headers, || match query.as_deref() {
        None | Some("") => Ok(Control::Drain),
        Some(_) => Err("a bridge drains as a whole: to drain single partitions, pause them".to_owned()),
    })
}

fn control(api: &Api, headers: &HeaderMap, control: impl FnOnce() -> Result<Control, String>) -> Response {
    if let Err(refusal) = authorise(api.token.as_ref(), headers) {
        return refusal;
    }
    let control = match control() {
        Ok(control) => control,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
    };
    match api.controls.try_send(control) {
        Ok(()) => text(StatusCode::ACCEPTED, "accepted: /status shows when it is done"),
        Err(_) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "the bridge is stopping, or busy with earlier requests: try again")
        }
    }
}

#[allow(clippy::result_large_err, reason = "the error is the answer itself, made once per refused request")]
fn authorise(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Response> {
    let Some(token) = token else {
        return Err(text(StatusCode::FORBIDDEN, "controls are off: set http.token_file"));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        let mut answer = text(StatusCode::UNAUTHORIZED, "send the header Authorization: Bearer <token>");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        return Err(answer);
    };
    if same(given.as_bytes(), token.expose().as_bytes()) {
        Ok(())
    } else {
        Err(text(StatusCode::FORBIDDEN, "wrong token"))
    }
}

/// Compares in a time that depends on the lengths only, so that a token cannot be guessed byte by byte.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (x, y)| black_box(difference | (x ^ y)));
    a.len() == b.len() && difference == 0
}
