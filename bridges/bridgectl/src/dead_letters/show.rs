//! `list`, `show` and `export`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use bridge_common::config::rfc3339;
use bridge_common::headers;
use bridge_common::pulsar::Message;
use serde_json::{Value, json};

use super::Desk;
use super::letter::{Filter, Key, Letter, State};
use super::newest::Newest;
use super::read::{each, learn};
use crate::terminal::{self, one_line};

/// How many of the newest `list` shows where nothing is said.
pub(super) const LISTED: usize = 100;

/// `list`: the newest, as many as are wanted, and how many there are besides.
pub(super) async fn list(desk: &Desk, filter: &Filter, limit: usize, all: bool, as_json: bool) -> Result<(), String> {
    let mut newest = Newest::new(limit, all);
    let known = learn(&desk.client, &desk.topic, filter, &mut |known, letter, _| {
        newest.push(known, letter.key(), 0, letter.clone());
    })
    .await?;
    let (open, settled_count) = known.counts();
    let (matched, hidden) = if all { (open + settled_count, 0) } else { (open, settled_count) };
    let mut shown: Vec<(Letter, Option<State>)> =
        newest.done(&known).into_iter().map(|(key, letter)| (letter, known.state(&key))).collect();
    if (shown.len() as u64) < matched.min(limit as u64) {
        // So many of the newest were redriven that older ones are to be shown: only now they are known.
        let mut again = Newest::new(limit, all);
        each(&desk.client, &desk.topic, filter, &mut |letter, _| {
            if all || known.is_open(&letter.key()) {
                again.push(&known, letter.key(), 0, letter.clone());
            }
            Ok(())
        })
        .await?;
        shown = again.done(&known).into_iter().map(|(key, letter)| (letter, known.state(&key))).collect();
    }
    if as_json {
        let letters: Vec<Value> = shown.iter().map(|(letter, state)| letter.to_json(*state)).collect();
        let stream = &desk.config.stream.name;
        let document = json!({ "version": 1, "stream": stream, "topic": desk.topic, "matched": matched, "settled_hidden": hidden, "letters": letters });
        terminal::out(&format!("{document:#}\n"));
        return Ok(());
    }
    terminal::out(&table(&shown, all));
    let more = matched.saturating_sub(shown.len() as u64);
    let more = if more > 0 {
        format!(" {more} older ones are not shown: raise --limit, or `export` them.")
    } else {
        String::new()
    };
    let settled = if hidden > 0 { format!(" {hidden} were redriven: --all shows them.") } else { String::new() };
    let end = match filter.words().filter(|_| open + settled_count == 0) {
        Some(words) => format!(": nothing fits ({words})."),
        None => ".".to_owned(),
    };
    terminal::out(&format!("{matched} dead letters{end}{more}{settled}\n"));
    Ok(())
}

/// The table of `list`.
pub(super) fn table(letters: &[(Letter, Option<State>)], with_state: bool) -> String {
    let mut head = vec!["POSITION", "DEAD SINCE", "CAUSE", "FIELD", "BYTES"];
    head.extend(with_state.then_some("STATE"));
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for (letter, state) in letters {
        let mut line = vec![
            one_line(&letter.position()),
            rfc3339(letter.written_ms),
            one_line(&letter.cause),
            letter.field.as_deref().map_or_else(|| "-".to_owned(), one_line),
            letter.size_bytes.to_string(),
        ];
        if with_state {
            line.push(state.map_or("-", State::name).to_owned());
        }
        lines.push(line);
    }
    terminal::table(&lines)
}

/// `show`: all there is about each.
pub(super) async fn show(desk: &Desk, filter: &Filter, limit: usize, body: bool, as_json: bool) -> Result<(), String> {
    let mut newest = Newest::new(limit, true);
    let known = learn(&desk.client, &desk.topic, filter, &mut |known, letter, message| {
        let bytes = if body { message.value.len() * 2 } else { 0 };
        newest.push(known, letter.key(), bytes, whole(letter, message, body));
    })
    .await?;
    let (open, settled) = known.counts();
    let matched = open + settled;
    if matched == 0 {
        return Err(format!("no dead letter in {} fits", desk.topic));
    }
    let with_state = |(key, mut letter): (Key, Value)| {
        letter["settled"] = known.state(&key).map(State::name).into();
        letter
    };
    let shown: Vec<Value> = newest.done(&known).into_iter().map(with_state).collect();
    if as_json {
        let document = json!({ "version": 1, "topic": desk.topic, "matched": matched, "letters": shown });
        terminal::out(&format!("{document:#}\n"));
        return Ok(());
    }
    for letter in &shown {
        terminal::out(&format!("{}\n", text(letter)));
    }
    let more = matched.saturating_sub(shown.len() as u64);
    if more > 0 {
        terminal::out(&format!("{more} older ones are not shown: raise --limit.\n"));
    }
    Ok(())
}

