//! Quantiles from a histogram's buckets. Pure.

use std::collections::BTreeMap;

/// The counters of a histogram, over all its sets of labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets {
    /// By the labels but `le`: how many observations were at or below each bound, in rising order.
    pub(super) series: BTreeMap<String, Vec<(f64, f64)>>,
    /// What a bound is multiplied by.
    pub(super) scale: f64,
}

/// How many observations fell at or below each bound, in rising order; the last bound is infinite.
#[derive(Debug, PartialEq)]
pub(super) struct Between(Vec<(f64, f64)>);

impl Buckets {
    /// What was observed since `before`. `None` when a series or a bound is new or gone, or a bucket went back.
    pub(super) fn since(&self, before: &Buckets) -> Option<Between> {
        if self.series.is_empty() || self.series.len() != before.series.len() {
            return None;
        }
        let mut sum: Option<Vec<(f64, f64)>> = None;
        for (labels, buckets) in &self.series {
            let more = more_of(before.series.get(labels)?, buckets)?;
            sum = Some(match sum {
                None => more,
                Some(sum) => added(sum, &more)?,
            });
        }
        let mut sum = sum?;
        sum.iter_mut().for_each(|(bound, _)| *bound *= self.scale);
        let rising = sum.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let closed = sum.last().is_some_and(|(bound, _)| *bound == f64::INFINITY);
        (rising && closed).then_some(Between(sum))
    }
}

fn more_of(before: &[(f64, f64)], now: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    if before.len() != now.len() {
        return None;
    }
    let pairs = before.iter().zip(now);
    pairs.map(|(old, new)| (old.0 == new.0 && new.1 >= old.1).then_some((new.0, new.1 - old.1))).collect()
}

fn added(mut sum: Vec<(f64, f64)>, more: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    let same = sum.len() == more.len() && sum.iter().zip(more).all(|(a, b)| a.0 == b.0);
    sum.iter_mut().zip(more).for_each(|(sum, more)| sum.1 += more.1);
    same.then_some(sum)
}

impl Between {
    /// The value below which this share of the observations lies, interpolated within its bucket. `None` where the
    /// buckets do not tell: nothing was observed, or it lies above the last finite bound.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.0.last()?.1;
        if total <= 0.0 {
            return None;
        }
        let rank = quantile * total;
        let at = self.0.iter().position(|(_, count)| *count >= rank)?;
        let (upper, count) = self.0[at];
        // The lowest bucket begins at zero: these are latencies.
        let (lower, below) = if at == 0 { (0.0, 0.0) } else { self.0[at - 1] };
        (upper.is_finite() && upper > lower).then(|| lower + (upper - lower) * (rank - below) / (count - below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn buckets(series: &[(&str, &[(f64, f64)])]) -> Buckets {
        let series = series.iter().map(|(labels, buckets)| ((*labels).to_owned(), buckets.to_vec())).collect();
        Buckets { series, scale: 1000.0 }
    }

    fn quantile(before: &Buckets, now: &Buckets, quantile: f64) -> Option<f64> {
        now.since(before)?.quantile(quantile)
    }

    #[test]
    fn quantiles_are_those_of_what_came_between() {
        let before = buckets(&[("a", &[(0.001, 1000.0), (0.01, 1000.0), (INF, 1000.0)])]);
        let now = buckets(&[("a", &[(0.001, 1000.0), (0.01, 1090.0), (INF, 1100.0)])]);
        // 90 of 100 lie between 1 and 10 ms: the 50th is at 5/9 of them.
        assert_eq!(quantile(&before, &now, 0.5), Some(6.0));
        assert_eq!(quantile(&before, &now, 0.95), None, "somewhere above 10 ms: the buckets do not tell");
        assert_eq!(quantile(&now, &now, 0.5), None, "nothing came");
        assert_eq!(quantile(&now, &before, 0.5), None, "went back");
    }

    #[test]
    fn series_are_added_only_where_they_are_alike() {
        let zero = buckets(&[("a", &[(1.0, 0.0), (INF, 0.0)]), ("b", &[(1.0, 0.0), (INF, 0.0)])]);
        let now = buckets(&[("a", &[(1.0, 4.0), (INF, 4.0)]), ("b", &[(1.0, 0.0), (INF, 4.0)])]);
        assert_eq!(quantile(&zero, &now, 0.25), Some(500.0));
        let other = buckets(&[("a", &[(1.0, 4.0), (INF, 4.0)]), ("b", &[(2.0, 0.0), (INF, 4.0)])]);
        assert_eq!(quantile(&other, &other, 0.25), None);
        assert_eq!(quantile(&zero, &other, 0.25), None, "another bound");
        let fewer = buckets(&[("a", &[(1.0, 4.0), (INF, 4.0)])]);
        assert_eq!(quantile(&zero, &fewer, 0.25), None);
        let open = buckets(&[("a", &[(1.0, 4.0)])]);
        assert_eq!(quantile(&buckets(&[("a", &[(1.0, 0.0)])]), &open, 0.25), None, "the total is not known");
    }
}
