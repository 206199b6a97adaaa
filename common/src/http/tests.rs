use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::shutdown;
use crate::status::BridgeState;

struct Server {
    address: SocketAddr,
    board: StatusBoard,
    controls: mpsc::Receiver<Control>,
    task: tokio::task::JoinHandle<()>,
    stopper: shutdown::Stopper,
}

async fn server(token: Option<&str>) -> Server {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let board = StatusBoard::new("demo", "1", Instant::now(), 0);
    let (sender, controls) = mpsc::channel(4);
    let api = Api {
        metrics: Metrics::new("demo", "1"),
        board: board.clone(),
        stall: Duration::from_secs(60),
        token: token.map(Secret::new),
        controls: sender,
    };
    let (stopper, stop) = shutdown::channel(Duration::ZERO);
    Server { address, board, controls, task: tokio::spawn(serve(listener, api, stop)), stopper }
}

impl Server {
    /// Sends one request as it stands on the wire, and gives status and body.
    async fn ask(&self, request: &str, more: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let wire = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(wire.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

#[tokio::test]
async fn probes_metrics_and_status_answer() {
    let server = server(None).await;
    assert_eq!(server.ask("GET /livez", "").await, (200, "ok\n".to_owned()));
    assert_eq!(server.ask("GET /readyz", "").await.0, 503);
    server.board.set_state(BridgeState::Running);
    assert_eq!(server.ask("GET /readyz", "").await.0, 200);
    assert!(server.ask("GET /metrics", "").await.1.contains("stream_bridge_build_info{stream=\"demo\""));
    let status: serde_json::Value = serde_json::from_str(&server.ask("GET /status", "").await.1).unwrap();
    assert_eq!(status["stream"], "demo");
    assert_eq!(server.ask("GET /nothing", "").await.0, 404);
    assert_eq!(server.ask("POST /metrics", "").await.0, 405);
    server.stopper.stop();
    server.task.await.unwrap();
}

#[tokio::test]
async fn controls_want_the_token() {
    let mut guarded = server(Some("open sesame")).await;
    assert_eq!(guarded.ask("POST /pause", "").await.0, 401);
    assert_eq!(guarded.ask("POST /pause", "Authorization: Bearer open sesamE\r\n").await.0, 403);
    assert_eq!(guarded.ask("POST /pause", "Authorization: Bearer open\r\n").await.0, 403);
    assert_eq!(guarded.ask("GET /pause", "Authorization: Bearer open sesame\r\n").await.0, 405);
    assert!(guarded.controls.try_recv().is_err(), "nothing refused gets through");
    for (path, control) in [
        ("/pause", Control::Pause(Which::default())),
        ("/resume", Control::Resume(Which::default())),
        ("/drain", Control::Drain),
        ("/pause?partition=3", Control::Pause(Which { topic: None, partitions: vec![3] })),
    ] {
        let (status, _) = guarded.ask(&format!("POST {path}"), "Authorization: Bearer open sesame\r\n").await;
        assert_eq!((status, guarded.controls.recv().await), (202, Some(control)));
    }
    guarded.task.abort();
    let off = server(None).await;
    let (status, body) = off.ask("POST /drain", "Authorization: Bearer x\r\n").await;
    assert!(status == 403 && body.contains("http.token_file"), "{status} {body}");
    off.task.abort();
}

#[tokio::test]
async fn silent_clients_are_let_go_and_others_served() {
    let server = server(None).await;
    let mut silent = Vec::new();
    for _ in 0..bounded::CONNECTIONS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(bounded::LIFETIME * 2, server.ask("GET /livez", "")).await;
    assert_eq!(answer.unwrap().0, 200);
    server.task.abort();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().local_addr();
    let holder = bind(taken.unwrap()).await.unwrap();
    let address = holder.local_addr().unwrap();
    let error = bind(address).await.unwrap_err().to_string();
    assert!(error.contains(&format!("http.listen = \"{address}\"")), "{error}");
}
