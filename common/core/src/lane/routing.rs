//! Which lane a record goes to. The routing is written into every checkpoint, because what was sent can only be found
//! again where it was sent; it changes only at a barrier.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::checkpoint::LaneId;
use super::key_hash::KeyHash;

/// What decides the target partition of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "partition_by", rename_all = "snake_case")]
pub enum PartitionBy {
    /// The source partition, modulo the target's partitions: the order of the whole source partition is kept.
    Source,
    /// The record's key, as Pulsar's own producers do it: the order of each key is kept. A record without a key goes by the
    /// source partition.
    Key {
        /// How the key becomes a number.
        key_hash: KeyHash,
    },
}

/// A part of a stream that goes to a topic of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The path of the field that is looked at.
    pub field: String,
    /// A record whose field has one of these texts goes here.
    pub equals: Vec<String>,
    /// The topic, without a partition.
    pub topic: String,
    /// Its partitions; 0 for a topic that is not partitioned.
    pub partitions: u32,
}

/// How the records of a stream are spread over the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// What decides.
    #[serde(flatten)]
    pub partition_by: PartitionBy,
    /// The target topic, without a partition.
    pub topic: String,
    /// Its partitions; 0 for a topic that is not partitioned.
    pub partitions: u32,
    /// The topic for dead letters, not partitioned.
    pub dead_letters: String,
    /// The routes, the first that fits first. What fits none goes to the target topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

impl Routing {
    /// The topics (with partition) of the lanes of one source partition: the target's, those of the routes, the dead
    /// letters' last. By key, every partition of a topic is one.
    /// Invariant: no topic is in it twice. A producer's name has one sequence per topic, so routes that lead to the same
    /// topic, or to the target itself, share a lane.
    pub fn lanes(&self, source_partition: u32) -> Vec<String> {
        let mut lanes = Vec::new();
        for (topic, partitions) in self.topics() {
            match (partitions, self.partition_by) {
                (0, _) => lanes.push(topic.to_owned()),
                (_, PartitionBy::Source) => lanes.push(format!("{topic}-partition-{}", source_partition % partitions)),
                (_, PartitionBy::Key { .. }) => {
                    lanes.extend((0..partitions).map(|partition| format!("{topic}-partition-{partition}")));
                }
            }
        }
        lanes
    }

    /// The distinct topics with their numbers of partitions. Of a topic that is named twice the first number counts.
    fn topics(&self) -> Vec<(&str, u32)> {
        let routes = self.routes.iter().map(|route| (route.topic.as_str(), route.partitions));
        let all = [(self.topic.as_str(), self.partitions)].into_iter().chain(routes);
        let mut topics: Vec<(&str, u32)> = Vec::with_capacity(self.routes.len() + 2);
        for (topic, partitions) in all.chain([(self.dead_letters.as_str(), 0)]) {
            if topics.iter().all(|(other, _)| *other != topic) {
                topics.push((topic, partitions));
            }
        }
        topics
    }

    /// The first lane of a topic, and how many partitions the topic has.
    fn first_lane(&self, topic: &str) -> (usize, u32) {
        if topic == self.topic {
            return (0, self.partitions);
        }
        let mut first = 0;
        for (other, partitions) in self.topics() {
            if other == topic {
                return (first, partitions);
            }
            first += match self.partition_by {
                PartitionBy::Source => 1,
                PartitionBy::Key { .. } => partitions.max(1) as usize,
            };
        }
        unreachable!("every topic of a routing has a lane")
    }

