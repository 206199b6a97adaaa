//! Reading a dead-letter topic, from its beginning to the end that it has now.

use bridge_common::pulsar::{Client, Message, ReaderStart};

use super::known::Known;
use super::letter::{Filter, Letter, Settled};
use crate::terminal::Progress;
use crate::topic::{Pass, messages};

/// What is done with a dead letter that is meant: itself, and its message.
pub(super) type Each<'e> = dyn FnMut(&Letter, &Message<'_>) -> Result<(), String> + Send + 'e;

/// Reads all of it once: what is known then, and `each` of the dead letters that are meant, in the topic's order. The notes
/// about one stand behind it, so that only the end tells which are settled.
pub(super) async fn learn(
    client: &Client,
    topic: &str,
    filter: &Filter,
    each: &mut (dyn FnMut(&Known, &Letter, &Message<'_>) + Send),
) -> Result<Known, String> {
    let mut known = Known::default();
    read(client, topic, &mut |letter, note, message| {
        if let Some((key, settled)) = note {
            return known.note(filter, &key, settled);
        }
        let Some(letter) = letter else { return Ok(()) };
        if known.letter(filter, &letter)? {
            each(&known, &letter, message);
        }
        Ok(())
    })
    .await?;
    Ok(known)
}

/// Reads it again: each of the dead letters that are meant.
pub(super) async fn each(client: &Client, topic: &str, filter: &Filter, each: &mut Each<'_>) -> Result<(), String> {
    read(client, topic, &mut |letter, _, message| match letter.filter(|letter| filter.fits(letter)) {
        Some(letter) => each(&letter, message),
        None => Ok(()),
    })
    .await
}

type Read<'r> =
    dyn FnMut(Option<Letter>, Option<(super::letter::Key, Settled)>, &Message<'_>) -> Result<(), String> + Send + 'r;

async fn read(client: &Client, topic: &str, one: &mut Read<'_>) -> Result<(), String> {
    let mut progress = Progress::new("reading the dead letters:");
    let mut count = 0;
    let mut pass = Pass::begin(client, topic, ReaderStart::Earliest).await?;
    while let Some(entry) = pass.next().await? {
        let mut done = Ok(());
        messages(&entry, |message| {
            count += 1;
            if done.is_ok() {
                let note = Settled::of(&entry, message);
                let letter = if note.is_none() { Letter::of(&entry, message) } else { None };
                done = one(letter, note, message);
            }
        })?;
        done?;
        progress.at(count, None);
    }
    Ok(())
}
