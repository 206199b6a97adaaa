//! The driver's connections and producers: what it asks of the brokers, and what comes back from them.

use bridge_core::lane::{Checkpoint, Event, NotOpened, Tag};

use super::world::{Conn, Down, Due, Handle, Held, Inbound, Up, World};

/// How long an answer to a request is waited for; then the connection is dropped, which answers everything on it.
const TIMEOUT_MS: u64 = 20_000;

impl World {
    /// Asks for a producer, over the connection to the broker that serves its topic.
    pub(super) fn open_now(&mut self, i: usize, tag: Tag) {
        let Some(held) =
            self.instances[i].held.iter().position(|held| held.tag == tag && held.state == Handle::Waiting)
        else {
            return;
        };
        let (topic, name) = (self.instances[i].held[held].topic, self.instances[i].held[held].name);
        let broker = self.topics[topic].broker;
        let conn = self.instances[i].conns[broker].unwrap_or_else(|| {
            self.conns.push(Conn {
                instance: i,
                incarnation: self.instances[i].incarnation,
                broker,
                client_open: true,
                broker_open: true,
                blackhole: false,
                up_at: self.now,
                down_at: self.now,
                is_checked: false,
            });
            self.conns.len() - 1
        });
        self.instances[i].conns[broker] = Some(conn);
        self.instances[i].held[held].conn = conn;
        self.instances[i].held[held].state = Handle::Opening;
        self.up(conn, Up::Open { tag, topic, name });
        self.later(i, TIMEOUT_MS, Inbound::GiveUp(tag));
    }

    /// Closes a producer; what is not open is closed at once.
    pub(super) fn close(&mut self, i: usize, tag: Tag) {
        let Some(index) = self.instances[i].held.iter().position(|held| held.tag == tag) else {
            return self.closed_soon(i, tag);
        };
        let held = self.instances[i].held[index].clone();
        if held.state == Handle::Waiting {
            self.instances[i].held.remove(index);
            self.closed_soon(i, tag);
        } else if held.state != Handle::Closing {
            self.instances[i].held[index].state = Handle::Closing;
            self.up(held.conn, Up::Close { tag, topic: held.topic });
            self.later(i, TIMEOUT_MS, Inbound::GiveUp(tag));
        }
    }

    /// A request was not answered in time.
    pub(super) fn give_up(&mut self, i: usize, tag: Tag) {
        let waits = |held: &&Held| held.tag == tag && matches!(held.state, Handle::Opening | Handle::Closing);
        if let Some(conn) = self.instances[i].held.iter().find(waits).map(|held| held.conn) {
            self.note(|| format!("instance {i} drops conn {conn}: no answer for {tag:?}"));
            let delay = self.random.between(0, 50);
            self.at(self.now.max(self.conns[conn].up_at) + delay, Due::BrokerDrops { conn });
            self.client_drops(conn);
        }
    }

    fn closed_soon(&mut self, i: usize, tag: Tag) {
        self.later(i, 0, Inbound::Event(Event::Closed { tag, reason: "was closed already".into() }));
    }

    /// Sends a batch or a checkpoint; without an open producer nothing is sent, and the core is told by other events.
    pub(super) fn send(&mut self, i: usize, tag: Tag, ids: Vec<u64>, checkpoint: Option<Box<Checkpoint>>) {
        let held = self.instances[i].held.iter().find(|held| held.tag == tag && held.state == Handle::Open);
        if let Some(Held { conn, topic, .. }) = held.cloned() {
            let messages = if checkpoint.is_none() { self.messages(i, &ids) } else { Vec::new() };
            self.up(conn, Up::Send { tag, topic, ids, messages, checkpoint });
        }
    }

    /// What came from a broker, as the core hears it.
    pub(super) fn hear(&mut self, i: usize, conn: usize, down: Down) {
        if !self.conns[conn].client_open {
            return;
        }
        let held = |tag: Tag, world: &World| world.instances[i].held.iter().position(|held| held.tag == tag);
        match down {
            Down::Gone => self.client_drops(conn),
            Down::Receipt { tag, lowest, id } => self.step(i, Event::Receipt { tag, lowest, id }),
            Down::Failed { tag, highest, failure } => self.step(i, Event::SendFailed { tag, highest, failure }),
            Down::Opened { tag, last } => {
                // Of a producer that is being closed the core hears only the end.
                if let Some(index) =
                    held(tag, self).filter(|index| self.instances[i].held[*index].state == Handle::Opening)
                {
                    self.instances[i].held[index].state = Handle::Open;
                    self.step(i, Event::Opened { tag, last });
                }
            }
            Down::NotOpened { tag, reason } => {
                if let Some(index) =
                    held(tag, self).filter(|index| self.instances[i].held[*index].state == Handle::Opening)
                {
                    self.instances[i].held.remove(index);
                    self.step(i, Event::NotOpened { tag, reason });
                }
            }
            Down::Closed { tag } | Down::ClosedByBroker { tag } => {
                if let Some(index) = held(tag, self) {
                    self.instances[i].held.remove(index);
                    self.step(i, Event::Closed { tag, reason: "closed".into() });
                }
            }
        }
    }

    /// The client's side of a connection ends, and with it everything that was held over it.
    pub(super) fn client_drops(&mut self, conn: usize) {
        if !self.conns[conn].client_open {
            return;
        }
        let (i, broker) = (self.conns[conn].instance, self.conns[conn].broker);
        self.conns[conn].client_open = false;
        if !self.instances[i].alive || self.instances[i].incarnation != self.conns[conn].incarnation {
            return;
        }
        self.instances[i].conns[broker] = None;
        let gone: Vec<Held> = self.instances[i]
            .held
            .iter()
            .filter(|held| held.conn == conn && held.state != Handle::Waiting)
            .cloned()
            .collect();
        self.instances[i].held.retain(|held| held.conn != conn || held.state == Handle::Waiting);
        for Held { tag, state, .. } in gone {
            let reason = "the connection is gone".to_owned();
            self.step(
                i,
                match state {
                    Handle::Opening => Event::NotOpened { tag, reason: NotOpened::Later(reason) },
                    _ => Event::Closed { tag, reason },
                },
            );
        }
    }
}
