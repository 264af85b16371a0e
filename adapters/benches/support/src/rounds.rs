//! Pairs of slices in the order A B B A, and rounds in which the cases take turns.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{
    case::{Bench, Case, Operation},
    counts::{Counted, Counts},
    load::Load,
    options::Options,
    processor::{Account, Used},
    results::{Report, Row},
    slice,
    statistics::{Spread, latency},
};

/// From so many busy processors of others on, a turn is measured again.
const DISTURBED: f64 = 0.3;

/// How often at most.
const REPETITIONS: usize = 2;

/// Calls of a floor and of a case beside it.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    floor_rates: [f64; 2],
    case_rates: [f64; 2],
    floor_latencies: Vec<f32>,
    case_latencies: Vec<f32>,
    floor_used: [Option<Used>; 2],
    case_used: [Option<Used>; 2],
}

impl Pair {
    /// Operations of the case for one of the floor. A machine that becomes slower or quicker
    /// meanwhile hits both alike: the floor comes first and last.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.case_rates.iter().sum::<f64>()
            / self.floor_rates.iter().sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// How long each call of the case took, in microseconds.
    #[must_use]
    pub fn case_latencies(&self) -> &[f32] {
        &self.case_latencies
    }
}

/// One turn: floor, case, case, floor.
///
/// # Errors
/// The first error of a call.
pub async fn turn(
    floor: &Operation,
    case: &Operation,
    callers: usize,
    time: Duration,
) -> Result<Pair> {
    let mut pair = Pair::default();
    for (is_case, at) in [(false, 0), (true, 0), (true, 1), (false, 1)] {
        let operation = if is_case { case } else { floor };
        let before = Account::now();
        let slice = slice::run(operation, callers, time).await?;
        let after = Account::now();
        let used = after.zip(before).map(|(after, before)| {
            // What ended too late to count has used the processor all the same.
            after.since(&before, slice.latencies.len())
        });
        if is_case {
            pair.case_rates[at] = slice.rate();
            pair.case_used[at] = used;
            pair.case_latencies.extend(slice.latencies);
        } else {
            pair.floor_rates[at] = slice.rate();
            pair.floor_used[at] = used;
            pair.floor_latencies.extend(slice.latencies);
        }
    }
    Ok(pair)
}

#[derive(Default)]
struct Turns {
    pairs: Vec<Pair>,
    repeated: usize,
    disturbed: usize,
}

/// Measures every case that the options want.
///
/// # Errors
/// The first error of a call, with the case that it was of.
pub async fn measure(
    bench: &Bench,
    counted: Option<&Counted>,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    for &callers in &options.callers {
        let wanted: Vec<&Case> = bench
            .cases
            .iter()
            .filter(|case| options.wants(&case.name) && callers <= case.most_callers)
            .collect();
        let mut turns: Vec<Turns> = wanted.iter().map(|_| Turns::default()).collect();
        for round in 0..=options.rounds {
            for (case, turns) in wanted.iter().zip(&mut turns) {
                // The first round warms caches and plans, and counts for nothing.
                let time = if round == 0 {
                    options.slice() / 4
                } else {
                    options.slice()
                };
                take_turn(bench, case, callers, time, (round > 0).then_some(turns))
                    .await
                    .with_context(|| format!("{}, {callers} callers", case.name))?;
            }
            report_progress(&report.adapter, callers, round, options.rounds);
        }
        for (case, turns) in wanted.iter().zip(turns) {
            let counts = match counted {
                Some(counted) => counted
                    .count(&case.name, callers)
                    .await
                    .with_context(|| format!("counting {}, {callers} callers", case.name))?,
                None => Counts::default(),
            };
            report.rows.push(row(case, callers, &turns, counts));
        }
    }
    Ok(())
}

async fn take_turn(
    bench: &Bench,
    case: &Case,
    callers: usize,
    time: Duration,
    turns: Option<&mut Turns>,
) -> Result<()> {
    let floor = bench.floor_of(case)?;
    let Some(turns) = turns else {
        return turn(&floor, &case.operation, callers, time).await.map(drop);
    };
    for repetition in 0..=REPETITIONS {
        let before = Load::now();
        let pair = turn(&floor, &case.operation, callers, time).await?;
        let foreign = before
            .and_then(|load| load.foreign_since())
            .unwrap_or_default();
        let calm = foreign < DISTURBED;
        if calm || repetition == REPETITIONS {
            turns.disturbed += usize::from(!calm);
            turns.pairs.push(pair);
            break;
        }
        turns.repeated += 1;
    }
    Ok(())
}

