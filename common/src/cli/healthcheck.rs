//! Asks the bridge of this configuration, in the same container, whether it is ready: images have no other program to ask with.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::shutdown::Exit;

const PATIENCE: Duration = Duration::from_secs(5);
/// Enough of an answer: what is wrong with some partitions.
const ANSWER_BYTES: u64 = 8 << 10;

/// Asks `/readyz`, and says what it says.
pub(super) fn healthcheck(listen: SocketAddr) -> Exit {
    match ask(reachable(listen)) {
        Ok((is_ready, said)) => {
            super::say(&format!("{said}\n"));
            if is_ready { Exit::Clean } else { Exit::Fault }
        }
        Err(error) => {
            super::say(&format!("http://{listen}/readyz: {error}\n"));
            Exit::Fault
        }
    }
}

/// Whoever listens on all addresses is asked on the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, listen.port()).into()
}

fn ask(address: SocketAddr) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let is_ready = head.split_whitespace().nth(1) == Some("200");
    Ok((is_ready, body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use super::{ask, reachable};

    /// A server that gives this answer, once.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn ready_is_200_and_nothing_else_and_what_is_said_is_told() {
        let ready = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        assert_eq!(ask(ready).unwrap(), (true, "ok".to_owned()));
        let stalled = answering("HTTP/1.1 503 Service Unavailable\r\n\r\npartition 200 is stopped");
        assert_eq!(ask(stalled).unwrap(), (false, "partition 200 is stopped".to_owned()));
        assert!(ask(answering("")).is_err());
    }

    #[test]
    fn all_addresses_are_asked_on_the_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("127.0.0.2:1"), "127.0.0.2:1");
    }
}
