//! Bars of speed and price, as an SVG that needs nothing else.

use std::fmt::Write as _;

use bridge_tests::Result;

use crate::contenders::Contender;
use crate::figures::{Figure, medians};
use crate::results::Results;

const BAR: f64 = 16.0;
const GAP: f64 = 26.0;
const NAMES: f64 = 250.0;
const BARS: f64 = 300.0;

/// Draws each scenario that has a rate: messages per second, and beside them CPU seconds per million.
pub(crate) fn draw(all: &[Results]) -> Result<String> {
    let mut body = String::new();
    let mut y = 30.0;
    for results in all {
        let rows: Vec<_> = results.entries.iter().map(|entry| (entry, medians(&entry.rounds))).collect();
        let most = |figure| rows.iter().filter_map(|(_, row)| row.get(&figure)).fold(0.0, |a: f64, b| a.max(*b));
        let (rate, cpu) = (most(Figure::Rate), most(Figure::CpuPerMillion));
        if rate == 0.0 {
            continue;
        }
        writeln!(body, r#"<text x="10" y="{y}" class="title">{}</text>"#, escaped(&results.title))?;
        y += 8.0;
        for (entry, row) in &rows {
            let color = color(entry.contender);
            let name = [entry.contender.title(), &entry.label].join(" ");
            writeln!(body, r#"<text x="10" y="{}">{}</text>"#, y + BAR - 4.0, escaped(name.trim()))?;
            for (figure, largest, x) in
                [(Figure::Rate, rate, NAMES), (Figure::CpuPerMillion, cpu, NAMES + BARS + 110.0)]
            {
                let Some(value) = row.get(&figure) else { continue };
                let width = (value / largest * BARS).max(1.0);
                let height = BAR - 3.0;
                writeln!(body, r#"<rect x="{x}" y="{y}" width="{width:.1}" height="{height}" fill="{color}"/>"#)?;
                let (at, base) = (x + width + 4.0, y + BAR - 4.0);
                writeln!(body, r#"<text x="{at:.1}" y="{base}">{} {}</text>"#, figure.show(*value), figure.title())?;
            }
            y += BAR;
        }
        y += GAP;
    }
    let width = NAMES + 2.0 * BARS + 230.0;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.title {{ font-weight: bold; font-size: 14px }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    ))
}

fn color(contender: Contender) -> &'static str {
    match contender {
        Contender::Bridge => "#1b7f5c",
        Contender::PlainLoop => "#c98a1b",
        Contender::PulsarIo | Contender::PulsarIoOnce => "#b0413e",
        Contender::ReadOnly | Contender::PerfTest | Contender::WriteOnly => "#9aa5b1",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
