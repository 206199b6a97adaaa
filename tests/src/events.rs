//! Events as the portal sends them, written straight into a buffer, deterministic for a seed. A small stated share is
//! broken on purpose, in known ways, or a tombstone, or the same event a second time.

pub use crate::event_text::now_ms;
use crate::event_text::{Draft, IsoClock, number, uuid};
use crate::payloads::{event_type, subject, write_broker_metrics, write_job_metrics, write_payload};
use crate::streams::Stream;

/// What a generated record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An event that every contract accepts.
    Sound,
    /// The event before it once more, byte for byte: the portal retries without idempotence.
    Repeated,
    /// A null value.
    Tombstone,
    /// JSON that ends too early.
    BadJson,
    /// An event without `event_id`, where the contract wants one.
    MissingField,
    /// An event with a number where the contract has a string.
    WrongType,
    /// Bytes that are not UTF-8 inside a string.
    InvalidUtf8,
    /// Two thousand arrays inside each other.
    DeepNesting,
    /// A sound event with five thousand members that no contract knows.
    ManyFields,
    /// A sound event that no broker of ours takes: 6.6 MB that do not compress below 5 MiB.
    TooLarge,
}

impl Kind {
    /// Whether the record can never reach the target and belongs in the dead letters.
    pub fn is_broken(self) -> bool {
        !matches!(self, Kind::Sound | Kind::Repeated | Kind::Tombstone | Kind::ManyFields)
    }
}

/// Which share of the records is what; the rest is sound.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Bad JSON, missing fields, wrong types, invalid UTF-8 and deep nesting, in equal parts.
    pub broken: f64,
    /// Events with thousands of unknown members.
    pub many_fields: f64,
    /// Null values.
    pub tombstones: f64,
    /// Events sent twice.
    pub repeated: f64,
    /// Every how many records one is too large; 0 for never.
    pub too_large_every: u64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { broken: 0.002, many_fields: 0.0001, tombstones: 0.005, repeated: 0.0005, too_large_every: 0 }
    }
}

/// Characters of the payload that is too large: so many of them, so evenly, that nothing compresses them below 5 MiB.
const TOO_LARGE_CHARACTERS: usize = 6_600_000;
/// Members of an event that has too many for anybody to want.
const MANY_FIELDS: u64 = 5_000;
/// Arrays inside each other: far more than any reader of ours follows.
const NESTED_ARRAYS: usize = 2_000;

/// A small generator of random numbers (splitmix64): fast, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of a product is even enough for tests, and has no division.
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// A fraction in 0..1.
    pub fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A bijection that scatters: different numbers stay different.
