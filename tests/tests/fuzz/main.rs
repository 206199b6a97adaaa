//! Everything that takes bytes from somewhere else, tried with bytes that nobody would send.
//!
//! Inputs are made from the corpus (`tests/corpus/<decoder>`) and checked not only for panics: for what is allocated at once
//! by what goes in and comes out, for time, for round trips where there is an encoder, and against the answers of other
//! implementations. A short run is part of the tests and the same every time. A longer one:
//!
//! ```sh
//! FUZZ_SECONDS=600 cargo test -p bridge-tests --test fuzz -- --nocapture     # each decoder; add its name for one
//! FUZZ_INPUT=test-output/fuzz/pulsar-entry/... cargo test ...                # one input, as a failure says
//! ```
//! `FUZZ_SEED` sets where the random numbers start. `FUZZ_TRACE` keeps every input as `test-output/fuzz/<decoder>/last` before it
//! is tried, for what ends the process (a stack that overflows). What is found becomes a file of the corpus.
//!
//! The engine is our own. bolero's, which runs under `cargo test` on stable Rust, replays a corpus and makes random bytes,
//! but does not mutate the corpus, and measures no memory; its engines that do better want a nightly compiler, or clang.

mod config;
mod engine;
mod headers;
mod mutate;
mod pulsar;
mod sources;
mod stored;
mod translate;
