//! Medians, quartiles, percentiles.

use serde::{Deserialize, Serialize};

/// The middle of a sample, and how far it spreads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half lies below.
    pub median: f64,
    /// A quarter lies below.
    pub lower: f64,
    /// A quarter lies above.
    pub upper: f64,
}

impl Spread {
    /// Of a sample; all zero for an empty one.
    #[must_use]
    pub fn of(sample: &[f64]) -> Self {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 0.5),
            lower: quantile(&sorted, 0.25),
            upper: quantile(&sorted, 0.75),
        }
    }
}

/// The value below which this share of a **sorted** sample lies, between its neighbours where it
/// falls between two.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    #[allow(clippy::cast_precision_loss)] // no sample has 2^52 values
    let place = share.clamp(0.0, 1.0) * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to `last`
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * part
}

/// The p50 and p99 of latencies, in microseconds.
#[must_use]
pub fn latency(latencies: &[f32]) -> (f64, f64) {
    let mut sorted: Vec<f64> = latencies.iter().map(|time| f64::from(*time)).collect();
    sorted.sort_by(f64::total_cmp);
    (quantile(&sorted, 0.5), quantile(&sorted, 0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_sample_lies_between_the_two_in_the_middle() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            (spread.lower, spread.median, spread.upper),
            (1.75, 2.5, 3.25)
        );
    }

    #[test]
    fn one_wild_round_does_not_move_the_median() {
        assert_eq!(Spread::of(&[1.0, 1.1, 0.9, 100.0, 1.0]).median, 1.0);
    }

    #[test]
    fn samples_of_one_and_none() {
        assert_eq!(Spread::of(&[7.0]).upper, 7.0);
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn a_percentile_of_a_hundred() {
        let times: Vec<f32> = (1..=101_u8).rev().map(f32::from).collect();
        assert_eq!(latency(&times), (51.0, 100.0));
    }
}
