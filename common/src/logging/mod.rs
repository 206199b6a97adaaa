//! What a bridge says to standard error: one line for each event that matters, as text or as JSON, with stable names
//! ([`events`]). What is said and what is held back is decided in `hold_back.rs`, how a line looks in `line.rs`, what the
//! periodic line has in [`summary`]: all pure. Here are the clock, the output and the thread that comes back for what was held.
//!
//! Nothing here is called for a record that is mirrored: `tracing` asks a static level first.

pub mod events;
mod hold_back;
mod line;
pub mod summary;
pub mod trace_context;

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::config::{Config, LogFormat, LogLevel};
use hold_back::HoldBack;
use line::{Line, Style};

/// How often somebody comes back for what was held back.
const STEP: Duration = Duration::from_secs(1);

/// The targets of our own lines. Whoever else uses `tracing` is a dependency.
const OWN: &str = "bridge_common";

/// Says no more than its errors, which come back to us with types; and what it says holds bodies and logins.
const NEVER_HEARD: &str = "lapin";

/// The lines of one process.
struct Lines {
    stream: String,
    style: Style,
    hold_back: Mutex<HoldBack>,
    /// Never shown, wherever they come from.
    secrets: Vec<String>,
    out: Mutex<Box<dyn Write + Send>>,
}

/// The process's lines, for [`flush`].
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

/// What `tracing` is given: the lines, shared with the thread that looks after them.
struct ToLines(Arc<Lines>);

impl<S: Subscriber> Layer<S> for ToLines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        may_be_heard(metadata.target(), *metadata.level())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.take(Line::of(event));
    }
}

/// Dependencies are never heard below `info`, whatever is asked for: there they show what they send, logins and bodies included.
fn may_be_heard(target: &str, level: tracing::Level) -> bool {
    let is_of = |root: &str| target.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    is_of(OWN) || (level <= tracing::Level::INFO && !is_of(NEVER_HEARD))
}

impl Lines {
    fn take(&self, line: Line) {
        let said = self.hold_back().take(line, Instant::now());
        said.into_iter().for_each(|line| self.write(line));
    }

    /// What was held back, and is due.
    fn look_after(&self) {
        let due = self.hold_back().due(Instant::now());
        due.into_iter().for_each(|line| self.write(line));
    }

    fn flush(&self) {
        let held = self.hold_back().flush();
        held.into_iter().for_each(|line| self.write(line));
    }

    fn write(&self, mut line: Line) {
        line.redact(&self.secrets);
        let text = line.render(self.style, &self.stream, now_ms());
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Where nobody reads, nobody can be told.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn hold_back(&self) -> std::sync::MutexGuard<'_, HoldBack> {
        self.hold_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Starts to log to standard error, as `[log]` says; `format` from the command line wins.
pub fn start(config: &Config, format: Option<LogFormat>) {
    let style = style(format.unwrap_or(config.log.format));
    let pause = Duration::from_secs(u64::from(config.log.repeat_seconds));
    let lines = Arc::new(Lines {
        stream: config.stream.name.clone(),
        style,
        hold_back: Mutex::new(HoldBack::new(pause)),
        secrets: config.secrets_to_hide(),
        out: Mutex::new(Box::new(std::io::stderr())),
    });
    let (filter, mistake) = filter(config.log.level, std::env::var("RUST_LOG").ok());
    let subscriber = tracing_subscriber::registry().with(filter).with(ToLines(Arc::clone(&lines)));
    // Err says that a test has installed one already.
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    let _ = LINES.set(Arc::clone(&lines));
    // Without this thread lines would come late, with the next of their kind.
    let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(STEP);
            lines.look_after();
        }
    });
    tell_panics();
    if let Some(mistake) = mistake {
        tracing::warn!(event = events::LOG_LEVEL_UNUSABLE, "RUST_LOG is not used: {mistake}");
    }
}

/// Writes what is still held back: the process ends.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// A line for a process that does not get as far as [`start`]: its configuration is wrong.
pub fn refusal(stream: &str, format: LogFormat, problem: &str) -> String {
    match format {
        LogFormat::Text => format!("{stream}-bridge: {problem}\n"),
        LogFormat::Json => Line::error(events::CONFIGURATION_WRONG, problem).render(Style::Json, stream, now_ms()),
    }
}

