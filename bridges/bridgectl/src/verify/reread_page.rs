//! What `verify --reread` has found, as one HTML page that needs nothing else.

use super::reread::Row;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1b2733;background:#fff}\
h1{font-size:1.5em;margin:0}.muted{color:#5b6b7a}.wide{overflow-x:auto}\
.verdict{display:inline-block;padding:.3em .8em;border-radius:.3em;color:#fff;font-weight:600;margin:.8em 0}\
.good{background:#1a7f4b}.bad{background:#b3261e}table{border-collapse:collapse}\
th,td{padding:.25em .7em;text-align:left;border-bottom:1px solid #dde3e9;white-space:nowrap}td.wrong{color:#b3261e;font-weight:600}\
@media(prefers-color-scheme:dark){body{background:#141a20;color:#e3e8ed}th,td{border-color:#33404c}.muted{color:#9aa8b5}td.wrong{color:#ff8a80}}";

/// The page: a line for each reading of each topic partition.
pub(super) fn html(stream: &str, range: &str, at: &str, rows: &[Row], is_same: bool) -> String {
    let (class, verdict) = if is_same { ("good", "THE SAME SEQUENCE") } else { ("bad", "ANOTHER SEQUENCE") };
    let (stream, range) = (escaped(stream), escaped(range));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{stream} read again: {verdict}</title><style>{STYLE}</style><h1>{stream}, read again</h1>\
         <p class=\"muted\">{at}; {range}; twice from the same time, once from the first message</p>\
         <div class=\"verdict {class}\">{verdict}</div><div class=\"wide\"><table><tr><th>topic partition</th><th>reading</th>\
         <th>messages</th><th>first</th><th>last</th><th>chain of digests</th></tr>"
    );
    for row in rows {
        let class = if row.is_same() { "" } else { " class=\"wrong\"" };
        for (reading, number) in row.readings().zip(1..) {
            let [messages, first, last, chain] = reading;
            page += &format!(
                "<tr><td>{}</td><td>{number}</td><td>{messages}</td><td>{first}</td><td>{last}</td><td{class}>{chain}</td></tr>",
                escaped(row.topic())
            );
        }
    }
    page + "</table></div></html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
