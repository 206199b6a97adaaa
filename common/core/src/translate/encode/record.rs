//! Records: members as they come, defaults, derived fields, and what paths lead to.

use std::io::Write;

use super::super::drift::OnUnknownField;
use super::super::error::{Cause, Fault, fault};
use super::super::number::{put_bytes, put_long};
use super::super::plan::{Node, NodeId, Origin, RecordPlan, Tap};
use super::super::scan::{Kind, Quoted, unescape};
use super::{ABSENT, Encoder, UNKNOWN_MAX, resolve};

impl<'a> Encoder<'a> {
    pub(super) fn record(&mut self, id: NodeId, record: &RecordPlan, depth: u32) -> Result<(), Fault> {
        self.expect(Kind::Object, &self.nodes[id])?;
        let base = self.scratch.spans.len();
        let fields = record.fields.len();
        self.scratch.spans.resize(base + fields + record.tapped, ABSENT);
        let mut state = Open { id, start: self.out.len(), base, next: 0, in_order: true };
        let mut more = self.scanner.open(b'}', depth)?;
        while more {
            self.member(record, &mut state, depth + 1)?;
            more = self.scanner.more(b'}')?;
        }
        self.fill(record, &mut state, fields);
        for (number, field) in record.fields.iter().enumerate() {
            if self.scratch.spans[base + number] == ABSENT {
                self.late(record, &state, number, depth + 1).map_err(|fault| fault.inside(&field.name))?;
            }
        }
        if !state.in_order {
            self.reorder(&state, fields);
        }
        self.scratch.spans.truncate(base);
        Ok(())
    }

    /// One member of a record's object.
    #[inline]
    fn member(&mut self, record: &RecordPlan, state: &mut Open, depth: u32) -> Result<(), Fault> {
        let key_start = self.scanner.pos + 1;
        let key = self.scanner.key()?;
        let raw = key.raw;
        let found = if key.escaped {
            self.scratch.text.clear();
            unescape(raw, &mut self.scratch.text)?;
            record.find(&self.scratch.text, state.next)
        } else {
            record.find(raw, state.next)
        };
        let Some(number) = found else {
            return self.unknown(record, state, key, key_start, depth);
        };
        let field = &record.fields[number];
        if number < state.next {
            state.in_order = false;
        } else {
            self.fill(record, state, number);
            state.next = number + 1;
        }
        let start = self.out.len();
        let encoded = match field.origin {
            _ if field.is_derived && self.scanner.peek() == b'n' => {
                self.scanner.word(b"null").and_then(|()| self.derive())
            }
            Origin::Member(Some(tap)) => self.tapped_member(record, state, tap, field.node, depth),
            _ => self.value(field.node, depth),
        };
        encoded.map_err(|fault| fault.inside(&field.name))?;
        self.scratch.spans[state.base + number] = (start, self.out.len());
        Ok(())
    }

    /// Writes the defaults of the fields from `state.next` up to `until`, and what is derived, in the hope that they will
    /// not come any more. A field that has none, or that comes by path, leaves the order to be mended at the end.
    fn fill(&mut self, record: &RecordPlan, state: &mut Open, until: usize) {
        for number in state.next..until {
            let field = &record.fields[number];
            let start = self.out.len();
            match (&field.default, field.origin) {
                (Some(default), Origin::Member(_)) => {
                    self.out.extend_from_slice(default);
                    self.scratch.spans[state.base + number] = (start, self.out.len());
                }
                _ if field.is_derived && self.derive().is_ok() => {
                    self.scratch.spans[state.base + number] = (start, self.out.len());
                }
                // At the very end of a record the rest follows in order, if nothing after it is written already.
                _ if until == record.fields.len() => {
                    state.next = number;
                    return;
                }
                _ => state.in_order = false,
            }
        }
        state.next = until;
    }

    /// Writes a field that did not come, or that comes by path, when the record has been read.
    fn late(&mut self, record: &RecordPlan, state: &Open, number: usize, depth: u32) -> Result<(), Fault> {
        let field = &record.fields[number];
        let start = self.out.len();
        let taps = state.base + record.fields.len();
        match field.origin {
            Origin::Path(tap) if self.scratch.spans[taps + tap] != ABSENT => {
                let resume = self.scanner.pos;
                self.scanner.pos = self.scratch.spans[taps + tap].0;
                self.value(field.node, depth)?;
                self.scanner.pos = resume;
            }
            _ if field.is_derived => self.derive()?,
            origin => match (&field.default, self.null_branch(field.node)) {
                (Some(default), _) => self.out.extend_from_slice(default),
                (None, Some(branch)) if origin != Origin::Member(None) => put_long(self.out, branch as i64),
                _ => {
                    let detail = "the field is absent, and the contract has no default for it";
                    return Err(fault(Cause::MissingField, detail));
                }
            },
        }
        self.scratch.spans[state.base + number] = (start, self.out.len());
        Ok(())
    }