fn style(format: LogFormat) -> Style {
    match format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::Text { colours: std::io::IsTerminal::is_terminal(&std::io::stderr()) },
    }
}

/// Our own lines from `level` on, warnings of dependencies. `RUST_LOG` (`target=level`, by commas) says otherwise where it can be read.
fn filter(level: LogLevel, rust_log: Option<String>) -> (Targets, Option<String>) {
    let usual = Targets::new().with_default(LevelFilter::WARN).with_target(OWN, LevelFilter::from(level));
    match rust_log.filter(|text| !text.is_empty()).map(|text| text.parse::<Targets>()) {
        None => (usual, None),
        Some(Ok(asked)) => (asked, None),
        Some(Err(error)) => (usual, Some(error.to_string())),
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A panic is a line, too: where, and what it says. With `RUST_BACKTRACE` set, the usual text comes besides.
fn tell_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let words = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let words = words.unwrap_or("no words");
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(event = events::PANIC, at, "a fault in the program: {words}");
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// All that is written at these levels while `work` is done.
    fn written(level: &str, secrets: &[&str], work: impl FnOnce()) -> Vec<serde_json::Value> {
        let out = Written::default();
        let lines = Arc::new(Lines {
            stream: "demo".to_owned(),
            style: Style::Json,
            hold_back: Mutex::new(HoldBack::new(Duration::from_secs(30))),
            secrets: secrets.iter().map(|text| (*text).to_owned()).collect(),
            out: Mutex::new(Box::new(out.clone())),
        });
        let (filter, mistake) = filter(LogLevel::Info, Some(level.to_owned()));
        assert_eq!(mistake, None);
        let subscriber = tracing_subscriber::registry().with(filter).with(ToLines(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, work);
        lines.flush();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_its_event_and_fields_and_the_second_of_its_kind_is_counted() {
        let lines = written("info", &[], || {
            for offset in 40..43_u64 {
                tracing::warn!(
                    event = events::DEAD_LETTER,
                    topic = "t",
                    partition = 3,
                    offset,
                    cause = "not_json",
                    "x"
                );
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!((&lines[0]["event"], &lines[0]["offset"]), (&"dead_letter".into(), &40.into()));
        assert_eq!((&lines[0]["stream"], &lines[0]["level"]), (&"demo".into(), &"WARN".into()));
        assert_eq!((&lines[1]["offset"], &lines[1]["held_back"]), (&42.into(), &1.into()));
    }

    #[test]
    fn secrets_are_hidden_wherever_they_come_from_and_dependencies_show_nothing_below_info() {
        let lines = written("trace", &["hunter22"], || {
            tracing::trace!(event = events::SOURCE_TROUBLE, cause = "user:hunter22", "login with hunter22 failed");
            tracing::debug!(target: "hyper::proto", "authorization: hunter22");
            tracing::error!(target: "lapin::channel", body = "hunter22", "returned");
            tracing::warn!(target: "h2", body = "some body", "went away");
        });
        let text = format!("{lines:?}");
        assert!(!text.contains("hunter22") && !text.contains("some body"), "{text}");
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "login with <redacted> failed");
        assert_eq!((&lines[1]["event"], &lines[1]["from"]), (&"dependency".into(), &"h2".into()));
    }

    #[test]
    fn what_is_heard_by_default_and_what_a_mistake_does() {
        let (usual, _) = filter(LogLevel::Info, None);
        assert!(usual.would_enable("bridge_common::pipeline", &tracing::Level::INFO));
        assert!(!usual.would_enable("bridge_common::pipeline", &tracing::Level::DEBUG));
        assert!(
            !usual.would_enable("hyper", &tracing::Level::INFO) && usual.would_enable("hyper", &tracing::Level::WARN)
        );
        let (kept, mistake) = filter(LogLevel::Info, Some("bridge_common=loud".to_owned()));
        assert!(mistake.is_some() && kept == usual);
    }
}
