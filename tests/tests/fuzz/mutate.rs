//! Inputs out of other inputs. Small changes find what a parser forgets, repeated pieces what it does too often.

use bridge_simulation::Random;

/// The longest input that is made.
pub(crate) const INPUT_BYTES_MAX: usize = 256 * 1024;

/// Bytes that mean something to one format or the other.
const TOKENS: [&[u8]; 24] = [
    b"\x0e\x01",
    b"\x0e\x02",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x28\xb5\x2f\xfd",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u",
    b"\\ud800",
    b"null",
    b"-0",
    b"1e999",
    b"99999999999999999999",
    b"NaN",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"__",
    b".",
];

/// An input made from one or two others.
pub(crate) fn mutate(random: &mut Random, from: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..1 << random.below(4) {
        once(random, &mut bytes, other);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// An input made from nothing.
pub(crate) fn noise(random: &mut Random) -> Vec<u8> {
    let bits = random.below(12);
    let length = random.below(1 << bits);
    (0..length).map(|_| if random.chance(300) { 0 } else { random.bits() as u8 }).collect()
}

fn place(random: &mut Random, bytes: &[u8]) -> usize {
    random.below(bytes.len() as u64 + 1) as usize
}

/// A piece, short ones more often than long ones.
fn piece(random: &mut Random, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = place(random, bytes);
    let longest = (bytes.len() - start).min(1 << random.below(11));
    start..start + random.below(longest as u64 + 1) as usize
}

fn once(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    match random.below(14) {
        0..=2 => {
            if let Some(byte) = some_byte(random, bytes) {
                *byte ^= 1 << random.below(8);
            }
        }
        3 => {
            if let Some(byte) = some_byte(random, bytes) {
                *byte = random.bits() as u8;
            }
        }
        4 => {
            if let Some(byte) = some_byte(random, bytes) {
                *byte = byte.wrapping_add(random.pick(&[1, 2, 254, 255]));
            }
        }
        5 => bytes.truncate(place(random, bytes)),
        6 => drop(bytes.drain(piece(random, bytes))),
        7 => {
            let copy = bytes[piece(random, bytes)].to_vec();
            insert(random, bytes, &copy);
        }
        8 | 9 => {
            let copy = &other[piece(random, other)];
            insert(random, bytes, copy);
        }
        10 => insert(random, bytes, random.clone().pick(&TOKENS)),
        11 | 12 => length(random, bytes),
        _ => repeat(random, bytes),
    }
}

fn some_byte<'b>(random: &mut Random, bytes: &'b mut [u8]) -> Option<&'b mut u8> {
    let at = random.below(bytes.len().max(1) as u64) as usize;
    bytes.get_mut(at)
}

fn insert(random: &mut Random, bytes: &mut Vec<u8>, piece: &[u8]) {
    let at = place(random, bytes);
    bytes.splice(at..at, piece.iter().copied());
}

/// Writes a length where one may be: of four bytes as Pulsar, registries and AMQP have it, of two, or a varint.
fn length(random: &mut Random, bytes: &mut [u8]) {
    let at = place(random, bytes);
    let left = (bytes.len() - at) as u32;
    let value = match random.below(7) {
        0 => 0,
        1 => u32::MAX,
        2 => i32::MAX as u32,
        3 => left.wrapping_add(random.below(9) as u32).wrapping_sub(8),
        4 => 128 << 20,
        5 => 1 << random.below(32),
        _ => random.below(300) as u32,
    };
    let encoded = match random.below(4) {
        0 => (value as u16).to_be_bytes().to_vec(),
        1 => {
            vec![value as u8 | 0x80, (value >> 7) as u8 | 0x80, (value >> 14) as u8 | 0x80, (value >> 21) as u8 & 0x7f]
        }
        _ => value.to_be_bytes().to_vec(),
    };
    bytes[at..].iter_mut().zip(encoded).for_each(|(byte, new)| *byte = new);
}

/// The same piece very often: what takes the square of its input's time is seen at such ones only.
fn repeat(random: &mut Random, bytes: &mut Vec<u8>) {
    // Seldom, since they are slow.
    if !random.chance(100) {
        return;
    }
    let range = piece(random, bytes);
    let (end, copy) = (range.end, bytes[range].to_vec());
    if copy.is_empty() {
        return;
    }
    let room = INPUT_BYTES_MAX.saturating_sub(bytes.len()) / copy.len();
    let most = room.min(1 << random.below(17));
    let times = random.below(most as u64 + 1) as usize;
    bytes.splice(end..end, copy.repeat(times));
}