    /// Writes the record's coordinates as a string.
    fn derive(&mut self) -> Result<(), Fault> {
        let Some(coordinates) = self.coordinates else {
            return Err(fault(Cause::MissingField, "the field is absent, and a default has no coordinates"));
        };
        self.scratch.text.clear();
        // Writing to memory does not fail.
        let _ = write!(self.scratch.text, "{coordinates}");
        put_bytes(self.out, &self.scratch.text);
        Ok(())
    }

    /// The branch of a nullable type that is null.
    fn null_branch(&self, node: NodeId) -> Option<usize> {
        let Node::Union(union) = &self.nodes[node] else { return None };
        let (branch, node) = union.candidates(Kind::Null).first()?;
        matches!(self.nodes[*node], Node::Null).then_some(*branch)
    }

    /// Brings the pieces of a record into the contract's order: copies them behind, and moves the copy down.
    fn reorder(&mut self, state: &Open, fields: usize) {
        let copy = self.out.len();
        for span in &self.scratch.spans[state.base..state.base + fields] {
            debug_assert!(
                state.start <= span.0 && span.0 <= span.1 && span.1 <= copy,
                "a field's piece is in the record"
            );
            self.out.extend_from_within(span.0..span.1);
        }
        self.out.drain(state.start..copy);
    }

    /// A member that is a field and has paths into it. JSON text is read once for both; any other type again.
    fn tapped_member(
        &mut self,
        record: &RecordPlan,
        state: &Open,
        tap: usize,
        node: NodeId,
        depth: u32,
    ) -> Result<(), Fault> {
        let start = self.scanner.pos;
        let is_text = matches!(self.nodes[node], Node::JsonText);
        if !is_text {
            self.value(node, depth)?;
            self.scanner.pos = start;
        }
        self.tap(&record.taps[tap], state.base + record.fields.len(), depth)?;
        if is_text {
            put_bytes(self.out, &self.scanner.text[start..self.scanner.pos]);
        }
        Ok(())
    }

    /// Takes a value, noting where the things are that paths lead to. `taps`: the place of the record's tap 0.
    fn tap(&mut self, tap: &Tap, taps: usize, depth: u32) -> Result<(), Fault> {
        self.forget(tap, taps);
        let start = self.scanner.pos;
        if tap.steps.is_empty() || self.scanner.peek() != b'{' {
            self.scanner.skip(depth)?;
        } else {
            let mut more = self.scanner.open(b'}', depth)?;
            while more {
                let key = self.scanner.key()?;
                match tap.steps.iter().find(|step| is_named(&mut self.scratch.text, key, &step.name)) {
                    Some(step) => self.tap(step, taps, depth + 1)?,
                    None => self.scanner.skip(depth + 1).map(drop)?,
                }
                more = self.scanner.more(b'}')?;
            }
        }
        for end in &tap.ends {
            self.scratch.spans[taps + end] = (start, self.scanner.pos);
        }
        Ok(())
    }

    /// A member that is repeated replaces the one before, with all that was found in it.
    fn forget(&mut self, tap: &Tap, taps: usize) {
        tap.ends.iter().for_each(|end| self.scratch.spans[taps + end] = ABSENT);
        tap.steps.iter().for_each(|step| self.forget(step, taps));
    }

    /// A member that is no field: perhaps the start of a path, otherwise drift.
    #[cold]
    fn unknown(
        &mut self,
        record: &RecordPlan,
        state: &Open,
        key: Quoted<'a>,
        key_start: usize,
        depth: u32,
    ) -> Result<(), Fault> {
        if let Some(tap) = record.taps.iter().find(|tap| is_named(&mut self.scratch.text, key, &tap.name)) {
            return self.tap(tap, state.base + record.fields.len(), depth);
        }
        match self.on_unknown_field {
            OnUnknownField::Ignore => {}
            OnUnknownField::DeadLetter => {
                let name = String::from_utf8_lossy(key.raw);
                return Err(fault(Cause::UnknownField, "the contract has no such field").inside(&name));
            }
            OnUnknownField::Count if self.scratch.unknown.len() < UNKNOWN_MAX => {
                self.scratch.unknown.push((state.id, key_start, key_start + key.raw.len()));
            }
            OnUnknownField::Count => self.scratch.unknown_more += 1,
        }
        self.scanner.skip(depth).map(drop)
    }
}

/// A record that is being read.
struct Open {
    id: NodeId,
    /// Where it starts in `out`.
    start: usize,
    /// Its spans' place: one per field, then one per tap.
    base: usize,
    /// One more than the last field written in order.
    next: usize,
    /// Whether what is written since `start` is the fields up to `next`, in order.
    in_order: bool,
}

fn is_named(text: &mut Vec<u8>, key: Quoted<'_>, name: &str) -> bool {
    if key.escaped {
        return resolve(text, key).is_ok_and(|key| key == name.as_bytes());
    }
    key.raw == name.as_bytes()
}
