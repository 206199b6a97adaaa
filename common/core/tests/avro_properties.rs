//! Random evolutions, with apache-avro's resolution as the judge; and bytes that no writer wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "avro/pairs.rs"]
mod pairs;

use std::sync::Arc;

use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use bridge_core::translate::{
    AvroPlan, AvroScratch, Cause, Contract, Drift, OnUnknownField, TranslateError, WriterSchema,
};

use pairs::{Pair, Pairs, Values};

/// Pairs of schemas; each is tried with several values. `AVRO_PAIRS` asks for more.
const PAIRS: u64 = 6_000;
const VALUES: usize = 4;

fn pairs_wanted() -> u64 {
    std::env::var("AVRO_PAIRS").ok().and_then(|count| count.parse().ok()).unwrap_or(PAIRS)
}

/// `None`: apache-avro does not take the contract. It cannot judge some defaults of records in records.
fn compile(pair: &Pair) -> Option<AvroPlan> {
    let writer = Arc::new(WriterSchema::parse(&pair.writer.to_string(), &[]).unwrap());
    let contract = Contract::parse(&pair.contract.to_string()).ok()?;
    Some(AvroPlan::compile(writer, &contract, OnUnknownField::Count).unwrap())
}

fn translate(plan: &AvroPlan, body: &[u8]) -> Result<Vec<u8>, TranslateError> {
    let mut out = b"before".to_vec();
    let result = plan.translate(&mut AvroScratch::default(), body, &mut out, &mut Drift::new());
    assert!(out.starts_with(b"before") && (result.is_ok() || out.len() == 6), "what was there stays");
    result.map(|()| out.split_off(6))
}

#[test]
fn evolutions_are_resolved_as_apache_avro_resolves_them() {
    let (mut taken, mut refused, mut identities, mut empty) = (0u64, 0u64, 0u64, 0u64);
    for seed in 0..pairs_wanted() {
        let mut source = Pairs::new(seed);
        let pair = source.top();
        let Some(plan) = compile(&pair) else { continue };
        identities += u64::from(plan.is_identity());
        let schemas = Schema::parse(&pair.renamed).and_then(|from| Ok((from, Schema::parse(&pair.contract)?)));
        let (from, to) = schemas.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for _ in 0..VALUES {
            let value = Values::of(&pair.renamed).value(&pair.renamed, &mut source.random, 0);
            let body = to_avro_datum(&from, value).unwrap();
            let expected =
                from_avro_datum(&from, &mut &body[..], Some(&to)).and_then(|value| to_avro_datum(&to, value));
            let ours = translate(&plan, &body);
            match (&ours, &expected) {
                (Ok(ours), Ok(expected)) => {
                    assert_eq!(ours, expected, "seed {seed}\n{}\n{}", pair.writer, pair.contract)
                }
                (Err(_), Err(_)) => {}
                _ => panic!("seed {seed}: {ours:?}, apache-avro {expected:?}\n{}\n{}", pair.writer, pair.contract),
            }
            taken += u64::from(ours.is_ok());
            refused += u64::from(ours.is_err());
            empty += u64::from(body.is_empty());
            if plan.is_identity() && ours.is_ok() {
                assert_eq!(ours.as_deref(), Ok(&body[..]), "seed {seed}");
            }
            if ours.is_ok() {
                cut_short_or_long(&plan, &body, &mut source.random, seed);
            }
        }
    }
    println!("{taken} taken, {refused} refused, {identities} identical pairs, {empty} empty bodies");
    let all = taken + refused;
    assert!(all > pairs_wanted() * 35 / 10, "few contracts are refused");
    assert!(taken > all / 2 && refused > all / 50 && empty < all / 4, "the generator makes what is worth testing");
}

/// Every head of a body ends too early, and every further byte is one too many.
fn cut_short_or_long(plan: &AvroPlan, body: &[u8], random: &mut pairs::Random, seed: u64) {
    let cause = |body: &[u8]| translate(plan, body).map_err(|error| error.cause);
    if !body.is_empty() {
        let cut = random.below(body.len());
        assert_eq!(cause(&body[..cut]), Err(Cause::Truncated), "seed {seed}, cut at {cut}");
    }
    let long = [body, &[random.next() as u8]].concat();
    assert_eq!(cause(&long), Err(Cause::TrailingBytes), "seed {seed}");
}

/// Bytes that were changed: whatever is still taken is of its schema by apache-avro's judgement too, and what was written
/// is of the contract's.
#[test]
fn damaged_bodies_are_refused_or_still_whole() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..pairs_wanted() {
        let mut source = Pairs::new(seed);
        let pair = source.top();
        let Some(plan) = compile(&pair) else { continue };
        let (from, to) = (Schema::parse(&pair.renamed).unwrap(), Schema::parse(&pair.contract).unwrap());
        let value = Values::of(&pair.renamed).value(&pair.renamed, &mut source.random, 0);
        let mut body = to_avro_datum(&from, value).unwrap();
        for _ in 0..VALUES {
            let place = source.random.below(body.len() + 1);
            let byte = source.random.next() as u8;
            match source.random.below(3) {
                0 => body.insert(place, byte),
                1 if place < body.len() => drop(body.remove(place)),
                _ => body.iter_mut().skip(place).take(1).for_each(|damaged| *damaged = byte),
            }
            match translate(&plan, &body) {
                Ok(out) => {
                    taken += 1;
                    let mut rest = &body[..];
                    from_avro_datum(&from, &mut rest, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    assert!(rest.is_empty(), "seed {seed}: {} bytes not read", rest.len());
                    let mut rest = &out[..];
                    from_avro_datum(&to, &mut rest, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    assert!(rest.is_empty(), "seed {seed}");
                }
                Err(_) => refused += 1,
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 500 && refused > 500);
}
