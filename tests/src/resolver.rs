//! A name server for one test, on an address of the loopback of its own: names that nobody else knows.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Result;

/// Answers for the names that it was given, and notes which were asked for; ends when dropped.
#[derive(Debug)]
pub struct Resolver {
    /// Where it answers, on the usual port.
    pub address: Ipv4Addr,
    asked: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Resolver {
    /// Starts it. The port is 53, which a container cannot choose, and so takes root.
    pub async fn start(names: HashMap<String, Ipv4Addr>) -> Result<Self> {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = Ipv4Addr::new(127, 53, high, low.clamp(1, 254));
        let socket = UdpSocket::bind((address, 53)).await.map_err(|error| format!("{address}:53: {error}"))?;
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let task = tokio::spawn(answer_all(socket, names, Arc::clone(&asked)));
        Ok(Self { address, asked, task })
    }

    /// The names that were asked for.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all(socket: UdpSocket, names: HashMap<String, Ipv4Addr>, asked: Arc<Mutex<BTreeSet<String>>>) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some((name, question_end)) = name_in(&buffer[..length]) else { continue };
        let reply = answer(&buffer[..question_end], names.get(&name).copied());
        if let Ok(mut asked) = asked.lock() {
            asked.insert(name);
        }
        // Whoever asked asks again.
        let _ = socket.send_to(&reply, from).await;
    }
}

/// The length of a message's head.
const HEAD: usize = 12;
/// IPv4 addresses, as a type of question.
const ADDRESS: [u8; 2] = [0, 1];

/// The name that a message asks for, and where its question ends.
fn name_in(message: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEAD);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let end = at + 4;
    (end <= message.len()).then(|| (labels.join("."), end))
}

/// The answer to a question: the address, or that the name has none of this kind, or that there is no such name.
fn answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let wants_address = question[question.len() - 4..].starts_with(&ADDRESS);
    let found = address.filter(|_| wants_address);
    let no_such_name = if address.is_none() { 3 } else { 0 };
    let mut reply = question.to_vec();
    // An answer, with authority; one question, at most one answer, nothing more.
    reply[2..HEAD].copy_from_slice(&[0x85, 0x80 | no_such_name, 0, 1, 0, found.is_some().into(), 0, 0, 0, 0]);
    if let Some(address) = found {
        // The name is that of the question; a class of the internet, five seconds.
        reply.extend([0xc0, HEAD as u8, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::{answer, name_in};

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05kafka\x04test\0\0\x01\0\x01";

    #[test]
    fn a_question_is_read_to_its_end_and_a_cut_one_is_none() {
        assert_eq!(name_in(QUESTION), Some(("kafka.test".to_owned(), QUESTION.len())));
        assert_eq!(name_in(&QUESTION[..QUESTION.len() - 1]), None);
    }

    #[test]
    fn known_names_have_an_address_and_others_are_denied() {
        let known = answer(QUESTION, Some([127, 0, 0, 1].into()));
        assert_eq!((known[3] & 15, known[7], &known[known.len() - 4..]), (0, 1, &[127, 0, 0, 1][..]));
        let unknown = answer(QUESTION, None);
        assert_eq!((unknown[3] & 15, unknown[7], unknown.len()), (3, 0, QUESTION.len()));
    }
}
