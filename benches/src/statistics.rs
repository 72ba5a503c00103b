//! What is told of many readings: the middle and how far they spread. No averages: one run that was interrupted would
//! spoil them.

use serde::Serialize;

/// Median, and the range in which four of five readings lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// A tenth of the readings are less.
    pub(crate) p10: f64,
    /// Half of the readings are less.
    pub(crate) median: f64,
    /// A tenth of the readings are more.
    pub(crate) p90: f64,
}

impl Spread {
    /// Of these readings; none of none.
    pub(crate) fn of(readings: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = readings.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| sorted.get(sorted.len().checked_sub(1)? * percent / 100).copied();
        Some(Spread { p10: at(10)?, median: at(50)?, p90: at(90)? })
    }
}

/// The ratios of readings that were taken in the same round. What slowed the machine down for a while slowed both.
pub(crate) fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<Spread> {
    Spread::of(of.iter().zip(to).filter_map(|(of, to)| Some((*of)? / (*to)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_no_readings_is_none() {
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn spread_of_readings_in_any_order_is_by_rank() {
        let readings = [5.0, 1.0, 1000.0, 2.0, 4.0, 3.0, 0.0, 6.0, 8.0, 7.0, 9.0];
        assert_eq!(Spread::of(readings), Some(Spread { p10: 1.0, median: 5.0, p90: 9.0 }));
    }

    #[test]
    fn ratio_of_rounds_leaves_out_those_that_one_side_lacks() {
        let ratio = ratio(&[Some(1.0), Some(8.0), None], &[Some(2.0), None, Some(4.0)]);
        assert_eq!(ratio.map(|spread| spread.median), Some(0.5));
    }
}
