//! Which source partitions an order of an operator is about: the query of `POST /pause` and `/resume`.

/// How many partitions one order may name.
const PARTITIONS_MAX: usize = 10_000;

/// Which source partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this topic or queue only; `None`: of all.
    pub topic: Option<String>,
    /// By their numbers; none: the whole bridge.
    pub partitions: Vec<u32>,
}

impl Which {
    /// From a query: `partition=3&partition=4&topic=jobs`.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever sent it.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut which = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("partition", number)) if which.partitions.len() < PARTITIONS_MAX => {
                    let number =
                        number.parse().map_err(|_| format!("partition={number} is no number of a partition"))?;
                    which.partitions.push(number);
                }
                Some(("topic", topic)) => which.topic = Some(decoded(topic).ok_or("topic= is no text")?),
                _ => return Err("allowed are partition=<number>, several times, and topic=<name>".to_owned()),
            }
        }
        if which.topic.is_some() && which.partitions.is_empty() {
            return Err("topic= goes with partition=".to_owned());
        }
        Ok(which)
    }

    /// Whether it is about the whole bridge.
    pub fn is_all(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Whether this partition is among them.
    pub fn has(&self, topic: &str, partition: u32) -> bool {
        self.is_all()
            || (self.partitions.contains(&partition) && self.topic.as_ref().is_none_or(|wanted| wanted == topic))
    }
}

/// A part of a query without its percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_about_all_or_about_partitions_by_number_and_topic() {
        let parsed = |query| Which::parse(query).unwrap();
        assert!(parsed(None).is_all() && parsed(Some("")).has("any", 7));
        let two = parsed(Some("partition=3&partition=4"));
        assert!(two.has("a", 3) && two.has("b", 4) && !two.has("a", 5));
        let one = parsed(Some("topic=a%2Eb&partition=3"));
        assert!(one.has("a.b", 3) && !one.has("a", 3));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_never_taken_for_all() {
        for wrong in ["partition=x", "partition=-1", "partition", "partitions=3", "topic=a", "topic=%zz&partition=1"] {
            assert!(Which::parse(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
