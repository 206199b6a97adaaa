//! Shows running bridges as a live table, once a second.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bridge_tests::http::get;
use bridge_tests::watch::{Condition, Figures, Row, clock, table};
use clap::Parser;

/// Reads /metrics and /status of bridges once a second and shows them as a table: redrawn in place on a terminal, as a
/// block of lines every ten seconds elsewhere. Ends after --seconds, at SIGTERM or at Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The bridges, each as STREAM=URL of its HTTP
    #[arg(required = true, value_name = "STREAM=URL", value_parser = named)]
    bridges: Vec<(String, String)>,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Instead of watching, wait until every bridge has nothing left to do, then show
    /// the table once with the figures of the whole run. Exit status 1 when that takes longer than so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "seconds")]
    finish_within: Option<u64>,
}

fn named(text: &str) -> Result<(String, String), String> {
    let (stream, url) = text.split_once('=').ok_or("write STREAM=URL")?;
    Ok((stream.to_owned(), url.trim_end_matches('/').to_owned()))
}

/// Percentile and rate of the live table are those of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(10);
/// How often a block of lines is written where the output is no terminal.
const BLOCK_EVERY: Duration = Duration::from_secs(10);
/// A bridge must be seen without lag so many times in a row: its knowledge of the source's end comes with fetches.
const STILL: u32 = 3;

/// One bridge, as it was seen lately.
struct Watched {
    stream: String,
    url: String,
    seen: VecDeque<(Instant, Figures)>,
    condition: Condition,
}

impl Watched {
    async fn look(&mut self) {
        let metrics = get(&format!("{}/metrics", self.url)).await;
        let status = get(&format!("{}/status", self.url)).await;
        let (Ok((200, metrics)), Ok((200, status))) = (metrics, status) else {
            self.condition = Condition { state: "no answer".to_owned(), ..Condition::default() };
            return;
        };
        let now = Instant::now();
        self.condition = Condition::parse(&serde_json::from_str(&status).unwrap_or_default());
        // One that is just older than the window stays: it is what the window is compared with.
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, Figures::parse(&metrics)));
    }

    /// With `started`, the figures of the whole run; without, those of the window.
    fn row(&self, started: Option<Instant>) -> Row {
        let (now, figures) = self.seen.back().cloned().unwrap_or((Instant::now(), Figures::default()));
        let (since, before) = match (started, self.seen.front()) {
            (Some(started), _) => (started, Figures::default()),
            (None, Some((at, before))) => (*at, before.clone()),
            (None, None) => (now, Figures::default()),
        };
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let received = figures.received - before.received;
        Row {
            bridge: self.stream.clone(),
            condition: self.condition.clone(),
            p99_seconds: figures.end_to_end.since(&before.end_to_end).quantile(0.99),
            per_second: if seconds > 0.0 { received / seconds } else { 0.0 },
            figures,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut bridges: Vec<Watched> = arguments
        .bridges
        .into_iter()
        .map(|(stream, url)| Watched { stream, url, seen: VecDeque::new(), condition: Condition::default() })
        .collect();
    let ended = match arguments.finish_within {
        Some(seconds) => finish(&mut bridges, Duration::from_secs(seconds)).await,
        None => {
            tokio::select! {
                ended = watch(&mut bridges, arguments.seconds.map(Duration::from_secs)) => ended,
                () = told_to_stop() => Ok(()),
            }
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("watch-bridges: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn told_to_stop() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn look(bridges: &mut [Watched]) {
    futures::future::join_all(bridges.iter_mut().map(Watched::look)).await;
}

async fn watch(bridges: &mut [Watched], time: Option<Duration>) -> bridge_tests::Result<()> {
    let started = Instant::now();
    let is_terminal = std::io::stdout().is_terminal();
    let mut drawn_lines = 0;
    let mut next_block = BLOCK_EVERY;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        look(bridges).await;
        let elapsed = started.elapsed();
        let is_over = time.is_some_and(|time| elapsed >= time);
        if is_terminal || elapsed >= next_block || is_over {
            let rows: Vec<Row> = bridges.iter().map(|bridge| bridge.row(None)).collect();
            let text = format!("{}{} (p99 and in/s of the last 10 s)\n", table(&rows), clock(elapsed));
            let mut out = std::io::stdout().lock();
            if is_terminal && drawn_lines > 0 {
                // Up to where the last table began, and clear from there.
                write!(out, "\x1b[{drawn_lines}A\x1b[J")?;
            }
            writeln!(out, "{text}")?;
            drawn_lines = text.lines().count() + 1;
            next_block += BLOCK_EVERY;
        }
        if is_over {
            return Ok(());
        }
    }
}

async fn finish(bridges: &mut [Watched], within: Duration) -> bridge_tests::Result<()> {
    let started = Instant::now();
    let mut still = 0;
    while still < STILL && started.elapsed() < within {
        look(bridges).await;
        still = if bridges.iter().all(|bridge| bridge.condition.is_caught_up) { still + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut rows = Vec::new();
    for bridge in bridges.iter() {
        rows.push(bridge.row(Some(bridge_start(bridge).await)));
    }
    print!("{}", table(&rows));
    if still < STILL {
        return Err(format!("not all records were settled within {} s", within.as_secs()).into());
    }
    Ok(())
}

/// When the bridge was started, from its own account.
async fn bridge_start(bridge: &Watched) -> Instant {
    let now = Instant::now();
    let Ok((_, status)) = get(&format!("{}/status", bridge.url)).await else { return now };
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    let uptime = Duration::from_secs(status["uptime_seconds"].as_u64().unwrap_or_default());
    now.checked_sub(uptime).unwrap_or(now)
}