fn row(case: &Case, callers: usize, turns: &Turns, counts: Counts) -> Row {
    let rounds: Vec<f64> = turns.pairs.iter().map(Pair::ratio).collect();
    let all = |part: fn(&Pair) -> &[f32]| -> Vec<f32> {
        turns.pairs.iter().flat_map(part).copied().collect()
    };
    let (p50, p99) = latency(&all(|pair| &pair.case_latencies));
    let (floor_p50, floor_p99) = latency(&all(|pair| &pair.floor_latencies));
    let target = case.targets.iter().find(|(at, _)| *at == callers);
    let median = |used: fn(&Pair) -> &[Option<Used>; 2], part: fn(&Used) -> f64| -> Option<f64> {
        let all = turns.pairs.iter().flat_map(used).flatten();
        let all: Vec<f64> = all.map(part).collect();
        (!all.is_empty()).then(|| Spread::of(&all).median)
    };
    Row {
        case: case.name.clone(),
        floor: case.floor.to_owned(),
        callers,
        ratio: Spread::of(&rounds),
        rounds,
        p50,
        p99,
        floor_p50,
        floor_p99,
        trips: counts.trips,
        syncs: counts.syncs,
        used: median(|pair| &pair.case_used, Used::whole),
        used_by_server: median(|pair| &pair.case_used, |used| used.server),
        floor_used: median(|pair| &pair.floor_used, Used::whole),
        target: target.map(|(_, ratio)| *ratio),
        quicker_than: case
            .quicker_than
            .filter(|_| callers == 32)
            .map(str::to_owned),
        repeated: turns.repeated,
        disturbed: turns.disturbed,
    }
}

#[allow(clippy::print_stderr)]
fn report_progress(adapter: &str, callers: usize, round: usize, rounds: usize) {
    eprintln!("{adapter}: {callers} callers, round {round} of {rounds}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::operation;

    fn pair(floor: [f64; 2], case: [f64; 2]) -> Pair {
        Pair {
            floor_rates: floor,
            case_rates: case,
            ..Pair::default()
        }
    }

    #[test]
    fn a_machine_that_slows_down_evenly_does_not_change_the_ratio() {
        // 100, 90, 80, 70 operations in the four slices: the case is as quick as its floor.
        assert!((pair([100.0, 70.0], [90.0, 80.0]).ratio() - 1.0).abs() < 1e-9);
        assert!((pair([100.0, 100.0], [250.0, 350.0]).ratio() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_has_the_median_of_the_rounds_and_the_target_of_its_callers() {
        let mut bench = Bench::default();
        let case = bench
            .case("case", "floor", operation(|_| async { Ok(()) }))
            .target(&[(8, 1.3), (32, 2.3)]);
        let turns = Turns {
            pairs: [1.0, 9.0, 2.0]
                .map(|rate| pair([1.0, 1.0], [rate, rate]))
                .to_vec(),
            repeated: 1,
            disturbed: 0,
        };
        let row = row(case, 32, &turns, Counts::default());
        assert_eq!(
            (row.ratio.median, row.target, row.repeated),
            (2.0, Some(2.3), 1)
        );
        assert_eq!(row.rounds, [1.0, 9.0, 2.0]);
    }

    #[tokio::test]
    async fn the_floor_runs_first_and_last() {
        let order = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let note = |letter: char| {
            let order = order.clone();
            operation(move |_| {
                let order = order.clone();
                async move {
                    let mut order = order.lock().unwrap();
                    if !order.ends_with(letter) {
                        order.push(letter);
                    }
                    Ok(())
                }
            })
        };
        turn(&note('A'), &note('B'), 1, Duration::from_millis(2))
            .await
            .unwrap();
        assert_eq!(*order.lock().unwrap(), "ABA");
    }
}