pub(crate) fn mix(number: u64) -> u64 {
    let a = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

/// Makes events, one after the other, into its own buffers.
#[derive(Debug)]
pub struct Events {
    stream: Stream,
    random: Random,
    seed: u64,
    shares: Shares,
    made: u64,
    clock: IsoClock,
    kind: Kind,
    key: Vec<u8>,
    value: Vec<u8>,
    correlation_id: [u8; 36],
    user: u64,
}

impl Events {
    /// Events for a seed: the same seed gives the same records but for their timestamps.
    pub fn new(stream: Stream, seed: u64, shares: Shares) -> Self {
        Self {
            stream,
            random: Random::new(seed),
            seed,
            shares,
            made: 0,
            clock: IsoClock::default(),
            kind: Kind::Sound,
            key: Vec::with_capacity(64),
            value: Vec::with_capacity(1024),
            correlation_id: [b'0'; 36],
            user: 0,
        }
    }

    /// Makes the next record, stamped with this time in milliseconds since the epoch, and says what it is.
    pub fn advance(&mut self, now_ms: u64) -> Kind {
        self.made += 1;
        self.clock.set(now_ms);
        self.kind = self.choose();
        if self.kind != Kind::Repeated {
            self.write();
        }
        self.kind
    }

    /// The record's key in Kafka, where the stream has any.
    pub fn key(&self) -> Option<&[u8]> {
        (self.stream != Stream::Notifications).then_some(&self.key)
    }

    /// The record's value, `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        (self.kind != Kind::Tombstone).then_some(&self.value)
    }

    /// The key with which the portal publishes it to RabbitMQ.
    pub fn routing_key(&self) -> String {
        match self.stream {
            Stream::Notifications => format!("notifications.user-{}", self.user),
            other => other.name().to_owned(),
        }
    }

    /// The headers of a Kafka record.
    pub fn headers(&self) -> Vec<(&'static str, &[u8])> {
        let correlation_id = ("correlation-id", self.correlation_id.as_slice());
        let timestamp = ("timestamp", self.clock.text());
        match self.stream {
            Stream::JobLifecycle => vec![("content-type", b"application/json"), correlation_id, timestamp],
            Stream::JobMetrics => vec![timestamp, ("job-id", self.key.as_slice())],
            Stream::Notifications => vec![correlation_id, timestamp],
            Stream::AuditTrail => vec![correlation_id, timestamp, ("resource-id", self.key.as_slice())],
            Stream::SystemHealth | Stream::BrokerMetrics => vec![timestamp],
        }
    }

    fn choose(&mut self) -> Kind {
        let has_payload = self.stream.has_envelope();
        if has_payload && self.shares.too_large_every > 0 && self.made.is_multiple_of(self.shares.too_large_every) {
            return Kind::TooLarge;
        }
        let mut dice = self.random.fraction();
        if dice < self.shares.broken {
            const BROKEN: [Kind; 5] =
                [Kind::BadJson, Kind::WrongType, Kind::InvalidUtf8, Kind::DeepNesting, Kind::MissingField];
            return BROKEN[self.random.below(if self.stream.needs_event_id() { 5 } else { 4 }) as usize];
        }
        dice -= self.shares.broken;
        if dice < self.shares.many_fields {
            return Kind::ManyFields;
        }
        dice -= self.shares.many_fields;
        if dice < self.shares.tombstones {
            return Kind::Tombstone;
        }
        dice -= self.shares.tombstones;
        // Only a sound event is sent twice: a broken one twice would be two broken ones.
        if dice < self.shares.repeated && self.made > 1 && self.kind == Kind::Sound {
            return Kind::Repeated;
        }
        Kind::Sound
    }

    fn write(&mut self) {
        let event_id = uuid(mix(self.seed ^ mix(self.made)), self.made);
        let subject = subject(self.stream, self.seed, self.random.next_u64());
        self.correlation_id = uuid(self.random.next_u64(), self.random.next_u64());
        self.user = self.random.below(700);
        let event_type = event_type(self.stream, self.random.below(100));
        // Only these audit events name a resource by the member that the portal looks for.
        let is_keyed_by_event = self.stream == Stream::AuditTrail && event_type != "audit.data.access";
        self.key.clear();
        self.key.extend_from_slice(if is_keyed_by_event { &event_id } else { &subject });
        self.value.clear();
        if self.kind == Kind::Tombstone {
            return;
        }
        self.value.push(b'{');
        match self.stream {
            Stream::JobMetrics => {
                let quoted = [b"\"", subject.as_slice(), b"\""].concat();
                let is_number = self.kind == Kind::WrongType;
                write_job_metrics(&mut self.draft(), if is_number { b"17" } else { &quoted });
            }
            Stream::BrokerMetrics => {
                let name = (self.kind == Kind::WrongType).then_some(b"17".as_slice());
                write_broker_metrics(&mut self.draft(), name);
            }
            _ => {
                self.write_envelope(&event_id, event_type);
                let mut draft = self.draft();
                draft.open("payload");
                write_payload(&mut draft, event_type, &subject);
                draft.close();
            }
        }
        self.value.push(b'}');
        self.damage();
    }

    fn draft(&mut self) -> Draft<'_> {
        Draft { out: &mut self.value, random: &mut self.random, clock: &self.clock }
    }

    fn write_envelope(&mut self, event_id: &[u8; 36], event_type: &str) {
        let (kind, user, correlation_id) = (self.kind, self.user, self.correlation_id);
        let mut draft = self.draft();
        if kind != Kind::MissingField {
            draft.id("event_id", event_id);
        }
        draft.text("event_type", event_type);
        if kind == Kind::WrongType {
            draft.integer("timestamp", draft.clock.now_ms, 1);
        } else {
            draft.now("timestamp");
        }
        draft.id("correlation_id", &correlation_id);
        draft.text("user_id", &format!("user-{user}"));
        draft.raw("schema_version", b"1");
        match user % 8 {
            0 => draft.raw("tags", br#"["survey","re-run"]"#),
            1 => draft.id("idempotency_key", event_id),
            2 => draft.id("parent_event_id", &correlation_id),
            3 => draft.raw("tags", br#"[],"parent_event_id":null"#),
            _ => {}
        }
    }

    /// Does to the finished object what its kind says.
    fn damage(&mut self) {
        let end = self.value.len() - 1;
        match self.kind {
            Kind::BadJson => self.value.truncate(end - 1 - self.random.below(40) as usize),
            Kind::InvalidUtf8 => {
                self.value.truncate(end);
                self.value.extend_from_slice(b",\"x\":\"\xff\xfe\"}");
            }
            Kind::DeepNesting => {
                self.value.truncate(end);
                self.value.extend_from_slice(b",\"x\":");
                self.value.extend(std::iter::repeat_n(b'[', NESTED_ARRAYS));
                self.value.extend(std::iter::repeat_n(b']', NESTED_ARRAYS));
                self.value.push(b'}');
            }
            Kind::ManyFields => {
                self.value.truncate(end);
                for count in 0..MANY_FIELDS {
                    self.value.extend_from_slice(b",\"x");
                    number(&mut self.value, count);
                    self.value.extend_from_slice(b"\":null");
                }
                self.value.push(b'}');
            }
            Kind::TooLarge => self.blow_up(),
            _ => {}
        }
    }

    /// Adds a member to the payload that makes it too large.
    fn blow_up(&mut self) {
        self.value.truncate(self.value.len() - 2);
        self.value.extend_from_slice(b",\"image\":\"");
        for _ in 0..TOO_LARGE_CHARACTERS {
            // The printable characters of ASCII but for the quote and the backslash.
            let character = b' ' + self.random.below(93) as u8;
            self.value.push(match character {
                b'"' => b'~',
                b'\\' => b'}',
                other => other,
            });
        }
        self.value.extend_from_slice(b"\"}}");
    }
}

#[cfg(test)]
mod tests;
