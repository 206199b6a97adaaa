//! A source partition's lanes, one for each topic partition: the order of each, and where it begins by now.

use std::collections::BTreeMap;

use super::facts::{Observed, Place, Topic};
use super::order::{Order, Step};

/// The lanes of one source partition.
#[derive(Debug, Default)]
pub(crate) struct Lanes(BTreeMap<Topic, Lane>);

#[derive(Debug)]
struct Lane {
    place: Place,
    order: Order,
    /// The first id that was read: below it nothing is known of what lies before. Of dead letters there is none: they are few,
    /// and the first that is read says little of how far back was read.
    first: Option<u64>,
}

impl Lanes {
    /// A message of a lane was read.
    pub(crate) fn begin(&mut self, observed: &Observed) {
        if observed.place != Place::DeadLetters {
            self.lane(observed).first.get_or_insert(observed.id);
        }
    }

    /// The next message of a lane within the range; gives one that stands out of order, once that is known.
    pub(crate) fn note(&mut self, observed: &Observed) -> Option<Step> {
        self.lane(observed).order.note(observed.id, observed.at)
    }

    fn lane(&mut self, observed: &Observed) -> &mut Lane {
        let lane = Lane { place: observed.place, order: Order::default(), first: None };
        self.0.entry(observed.at.topic).or_insert(lane)
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self) -> Vec<Step> {
        self.0.values_mut().filter_map(|lane| lane.order.finish()).collect()
    }

    /// Whether every lane was read from before an offset on.
    pub(crate) fn cover(&self, offset: u64) -> bool {
        let mut lanes = self.0.values().filter_map(|lane| lane.first).peekable();
        lanes.peek().is_some() && lanes.all(|first| first <= offset)
    }

    /// Whether all lanes to a place begin behind an offset: what retention has removed there cannot be told from what was never
    /// there. Where none leads to the place, or it is not known, all others tell.
    pub(crate) fn begin_behind(&self, offset: u64, place: Option<Place>) -> bool {
        let of_place = self.0.values().filter(|lane| Some(lane.place) == place).filter_map(|lane| lane.first).min();
        let first = of_place.or_else(|| self.0.values().filter_map(|lane| lane.first).min());
        first.is_none_or(|first| offset < first)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{At, Mark};
    use super::*;

    #[test]
    fn what_lies_before_the_first_that_is_there_is_told_by_the_lane_of_its_place() {
        let mut lanes = Lanes::default();
        assert!(lanes.begin_behind(0, None), "nothing is there at all");
        for (topic, place, id) in
            [(0, Place::Topic(0), 50), (0, Place::Topic(0), 60), (1, Place::Topic(1), 90), (2, Place::DeadLetters, 7)]
        {
            let at = At { topic, ledger: 1, entry: 1, index: 0 };
            lanes.begin(&Observed { id, place, digest: [0; 16], at, mark: Mark::Lane });
        }
        let (target, route) = (Some(Place::Topic(0)), Some(Place::Topic(1)));
        assert!(lanes.begin_behind(49, target) && !lanes.begin_behind(50, target));
        assert!(lanes.begin_behind(70, route) && !lanes.begin_behind(70, target));
        for elsewhere in [None, Some(Place::Topic(5)), Some(Place::DeadLetters)] {
            assert!(lanes.begin_behind(49, elsewhere) && !lanes.begin_behind(50, elsewhere));
        }
        assert!(!lanes.cover(60) && lanes.cover(90));
    }
}
