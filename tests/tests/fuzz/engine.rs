//! Feeds a decoder with inputs and holds what it does against what is allowed.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use bridge_simulation::Random;

use super::mutate::{mutate, noise};

/// What a decoder may allocate at once whatever it is given.
const FREE_BYTES: usize = 256 * 1024;
/// What an input may take. The longest inputs take milliseconds; what takes the square of its input's time takes minutes.
const SLOW: Duration = Duration::from_secs(2);
/// How many inputs are kept beside the corpus, for having led somewhere new.
const POOL_MAX: usize = 4096;
/// How long a failing input is made smaller.
const SHRINKING: Duration = Duration::from_secs(10);

/// What came of one input.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What kind of answer it was: inputs with a new one are built upon. No numbers, no names.
    pub(crate) kind: String,
    /// How many bytes were rightly made of it.
    pub(crate) bytes: usize,
}

impl Outcome {
    /// An answer that is not larger than its input.
    pub(crate) fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), bytes: 0 }
    }
}

/// How a decoder is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The corpus is `tests/corpus/<name>`.
    pub(crate) name: &'static str,
    /// How many inputs a short run makes.
    pub(crate) inputs: u64,
    /// How many bytes may be allocated for each byte that goes in or comes out.
    pub(crate) growth: usize,
}

/// Tries the decoder with its whole corpus, and with inputs made of it. `decode` panics where something is wrong.
pub(crate) fn fuzz(plan: Plan, decode: impl Fn(&[u8]) -> Outcome) {
    without_words_for_panics_that_are_caught();
    let run = Run { plan, decode, trace: std::env::var_os("FUZZ_TRACE").is_some() };
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        let path = PathBuf::from(path);
        if path.parent().and_then(Path::file_name).is_some_and(|name| name == plan.name) {
            let input = std::fs::read(&path).expect("FUZZ_INPUT names a file");
            run.check(&input);
            println!("{}: {:?} is taken well", plan.name, path);
        }
        return;
    }
    run.all();
}

thread_local! {
    /// Whether a panic of this thread is caught and told by its input.
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

fn without_words_for_panics_that_are_caught() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                before(info);
            }
        }));
    });
}

struct Run<D> {
    plan: Plan,
    decode: D,
    trace: bool,
}

impl<D: Fn(&[u8]) -> Outcome> Run<D> {
    fn all(&self) {
        let began = Instant::now();
        let seconds = number("FUZZ_SECONDS");
        // The short run is the same every time, a long one never.
        let seed = number("FUZZ_SEED").unwrap_or_else(|| seconds.map_or(0, |_| std::process::id().into()));
        let mut random = Random::new(seed);
        let mut pool = corpus(self.plan.name);
        let seeds = pool.len();
        assert!(seeds > 0, "{} has no corpus", self.plan.name);
        let mut kinds: HashSet<u64> = pool.iter().map(|input| self.check(input)).collect();
        let mut inputs = 0;
        loop {
            let more = match seconds {
                Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
                None => inputs < self.plan.inputs,
            };
            if !more {
                break;
            }
            let pick = |random: &mut Random| random.below(pool.len() as u64) as usize;
            let input = if random.chance(30) {
                noise(&mut random)
            } else {
                let (one, other) = (pick(&mut random), pick(&mut random));
                mutate(&mut random, &pool[one], &pool[other])
            };
            if kinds.insert(self.check(&input)) && pool.len() < POOL_MAX {
                pool.push(input);
            }
            inputs += 1;
        }
        println!(
            "{}: {inputs} inputs and {seeds} of the corpus, seed {seed}, {} kinds of answers, {:.1} s",
            self.plan.name,
            kinds.len(),
            began.elapsed().as_secs_f64()
        );
    }

    /// Tries one input, and gives its kind. A failure is kept as a file, made small, and told.
    fn check(&self, input: &[u8]) -> u64 {
        if self.trace {
            keep(self.plan.name, "last", input);
        }
        match self.attempt(input) {
            Ok(kind) => kind,
            Err(problem) => self.fail(input, &problem),
        }
    }

