//! The one module with `unsafe`: a partition's queue, and taking many messages from it in one call.
//!
//! The safe consumer takes one message per call and wraps each in an event, which costs twice the CPU; and it hides the
//! offset at which a partition ended, without which a position cannot move over transaction markers and compacted
//! offsets. So this module calls librdkafka itself, and nothing else in the crate does.
//!
//! What the safety rests on, all of it from `rdkafka.h`:
//! - librdkafka's functions may be called from any thread;
//! - a queue handle must be destroyed before its client: [`Queue`] holds the consumer;
//! - a message and all that it points to lives until `rd_kafka_message_destroy`: [`Popped`] borrows it, and [`Batch`]
//!   destroys each message exactly once, also when a visitor panics;
//! - the wake-up callback runs under the queue's lock, so after it is taken off it never runs again.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::context::GroupContext;
use crate::record::{Header, Offset, Record};

/// The consumer of a group, as the whole Kafka source uses it.
pub(super) type GroupConsumer = BaseConsumer<GroupContext>;

/// What a queue holds: a message, the end of the partition, or an error.
pub(super) enum Popped<'a> {
    /// A record, with the leader epoch under which it was read.
    Record(Record<'a>, Option<i32>),
    /// Everything below `offset` has been read, markers and compacted offsets too.
    End { offset: i64 },
    /// An error of this partition.
    Fault { code: RDKafkaErrorCode, reason: String },
}

/// What a queue's reader may do.
pub(super) struct State {
    /// False from the revoke on: librdkafka keeps one queue for a partition over all its assignments, so a late holder
    /// must neither take messages nor switch off the wake-ups of the next one.
    pub(super) ours: bool,
    /// Where its reader stands, or a little below; `None` while it is not started.
    pub(super) position: Option<Offset>,
    /// The offset behind the last record that was shown, and the leader epoch under which that record was written.
    pub(super) shown: Option<(Offset, i32)>,
}

impl State {
    /// The leader epoch of the record right below `offset`, where it is known.
    pub(super) fn epoch_below(&self, offset: Offset) -> Option<i32> {
        self.shown.filter(|(behind, _)| *behind == offset).map(|(_, epoch)| epoch)
    }
}

/// The queue of one assigned partition, split off from the consumer's.
pub(super) struct Queue<C: ConsumerContext + 'static = GroupContext> {
    handle: NonNull<ffi::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<C>>,
    topic: CString,
    partition: i32,
    wake: Arc<Notify>,
    state: Mutex<State>,
    revoking: AtomicBool,
}

// SAFETY: librdkafka's queues may be used and destroyed from any thread; everything else in it is Send and Sync.
unsafe impl<C: ConsumerContext + 'static> Send for Queue<C> {}
// SAFETY: as above; `live` orders what may not happen at once.
unsafe impl<C: ConsumerContext + 'static> Sync for Queue<C> {}

