//! What verbs share towards the person who runs them: tables, questions, progress, times.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use bridge_common::cli::{end_if_unread, out, say};
use bridge_common::config::unix_ms_of_rfc3339;

/// Lines of cells, the columns side by side. The first line is the head.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |line: &Vec<String>| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// What others have written, as it may stand on a line of a terminal: neither a line of its own, nor an order to the terminal.
/// Control characters, and those that turn the direction of what is read, are shown as Rust writes them.
pub(crate) fn one_line(text: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { line.push(c) } else { line.extend(c.escape_default()) }
    }
    line
}

/// Asks on the terminal, unless `yes` was given.
///
/// # Errors
/// When it was not confirmed, or nobody is there to be asked.
pub(crate) fn confirm(what: &str, yes: bool) -> Result<(), String> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err("nothing was changed: confirm with --yes (there is no terminal to ask on)".to_owned());
    }
    eprint!("{what} Type yes to go on: ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err("not confirmed: nothing was changed".to_owned()),
    }
}

/// A time as an operator writes it: RFC 3339, or how long ago (`90s`, `15m`, `2h`, `7d`). In milliseconds since the epoch.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    if let Some(time_ms) = unix_ms_of_rfc3339(text) {
        return Ok(time_ms);
    }
    let ago =
        parse_duration(text).map_err(|_| "write a time (2026-01-31T12:00:00Z), or how long ago (90s, 15m, 2h, 7d)")?;
    Ok(now_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

/// A length of time as an operator writes it: `90s`, `15m`, `2h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and its unit: 90s, 15m, 2h, 7d".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// Waits until somebody wants this to end: Ctrl-C, or the signal that ends services.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// One line on standard error that shows how far long work is. Nothing is shown where no terminal is there.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    began: Instant,
    shown: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// How often the line is drawn again.
    const PAUSE: Duration = Duration::from_millis(200);

    /// Of work that begins now.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, began: Instant::now(), shown: None, is_shown: std::io::stderr().is_terminal() }
    }

    /// So many are done, of so many where that is known.
    pub(crate) fn at(&mut self, done: u64, of: Option<u64>) {
        if !self.is_shown || self.shown.is_some_and(|shown| shown.elapsed() < Self::PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        eprint!("\r\x1b[K{}", line(self.what, done, of, self.began.elapsed()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(what: &str, done: u64, of: Option<u64>, after: Duration) -> String {
    const CELLS: u64 = 24;
    let rate = done as f64 / after.as_secs_f64().max(0.001);
    match of.filter(|of| *of > 0) {
        Some(of) => {
            let filled = done.min(of) * CELLS / of;
            let bar: String = (0..CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect();
            format!("{what} [{bar}] {done} of {of}, {rate:.0}/s")
        }
        None => format!("{what} {done}, {rate:.0}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_lengths_are_read_as_operators_write_them() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "5", "5x", "-5s", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        let ago = now_ms() - parse_time("15m").unwrap();
        assert!((900_000..901_000).contains(&ago), "{ago}");
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn a_table_has_columns_and_no_blanks_at_the_end() {
        let lines = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&lines), "A     B\nlong\n");
    }

    #[test]
    fn what_others_have_written_stays_on_its_line_and_commands_no_terminal() {
        assert_eq!(one_line("a \"b\" \\ é"), "a \"b\" \\ é");
        assert_eq!(one_line("a\n\tb\r\u{1b}[2J\u{9b}\u{202e}"), "a\\n\\tb\\r\\u{1b}[2J\\u{9b}\\u{202e}");
    }

    #[test]
    fn progress_is_a_bar_where_the_whole_is_known() {
        let after = Duration::from_secs(2);
        assert_eq!(line("x", 50, Some(100), after), "x [############............] 50 of 100, 25/s");
        assert_eq!(line("x", 50, None, after), "x 50, 25/s");
    }
}
