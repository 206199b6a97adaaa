//! Whether the ids of one lane rise, and which of them stand where they should not. Looks one message ahead, so that one that
//! came too early is told from all those that it then seems to have overtaken.

use super::facts::At;

/// A message that stands out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) id: u64,
    pub(crate) at: At,
    /// It came before lower ones, rather than after higher ones.
    pub(crate) is_early: bool,
}

/// The order of one lane.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    /// The highest id, and the highest below it.
    top: Option<(u64, At)>,
    below: Option<u64>,
    /// An id between the two: it came late, or the highest came early.
    held: Option<(u64, At)>,
}

impl Order {
    /// Takes the next id; gives a message that stands out of order, once that is known.
    pub(crate) fn note(&mut self, id: u64, at: At) -> Option<Step> {
        let Some((top, top_at)) = self.top else {
            self.top = Some((id, at));
            return None;
        };
        let late = |id, at| Some(Step { id, at, is_early: false });
        match self.held.take() {
            None if id > top => {
                (self.below, self.top) = (Some(top), Some((id, at)));
                None
            }
            None if self.below.is_none_or(|below| id > below) => {
                self.held = Some((id, at));
                None
            }
            None => late(id, at),
            // The lane goes on above the highest: what is held came late.
            Some((held, held_at)) if id > top => {
                (self.below, self.top) = (Some(top), Some((id, at)));
                late(held, held_at)
            }
            // It goes on between them: the highest came early.
            Some((held, _)) if id > held => {
                (self.below, self.top) = (Some(held), Some((id, at)));
                Some(Step { id: top, at: top_at, is_early: true })
            }
            Some((held, held_at)) => {
                self.held = Some((id, at));
                late(held, held_at)
            }
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self) -> Option<Step> {
        self.held.take().map(|(id, at)| Step { id, at, is_early: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disorder(ids: &[u64]) -> Vec<u64> {
        let mut order = Order::default();
        let at = At { topic: 0, ledger: 0, entry: 0, index: 0 };
        let mut out: Vec<u64> = ids.iter().filter_map(|id| order.note(*id, at)).map(|step| step.id).collect();
        out.extend(order.finish().map(|step| step.id));
        out
    }

    #[test]
    fn the_message_that_stands_out_of_order_is_named_and_no_other() {
        assert_eq!(disorder(&[1, 2, 5, 9]), [0; 0]);
        assert_eq!(disorder(&[1, 3, 2, 4]), [2], "two that are swapped: the later of them");
        assert_eq!(disorder(&[2, 1, 3]), [1], "at the beginning");
        assert_eq!(disorder(&[1, 3, 2]), [2], "at the end");
        assert_eq!(disorder(&[1, 9, 2, 3, 4, 10]), [9], "one that came early");
        assert_eq!(disorder(&[1, 2, 3, 4, 0, 5, 6]), [0], "one that came late");
        assert_eq!(disorder(&[1, 3, 2, 5, 4, 6]), [2, 4]);
        assert_eq!(disorder(&[10, 11, 12, 1, 2, 3, 13]), [1, 2, 3], "several that came late");
    }
}