unsafe extern "C" fn on_nonempty(_client: *mut ffi::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Notify` that `Queue` keeps alive until the callback has been taken off.
    unsafe { &*(opaque as *const Notify) }.notify_one();
}

impl<C: ConsumerContext + 'static> Queue<C> {
    /// Splits the partition's queue from the consumer's: from now on its messages come here only. To be called before
    /// the partition is assigned. `None` where librdkafka does not know the topic or partition.
    pub(super) fn split(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: i32) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`; the handle is ours and is destroyed in `drop`.
        let handle = NonNull::new(unsafe { ffi::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) })?;
        let wake = Arc::new(Notify::new());
        // SAFETY: the handle is valid; `wake` outlives the callback, which `disarm` takes off.
        unsafe {
            ffi::rd_kafka_queue_forward(handle.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(&wake) as *mut c_void;
            ffi::rd_kafka_queue_cb_event_enable(handle.as_ptr(), Some(on_nonempty), opaque);
        }
        let consumer = Arc::clone(consumer);
        Some(Self {
            handle,
            consumer,
            topic,
            partition,
            wake,
            state: Mutex::new(State { ours: true, position: None, shown: None }),
            revoking: AtomicBool::new(false),
        })
    }

    /// The consumer the queue belongs to.
    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Notified whenever the queue stops being empty, and when it is disarmed.
    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }

    /// Holds off takes, rebalances and the revoke while the guard lives.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group wants the partition back: a start that is under way need not succeed any more. Wakes the reader.
    pub(super) fn begin_revoke(&self) {
        self.revoking.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether the group wants the partition back.
    pub(super) fn is_revoking(&self) -> bool {
        self.revoking.load(Ordering::Acquire)
    }

    /// Ends this assignment: nothing can be taken any more, and nobody is woken. Wakes the reader a last time.
    pub(super) fn disarm(&self) {
        let mut state = self.state();
        if state.ours {
            state.ours = false;
            // SAFETY: the handle is valid until `drop`.
            unsafe { ffi::rd_kafka_queue_cb_event_enable(self.handle.as_ptr(), None, ptr::null_mut()) };
            self.wake.notify_one();
        }
    }

    /// Takes up to `max` messages without waiting. `None`: the partition has been revoked.
    pub(super) fn pop<'q>(&self, max: usize, buffer: &'q mut Buffer) -> Option<Batch<'q>> {
        let state = self.state();
        if !state.ours {
            return None;
        }
        let messages = &mut buffer.0;
        messages.clear();
        messages.reserve(max);
        // SAFETY: `messages` has room for `max` pointers, and librdkafka writes at most so many; each is a message that
        // is ours to destroy.
        unsafe {
            let room = messages.as_mut_ptr();
            let count = ffi::rd_kafka_consume_batch_queue(self.handle.as_ptr(), 0, room, max);
            messages.set_len(usize::try_from(count).unwrap_or(0).min(max));
        }
        Some(Batch { messages, next: 0 })
    }

    /// Whether nothing waits here to be taken.
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: the handle is valid until `drop`.
        unsafe { ffi::rd_kafka_queue_length(self.handle.as_ptr()) == 0 }
    }

    /// The end of the partition as of the last fetch; `None` before the first.
    pub(super) fn cached_high_watermark(&self) -> Option<u64> {
        let (mut low, mut high) = (-1i64, -1i64);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client and the topic's name are valid; librdkafka writes the two numbers and nothing else.
        let error = unsafe {
            ffi::rd_kafka_get_watermark_offsets(client, self.topic.as_ptr(), self.partition, &mut low, &mut high)
        };
        (RDKafkaErrorCode::from(error) == RDKafkaErrorCode::NoError).then_some(high)?.try_into().ok()
    }
}

impl<C: ConsumerContext + 'static> Drop for Queue<C> {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: the handle is ours, used nowhere after this, and the client outlives it (`consumer` drops later).
        unsafe { ffi::rd_kafka_queue_destroy(self.handle.as_ptr()) };
    }
}

/// Room for the pointers of a batch, kept from one take to the next. Empty in between.
#[derive(Default)]
pub(super) struct Buffer(Vec<*mut ffi::rd_kafka_message_t>);

// SAFETY: it holds pointers only while a `Batch` borrows it, and those may be used from any thread.
unsafe impl Send for Buffer {}

/// Messages taken from a queue. Destroyed one by one as they are visited, the rest on drop.
pub(super) struct Batch<'q> {
    messages: &'q mut Vec<*mut ffi::rd_kafka_message_t>,
    next: usize,
}

impl Batch<'_> {
    /// How many messages, errors included, were taken.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Shows the messages in order until `visit` breaks. `headers` is only room to be used again.
    pub(super) fn each(
        mut self,
        headers: &mut Vec<Header<'static>>,
        mut visit: impl FnMut(Popped<'_>) -> ControlFlow<()>,
    ) {
        while let Some(&message) = self.messages.get(self.next) {
            let one = Owned(message);
            self.next += 1;
            // SAFETY: librdkafka gave this message, and `one` keeps it until the end of this turn.
            let seen = unsafe { show(&*one.0, headers, &mut visit) };
            if seen.is_break() {
                return;
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for &message in self.messages.iter().skip(self.next) {
            drop(Owned(message));
        }
        self.messages.clear();
    }
}

/// One message that is ours to destroy.
struct Owned(*mut ffi::rd_kafka_message_t);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made once for each message taken from the queue, so this runs once for it.
        unsafe { ffi::rd_kafka_message_destroy(self.0) };
    }
}

