//! Shorter schedules: from a long random schedule that fails to a short one that still does.

use std::future::Future;

/// Removes chunks of the schedule, then single steps, while what is left still fails.
///
/// `fails` runs a schedule from a fresh start and says whether it failed. Shrinking stops after
/// `attempts_max` runs, since each may drive a real database; what it has by then is returned.
/// The result always fails, provided that the schedule given did and failing is repeatable.
pub async fn shrink<T, F, Fut>(schedule: Vec<T>, attempts_max: usize, mut fails: F) -> Vec<T>
where
    T: Clone,
    F: FnMut(Vec<T>) -> Fut,
    Fut: Future<Output = bool>,
{
    let mut shortest = schedule;
    let mut attempts = 0;
    let mut chunk = shortest.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        let mut removed_any = false;
        while start < shortest.len() {
            if attempts == attempts_max {
                return shortest;
            }
            attempts += 1;
            let end = (start + chunk).min(shortest.len());
            let candidate = [&shortest[..start], &shortest[end..]].concat();
            if fails(candidate.clone()).await {
                // Keep `start`: the next chunk has moved into this place.
                shortest = candidate;
                removed_any = true;
            } else {
                start = end;
            }
        }
        // A removal may make an earlier one possible: at the finest grain, go on until none is.
        if chunk > 1 {
            chunk /= 2;
        } else if !removed_any {
            break;
        }
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_steps_that_matter_are_left() {
        let needed = |schedule: Vec<u32>| async move {
            let at = |step| schedule.iter().position(|other| *other == step);
            matches!((at(17), at(61)), (Some(first), Some(second)) if first < second)
        };
        assert_eq!(
            shrink((0..100).collect(), 1_000, needed).await,
            vec![17, 61]
        );
    }

    #[tokio::test]
    async fn steps_that_depend_on_each_other_go_together() {
        // 3 may only go once 4 is gone: needs the second pass at the finest grain.
        let needed = |schedule: Vec<u32>| async move {
            let has = |step| schedule.contains(&step);
            has(1) && (has(3) || !has(4))
        };
        assert_eq!(shrink(vec![1, 3, 4], 1_000, needed).await, vec![1]);
    }

    #[tokio::test]
    async fn it_stops_at_the_limit_with_a_schedule_that_fails() {
        let mut runs = 0;
        let left = shrink((0..64).collect::<Vec<u32>>(), 5, |schedule| {
            runs += 1;
            async move { schedule.contains(&63) }
        })
        .await;
        assert_eq!(runs, 5);
        assert!(left.contains(&63) && left.len() < 64);
    }

    #[tokio::test]
    async fn a_failure_that_needs_no_step_shrinks_to_nothing() {
        assert!(
            shrink(vec![1, 2, 3], 100, |_| async { true })
                .await
                .is_empty()
        );
    }
}