    /// The first route that a record takes, by the texts that `value` finds in its fields; `None`: to the target topic.
    pub fn route<'a>(&self, mut value: impl FnMut(&str) -> Option<Cow<'a, str>>) -> Option<usize> {
        self.routes.iter().position(|route| {
            let found = value(&route.field);
            found.is_some_and(|found| route.equals.iter().any(|text| *text == found))
        })
    }

    /// The lane of a record of this source partition that was translated, has this key, and takes this route (`None`: to the
    /// target topic).
    pub fn lane(&self, route: Option<usize>, source_partition: u32, key: Option<&[u8]>) -> LaneId {
        let topic = route.and_then(|route| self.routes.get(route)).map_or(&self.topic, |route| &route.topic);
        let (first, partitions) = self.first_lane(topic);
        let partition = match (self.partition_by, key) {
            // A topic has one lane.
            (PartitionBy::Source, _) => 0,
            _ if partitions == 0 => 0,
            (PartitionBy::Key { .. }, None) => source_partition % partitions,
            (PartitionBy::Key { key_hash }, Some(key)) => key_hash.of(key) % partitions,
        };
        LaneId(first + partition as usize)
    }

    /// The lane of a dead letter.
    pub fn dead_letter_lane(&self) -> LaneId {
        LaneId(self.first_lane(&self.dead_letters).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(routes: Vec<Route>) -> Routing {
        Routing {
            partition_by: PartitionBy::Source,
            topic: "persistent://public/default/t".into(),
            partitions: 3,
            dead_letters: "persistent://public/default/t-dead-letters".into(),
            routes,
        }
    }

    fn route(text: &str, topic: &str, partitions: u32) -> Route {
        let topic = format!("persistent://public/default/{topic}");
        Route { field: "event_type".into(), equals: vec![text.into(), format!("{text}.too")], topic, partitions }
    }

    #[test]
    fn a_source_partition_has_one_target_partition_and_the_dead_letters() {
        let mut routing = routing(Vec::new());
        assert_eq!(
            routing.lanes(7),
            ["persistent://public/default/t-partition-1", "persistent://public/default/t-dead-letters"]
        );
        assert_eq!((routing.lane(None, 7, Some(b"k")), routing.dead_letter_lane()), (LaneId(0), LaneId(1)));
        routing.partitions = 0;
        assert_eq!(routing.lanes(7)[0], "persistent://public/default/t");
        assert_eq!(routing.lanes(7).len(), 2);
    }

    #[test]
    fn each_route_has_a_lane_and_topics_that_are_named_twice_share_one() {
        let routes = vec![route("a", "alerts", 2), route("b", "t", 9), route("c", "alerts", 5), route("d", "more", 0)];
        let routing = routing(routes);
        let topics = ["t-partition-1", "alerts-partition-1", "more", "t-dead-letters"];
        assert_eq!(routing.lanes(7), topics.map(|topic| format!("persistent://public/default/{topic}")));
        let lanes = [None, Some(0), Some(1), Some(2), Some(3)].map(|route| routing.lane(route, 7, None).0);
        assert_eq!(lanes, [0, 1, 0, 1, 2]);
        assert_eq!(routing.dead_letter_lane(), LaneId(3));
    }

    #[test]
    fn by_key_every_partition_is_a_lane_and_the_key_chooses() {
        let routes = vec![route("a", "alerts", 2), route("b", "t", 9), route("c", "more", 0)];
        let mut routing = routing(routes);
        routing.partition_by = PartitionBy::Key { key_hash: KeyHash::JavaString };
        let topics = ["t-partition-0", "t-partition-1", "t-partition-2", "alerts-partition-0", "alerts-partition-1"];
        let topics: Vec<&str> = topics.into_iter().chain(["more", "t-dead-letters"]).collect();
        assert_eq!(
            routing.lanes(7),
            topics.iter().map(|topic| format!("persistent://public/default/{topic}")).collect::<Vec<_>>()
        );
        // 97 and 98.
        let lane = |route, key: Option<&[u8]>| routing.lane(route, 7, key).0;
        assert_eq!([lane(None, Some(b"a")), lane(None, Some(b"b")), lane(None, Some(b""))], [1, 2, 0]);
        assert_eq!([lane(Some(0), Some(b"a")), lane(Some(0), Some(b"b"))], [4, 3]);
        assert_eq!(lane(Some(1), Some(b"b")), 2, "a route to the target has the target's lanes");
        assert_eq!(lane(Some(2), Some(b"a")), 5);
        assert_eq!([lane(None, None), lane(Some(0), None)], [1, 4], "without a key by the source partition");
        assert_eq!(routing.dead_letter_lane(), LaneId(6));
        routing.partitions = 0;
        assert_eq!(routing.lane(None, 7, Some(b"b")), LaneId(0));
    }

    #[test]
    fn the_first_route_that_fits_is_taken() {
        let mut routing = routing(vec![route("a", "alerts", 2), route("b", "more", 0)]);
        routing.routes[1].field = "kind".into();
        let of = |fields: &[(&str, &'static str)]| {
            routing.route(|path| fields.iter().find(|(name, _)| *name == path).map(|(_, text)| Cow::Borrowed(*text)))
        };
        assert_eq!(of(&[("event_type", "a"), ("kind", "b")]), Some(0));
        assert_eq!(of(&[("event_type", "b"), ("kind", "b.too")]), Some(1));
        assert_eq!((of(&[("event_type", "b")]), of(&[])), (None, None));
    }

    #[test]
    fn the_format_of_routing_by_key_is_golden() {
        for (key_hash, name) in [(KeyHash::JavaString, "java-string"), (KeyHash::Murmur3, "murmur3")] {
            let mut routing = routing(Vec::new());
            routing.partition_by = PartitionBy::Key { key_hash };
            let golden = format!(
                "{{\"partition_by\":\"key\",\"key_hash\":\"{name}\",\"topic\":\"persistent://public/default/t\",\"partitions\":3,\
                 \"dead_letters\":\"persistent://public/default/t-dead-letters\"}}"
            );
            assert_eq!(serde_json::to_string(&routing).unwrap(), golden);
            assert_eq!(serde_json::from_str::<Routing>(&golden).unwrap(), routing);
        }
    }

    /// The routing is part of every checkpoint: an on-wire format.
    #[test]
    fn the_format_of_routes_is_golden() {
        let routing = routing(vec![route("a", "alerts", 2)]);
        let golden = concat!(
            r#"{"partition_by":"source","topic":"persistent://public/default/t","partitions":3,"#,
            r#""dead_letters":"persistent://public/default/t-dead-letters","#,
            r#""routes":[{"field":"event_type","equals":["a","a.too"],"#,
            r#""topic":"persistent://public/default/alerts","partitions":2}]}"#
        );
        assert_eq!(serde_json::to_string(&routing).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Routing>(golden).unwrap(), routing);
    }
}
