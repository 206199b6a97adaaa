//! `list`, `show` and `export`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use bridge_common::config::rfc3339;
use bridge_common::headers;
use bridge_common::pulsar::{Message, ReaderStart};
use serde_json::{Value, json};

use super::Desk;
use super::letter::{Filter, Letter, Settled};
use super::read::{Notes, Pass, messages, notes};
use crate::terminal::{self, Progress};

/// `list`: the newest, as many as are wanted.
pub(super) async fn list(desk: &Desk, filter: &Filter, limit: usize, all: bool, as_json: bool) -> Result<(), String> {
    let notes = notes(&desk.client, &desk.topic, |_| ()).await?;
    let (mut shown, mut matched, mut hidden) = (VecDeque::new(), 0u64, 0u64);
    each(desk, filter, &notes, &mut |letter, settled, _| {
        if settled.is_some_and(|settled| settled.state.is_final()) && !all {
            hidden += 1;
            return Ok(());
        }
        matched += 1;
        keep(&mut shown, limit, (letter.clone(), settled.cloned()));
        Ok(())
    })
    .await?;
    if as_json {
        let letters: Vec<Value> = shown.iter().map(|(letter, settled)| letter.to_json(settled.as_ref())).collect();
        let stream = &desk.config.stream.name;
        let document = json!({ "version": 1, "stream": stream, "topic": desk.topic, "matched": matched, "settled_hidden": hidden, "letters": letters });
        terminal::out(&format!("{document:#}\n"));
        return Ok(());
    }
    terminal::out(&table(shown.make_contiguous(), all));
    let more = matched - shown.len() as u64;
    let more = if more > 0 { format!(" {more} older ones are not shown: raise --limit.") } else { String::new() };
    let settled = if hidden > 0 { format!(" {hidden} were redriven: --all shows them.") } else { String::new() };
    terminal::out(&format!("{matched} dead letters.{more}{settled}\n"));
    Ok(())
}

fn keep<T>(shown: &mut VecDeque<T>, limit: usize, one: T) {
    if shown.len() >= limit {
        shown.pop_front();
    }
    if limit > 0 {
        shown.push_back(one);
    }
}

/// The table of `list`.
pub(super) fn table(letters: &[(Letter, Option<Settled>)], with_state: bool) -> String {
    let mut head = vec!["POSITION", "DEAD SINCE", "CAUSE", "FIELD", "BYTES"];
    head.extend(with_state.then_some("STATE"));
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for (letter, settled) in letters {
        let mut line = vec![
            letter.position(),
            rfc3339(letter.written_ms),
            letter.cause.clone(),
            letter.field.clone().unwrap_or_else(|| "-".to_owned()),
            letter.size_bytes.to_string(),
        ];
        if with_state {
            line.push(settled.as_ref().map_or("-", |settled| settled.state.name()).to_owned());
        }
        lines.push(line);
    }
    terminal::table(&lines)
}

/// `show`: all there is about each.
pub(super) async fn show(desk: &Desk, filter: &Filter, limit: usize, body: bool, as_json: bool) -> Result<(), String> {
    let notes = notes(&desk.client, &desk.topic, |_| ()).await?;
    let mut shown = VecDeque::new();
    let mut matched = 0u64;
    each(desk, filter, &notes, &mut |letter, settled, message| {
        matched += 1;
        keep(&mut shown, limit, whole(letter, settled, message, body));
        Ok(())
    })
    .await?;
    if matched == 0 {
        return Err(format!("no dead letter in {} fits", desk.topic));
    }
    if as_json {
        let document = json!({ "version": 1, "topic": desk.topic, "matched": matched, "letters": shown });
        terminal::out(&format!("{document:#}\n"));
        return Ok(());
    }
    for letter in &shown {
        terminal::out(&format!("{}\n", text(letter)));
    }
    let more = matched - shown.len() as u64;
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
    let notes = notes(&desk.client, &desk.topic, |_| ()).await?;
    let mut sink: Box<dyn Write> = match out {
        Some(file) => {
            let created = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Box::new(BufWriter::new(created))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let failed = |error| format!("cannot be written: {}", terminal::end_if_unread(error));
    let mut count = 0u64;
    each(desk, filter, &notes, &mut |letter, settled, message| {
        if settled.is_some_and(|settled| settled.state.is_final()) && !all {
            return Ok(());
        }
        count += 1;
        writeln!(sink, "{}", whole(letter, settled, message, body)).map_err(failed)
    })
    .await?;
    sink.flush().map_err(failed)?;
    if let Some(file) = out {
        terminal::out(&format!("{count} dead letters in {}\n", file.display()));
    }
    Ok(())
}

/// What is done with a dead letter: itself, what became of it, and its message.
type Each<'e> = dyn FnMut(&Letter, Option<&Settled>, &Message<'_>) -> Result<(), String> + 'e;

/// Every dead letter that fits, with what became of it, in the topic's order.
async fn each(desk: &Desk, filter: &Filter, notes: &Notes, each: &mut Each<'_>) -> Result<(), String> {
    let mut progress = Progress::new("reading the dead letters:");
    let mut count = 0;
    let mut pass = Pass::begin(&desk.client, &desk.topic, ReaderStart::Earliest).await?;
    while let Some(entry) = pass.next().await? {
        let mut done = Ok(());
        messages(&entry, |message| {
            count += 1;
            if let Some(letter) = Letter::of(&entry, message).filter(|letter| done.is_ok() && filter.fits(letter)) {
                done = each(&letter, notes.get(&letter.key()), message);
            }
        })?;
        done?;
        progress.at(count, None);
    }
    Ok(())
}

/// A dead letter with its headers, and with key and body where they are wanted.
fn whole(letter: &Letter, settled: Option<&Settled>, message: &Message<'_>, body: bool) -> Value {
    let mut json = letter.to_json(settled);
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

/// The block of `show`.
fn text(letter: &Value) -> String {
    let mut text = format!("{}\n", letter["position"].as_str().unwrap_or_default());
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
            Value::String(shown) => shown.clone(),
            Value::Array(items) if items.is_empty() => continue,
            other => other.to_string(),
        };
        text += &format!("  {field:<11} {shown}\n");
    }
    for header in letter["headers"].as_array().into_iter().flatten() {
        text += &format!(
            "  header      {}: {}\n",
            header[0].as_str().unwrap_or_default(),
            header[1].as_str().unwrap_or("(null)")
        );
    }
    if let Some(body) = letter["body"].as_str() {
        text += &format!("  body        {}\n", body.replace('\n', "\n              "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::letter::State;
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn the_table_shows_where_when_and_why() {
        let redriven = Settled { state: State::Redriven, topic: "t".into(), last_sequence_id: 2 };
        let letters = [(letter(3, 41), None), (letter(3, 42), Some(redriven))];
        assert_eq!(
            table(&letters, true),
            "POSITION   DEAD SINCE                CAUSE       FIELD      BYTES  STATE\n\
             jobs/3/41  2023-11-14T22:13:21.000Z  wrong_type  payload.n  12     -\n\
             jobs/3/42  2023-11-14T22:13:21.000Z  wrong_type  payload.n  12     redriven\n"
        );
        assert!(!table(&letters, false).contains("redriven"));
    }

    #[test]
    fn the_newest_are_kept() {
        let mut shown = VecDeque::new();
        (0..5).for_each(|n| keep(&mut shown, 2, n));
        assert_eq!(shown, [3, 4]);
        keep(&mut shown, 0, 9);
        assert_eq!(shown, [4]);
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
}