/// Shows one message to `visit`.
///
/// # Safety
/// `message` came from a consumer's queue and is not destroyed before this returns.
unsafe fn show(
    message: &ffi::rd_kafka_message_t,
    headers: &mut Vec<Header<'static>>,
    visit: &mut impl FnMut(Popped<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match RDKafkaErrorCode::from(message.err) {
        RDKafkaErrorCode::NoError => {}
        RDKafkaErrorCode::PartitionEOF => return visit(Popped::End { offset: message.offset }),
        code => {
            // SAFETY: the text belongs to the message and is copied.
            let reason = unsafe { text(ffi::rd_kafka_message_errstr(message)) };
            return visit(Popped::Fault { code, reason });
        }
    }
    let mut kind = ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: a consumed message; both only read it.
    let (timestamp, epoch) =
        unsafe { (ffi::rd_kafka_message_timestamp(message, &mut kind), ffi::rd_kafka_message_leader_epoch(message)) };
    let mut names = Vec::new();
    // SAFETY: names and values point into the message, which outlives `found`.
    let found = unsafe { read_headers(message, recycle(headers), &mut names) };
    let record = Record {
        offset: u64::try_from(message.offset).expect("librdkafka gives offsets from 0 on to messages without error"),
        timestamp_ms: u64::try_from(timestamp).ok(),
        // SAFETY: key and value point into the message, with these lengths; null means there is none.
        key: unsafe { bytes(message.key, message.key_len) },
        // SAFETY: as above.
        value: unsafe { bytes(message.payload, message.len) },
        headers: &found,
    };
    let answer = visit(Popped::Record(record, (epoch >= 0).then_some(epoch)));
    *headers = recycle(&mut { found });
    answer
}

/// Reads the headers of a message into `room`. A name that is not UTF-8 is replaced by its lossy reading, kept in `names`.
///
/// # Safety
/// `message` is not destroyed during `'a`.
unsafe fn read_headers<'a>(
    message: &'a ffi::rd_kafka_message_t,
    mut room: Vec<Header<'a>>,
    names: &'a mut Vec<String>,
) -> Vec<Header<'a>> {
    let mut list = ptr::null_mut();
    // SAFETY: the list stays the message's. librdkafka parses it on the first call, which wants a mutable message; this
    // thread is the only one that has it.
    let error = unsafe { ffi::rd_kafka_message_headers(message, &mut list) };
    if RDKafkaErrorCode::from(error) != RDKafkaErrorCode::NoError {
        return room;
    }
    let mut lossy = Vec::new();
    for index in 0.. {
        let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list is valid; the three are written when there is a header of that index.
        let error = unsafe { ffi::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) };
        if RDKafkaErrorCode::from(error) != RDKafkaErrorCode::NoError {
            break;
        }
        // SAFETY: a C string and `size` bytes inside the message.
        let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, size)) };
        let name = name.to_str().unwrap_or_else(|_| {
            lossy.push(room.len());
            names.push(name.to_string_lossy().into_owned());
            ""
        });
        room.push(Header { name, value });
    }
    for (at, name) in lossy.into_iter().zip(names.iter()) {
        room[at].name = name;
    }
    room
}

/// Empties `used` and gives its memory back for headers of another lifetime: collecting in place keeps the allocation.
fn recycle<'a>(used: &mut Vec<Header<'_>>) -> Vec<Header<'a>> {
    let mut used = std::mem::take(used);
    used.clear();
    used.into_iter().map(|_| Header { name: "", value: None }).collect()
}

/// # Safety
/// `start` is null, or points at `len` bytes that stay for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// # Safety
/// `start` is null or a C string.
unsafe fn text(start: *const c_char) -> String {
    // SAFETY: the caller's promise.
    if start.is_null() { String::new() } else { unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned() }
}

/// Says under which leader epoch the record below the offsets in this list was written: a seek asks the leader whether its log
/// still has that record, and gives a truncation where it has not.
pub(super) fn set_leader_epoch(list: &TopicPartitionList, epoch: i32) {
    // SAFETY: the list is valid, has `cnt` elements, and nobody else has it; the call only writes the element.
    unsafe {
        let list = &*list.ptr();
        for index in 0..usize::try_from(list.cnt).unwrap_or(0) {
            ffi::rd_kafka_topic_partition_set_leader_epoch(list.elems.add(index), epoch);
        }
    }
}

/// Whether the group's coordinator knows the consumer as a member: false once it has left.
pub(super) fn is_member(consumer: &GroupConsumer) -> bool {
    let client = consumer.client().native_ptr();
    // SAFETY: the client is valid; the string is ours and is freed by librdkafka's own allocator.
    unsafe {
        let id = ffi::rd_kafka_memberid(client);
        let member = !id.is_null() && *id != 0;
        if !id.is_null() {
            ffi::rd_kafka_mem_free(client, id.cast());
        }
        member
    }
}
