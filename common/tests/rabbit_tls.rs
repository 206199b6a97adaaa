//! TLS towards a real RabbitMQ.
#![cfg(feature = "rabbitmq")]

#[path = "rabbit/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bridge_common::config::{QueueType, Secret};
use bridge_common::source::SourceError;
use bridge_common::source::rabbitmq::RabbitGroup;

use support::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn over_tls_a_queue_is_read_and_a_stranger_is_not_trusted() {
    let directory = std::env::temp_dir().join(unique("rabbit-tls"));
    std::fs::create_dir(&directory).expect("a directory");
    let (authority, stranger) = (certificates(&directory, "ours"), certificates(&directory, "strange"));
    let port = listen(&directory, &authority);
    let mut bench = Bench::new(QueueType::Quorum).await;
    bench.settings.url = Secret::new(format!("amqps://guest:guest@localhost:{port}/%2f"));
    bench.settings.tls.ca_file = Some(stranger);
    let error = RabbitGroup::open(bench.settings.clone()).await.expect_err("trusted a stranger");
    assert!(matches!(&error, SourceError::Unavailable { reason, .. } if reason.contains("certificate")), "{error:?}");
    bench.settings.tls.ca_file = Some(directory.join("missing.pem"));
    let error = RabbitGroup::open(bench.settings.clone()).await.expect_err("opened without an authority");
    assert!(error.to_string().contains("missing.pem"), "{error}");
    bench.settings.tls.ca_file = Some(authority);
    let (group, mut reader) = bench.open().await;
    assert!(!group.cluster_id().is_empty(), "the introduction is read through TLS, too");
    bench.fill(0, 1_000).await;
    reader.start_at(0).await.expect("started");
    assert_eq!(values(&read(&mut reader, 1_000).await), (0..1_000).collect::<Vec<_>>());
    reader.settled(1_000);
    drop(reader);
    bench.until_ready(0).await;
    bench.delete().await;
    std::fs::remove_dir_all(directory).expect("removed");
}

/// An authority, and a server's certificate by it; gives the authority's file.
fn certificates(directory: &Path, name: &str) -> PathBuf {
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost").expect("written");
    let authority = directory.join(format!("{name}-ca.pem"));
    for line in [
        format!("req -x509 -newkey rsa:2048 -nodes -keyout {name}-ca.key -out {name}-ca.pem -days 2 -subj /CN={name}"),
        format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.req -subj /CN=localhost"),
        format!(
            "x509 -req -in {name}.req -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -out {name}.pem -days 2 \
             -extfile names"
        ),
    ] {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(directory).output().expect("openssl runs");
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    authority
}

/// Has the node listen with TLS; gives the port.
fn listen(directory: &Path, authority: &Path) -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    let file = |name: &str| directory.join(name).display().to_string();
    evaluate(&format!(
        "application:ensure_all_started(ssl), rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}, inet}}, \
         [{{cacertfile, \"{}\"}}, {{certfile, \"{}\"}}, {{keyfile, \"{}\"}}], 1).",
        authority.display(),
        file("ours.pem"),
        file("ours.key")
    ));
    port
}