/// `export`: one JSON document a line.
pub(super) async fn export(
    desk: &Desk,
    filter: &Filter,
    all: bool,
    body: bool,
    out: Option<&Path>,
) -> Result<(), String> {
    let known = learn(&desk.client, &desk.topic, filter, &mut |_, _, _| ()).await?;
    let mut sink: Box<dyn Write + Send> = match out {
        Some(file) => {
            let created = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Box::new(BufWriter::new(created))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let failed = |error| format!("cannot be written: {}", terminal::end_if_unread(error));
    let mut count = 0u64;
    each(&desk.client, &desk.topic, filter, &mut |letter, message| {
        let state = known.state(&letter.key());
        if state.is_some_and(State::is_final) && !all {
            return Ok(());
        }
        count += 1;
        let mut line = whole(letter, message, body);
        line["settled"] = state.map(State::name).into();
        writeln!(sink, "{line}").map_err(failed)
    })
    .await?;
    sink.flush().map_err(failed)?;
    if let Some(words) = filter.words().filter(|_| count == 0) {
        eprintln!("bridgectl: nothing fits ({words}): there is nothing to export");
    }
    if let Some(file) = out {
        terminal::out(&format!("{count} dead letters in {}\n", file.display()));
    }
    Ok(())
}

/// A dead letter with its headers, and with key and body where they are wanted.
fn whole(letter: &Letter, message: &Message<'_>, body: bool) -> Value {
    let mut json = letter.to_json(None);
    let headers = headers::headers(message.properties()).unwrap_or_default();
    json["headers"] =
        headers.iter().map(|(name, value)| json!([name, value.as_deref().map(readable)])).collect::<Vec<_>>().into();
    if body {
        json["key"] = message.key.as_deref().map(readable).into();
        json["body"] = readable(message.value).into();
        json["body_base64"] = match std::str::from_utf8(message.value) {
            Ok(_) => Value::Null,
            Err(_) => base64::engine::general_purpose::STANDARD.encode(message.value).into(),
        };
    }
    json
}

/// Bytes as a person can read them: text as it is, control characters and what is no text as `\xNN`.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => text.push(character),
                c if c.is_control() => c.to_string().bytes().for_each(|byte| text += &format!("\\x{byte:02x}")),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}

/// The block of `show`. Only the body has lines of its own, and those are indented: whoever wrote the record writes none of ours.
fn text(letter: &Value) -> String {
    let mut text = format!("{}\n", one_line(letter["position"].as_str().unwrap_or_default()));
    let fields = [
        "cause",
        "field",
        "detail",
        "timestamp",
        "dead_since",
        "size_bytes",
        "omitted",
        "contract",
        "message_id",
        "settled",
        "key",
    ];
    for field in fields {
        let shown = match &letter[field] {
            Value::Null => continue,
            Value::String(shown) => one_line(shown),
            Value::Array(items) if items.is_empty() => continue,
            other => one_line(&other.to_string()),
        };
        text += &format!("  {field:<11} {shown}\n");
    }
    for header in letter["headers"].as_array().into_iter().flatten() {
        text += &format!(
            "  header      {}: {}\n",
            one_line(header[0].as_str().unwrap_or_default()),
            one_line(header[1].as_str().unwrap_or("(null)"))
        );
    }
    if let Some(body) = letter["body"].as_str() {
        text += &format!("  body        {}\n", body.replace('\n', "\n              "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn the_table_shows_where_when_and_why() {
        let letters = [(letter(3, 41), None), (letter(3, 42), Some(State::Redriven))];
        assert_eq!(
            table(&letters, true),
            "POSITION   DEAD SINCE                CAUSE       FIELD      BYTES  STATE\n\
             jobs/3/41  2023-11-14T22:13:21.000Z  wrong_type  payload.n  12     -\n\
             jobs/3/42  2023-11-14T22:13:21.000Z  wrong_type  payload.n  12     redriven\n"
        );
        assert!(!table(&letters, false).contains("redriven"));
    }

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        assert_eq!(readable("{\"a\": \"é\"}\n".as_bytes()), "{\"a\": \"é\"}\n");
        assert_eq!(readable(&[b'a', 0, 0xff, 0x1b, b'[']), "a\\x00\\xff\\x1b[");
    }

    #[test]
    fn a_block_has_no_key_and_no_body_unless_they_were_asked_for() {
        let mut json = letter(3, 41).to_json(None);
        json["headers"] = json!([["trace", "t1"], ["none", null]]);
        let shown = text(&json);
        assert!(
            shown.contains("  cause       wrong_type\n") && shown.contains("  header      none: (null)\n"),
            "{shown}"
        );
        assert!(!shown.contains("body") && !shown.contains("key"), "{shown}");
        json["body"] = "line\nline".into();
        assert!(text(&json).contains("  body        line\n              line\n"));
    }

    #[test]
    fn whoever_writes_a_record_writes_no_line_of_ours() {
        let mut one = letter(3, 41);
        one.field = Some("a\n\u{1b}[2Jb".into());
        let mut json = one.to_json(None);
        json["headers"] = json!([["x\n  cause       forged\u{1b}[1A", "v\n  cause       forged\ttoo"]]);
        json["key"] = "k\nk".into();
        let shown = text(&json);
        assert!(!shown.contains("\n  cause       forged") && !shown.contains(['\u{1b}', '\t']), "{shown}");
        assert!(shown.contains("x\\n  cause       forged\\u{1b}[1A: v\\n  cause       forged\\ttoo\n"), "{shown}");
        assert!(shown.contains("  key         k\\nk\n"), "{shown}");
        assert_eq!(table(&[(one, None)], false).lines().count(), 2);
    }
}