    fn attempt(&self, input: &[u8]) -> Result<u64, String> {
        // What a first call allocates once and for good (caches of regular expressions) is not the input's.
        let is_memory = |problem: &String| problem.starts_with("memory");
        self.attempt_once(input)
            .or_else(|problem| if is_memory(&problem) { self.attempt_once(input) } else { Err(problem) })
    }

    fn attempt_once(&self, input: &[u8]) -> Result<u64, String> {
        let mut answer = None;
        SILENT.set(true);
        let began = Instant::now();
        let allocated = allocation_counter::measure(|| {
            answer = Some(panic::catch_unwind(AssertUnwindSafe(|| (self.decode)(input))));
        });
        let took = began.elapsed();
        SILENT.set(false);
        let outcome = answer.expect("it was measured").map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without words"))
        })?;
        let allowed = FREE_BYTES + self.plan.growth * (input.len() + outcome.bytes);
        if allocated.bytes_max > allowed as u64 {
            return Err(format!("memory: {} bytes at once, {allowed} are allowed", allocated.bytes_max));
        }
        // A busy machine stops any process for a while: what counts is the processor's time.
        if took > SLOW {
            let took = self.processor_time(input);
            if took > SLOW {
                return Err(format!("time: {took:?}"));
            }
        }
        let mut hasher = DefaultHasher::new();
        outcome.kind.chars().filter(|c| !c.is_ascii_digit()).take(200).for_each(|c| c.hash(&mut hasher));
        Ok(hasher.finish())
    }

    fn processor_time(&self, input: &[u8]) -> Duration {
        let before = processor_time_of_this_thread();
        (self.decode)(input);
        processor_time_of_this_thread().saturating_sub(before)
    }

    fn fail(&self, input: &[u8], problem: &str) -> ! {
        let what = problem.split(':').next().unwrap_or_default().to_owned();
        let still = |input: &[u8]| self.attempt(input).is_err_and(|problem| problem.starts_with(&what));
        let small = shrink(input, still);
        let problem = self.attempt(&small).err().unwrap_or_else(|| problem.to_owned());
        let path = keep(self.plan.name, &format!("{what}-{:016x}", fingerprint(&small)), &small);
        panic!(
            "{}: {problem}\nThe input is kept as {path}: move it to tests/corpus/{}. Replay it with\n  \
             FUZZ_INPUT={path} cargo test -p bridge-tests --test fuzz -- --nocapture",
            self.plan.name,
            self.plan.name,
            path = path.display()
        );
    }
}

/// As Linux tells it: nanoseconds on a processor, in the first field.
fn processor_time_of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells the times of a thread");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}

/// The input without all that can be left out while it still fails.
fn shrink(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let began = Instant::now();
    let mut small = input.to_vec();
    let mut size = small.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < small.len() {
            if began.elapsed() > SHRINKING {
                return small;
            }
            let mut without = small.clone();
            without.drain(at..(at + size).min(small.len()));
            if fails(&without) { small = without } else { at += size }
        }
        size /= 2;
    }
    small
}

/// What another implementation answers: its memory is not counted.
pub(crate) fn reference<T>(answer: impl FnOnce() -> T) -> T {
    let mut given = None;
    allocation_counter::opt_out(|| given = Some(answer()));
    given.expect("it was asked")
}

/// The files of a decoder's corpus, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("the corpus can be read")).collect()
}

/// Keeps an input below `test-output`, in a directory with its decoder's name.
fn keep(name: &str, what: &str, input: &[u8]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the repository");
    let directory = root.join("test-output/fuzz").join(name);
    let path = directory.join(what);
    std::fs::create_dir_all(&directory).expect("the directory can be made");
    std::fs::write(&path, input).expect("the input can be kept");
    path
}

fn fingerprint(input: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Takes an input apart where a target needs values rather than bytes: each piece is what is left of it.
pub(crate) struct Pieces<'a>(pub(crate) &'a [u8]);

impl<'a> Pieces<'a> {
    /// One byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Some bytes: a length of one byte before them, or of two from 240 on.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            high @ 240.. => usize::from(high - 240) << 8 | usize::from(self.byte()),
            length => usize::from(length),
        };
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Some bytes as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A number of up to eight bytes.
    pub(crate) fn number(&mut self) -> u64 {
        let length = self.byte() % 9;
        (0..length).fold(0, |sum, _| sum << 8 | u64::from(self.byte()))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
