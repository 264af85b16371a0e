//! Crash points: a future dropped at its k-th poll, for every k until it completes.
//!
//! Dropping a future is what a kill, a lost connection or a timeout does to a handler. Between
//! two polls lies everything that the future awaits, so the polls are the points at which it can
//! be interrupted. On bare loopback a call may finish in its first poll and hide them: run it
//! through a [`Proxy`](super::proxy::Proxy) that delays by some 15 ms.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::check::{CaseFailure, CaseResult};

/// Polls the future at most `k` times, then drops it at once.
///
/// Gives its output if it completed within them, otherwise none. At `k = 0` it is dropped before
/// it has done anything.
pub async fn drop_at_poll<F: Future>(k: usize, future: F) -> Option<F::Output> {
    if k == 0 {
        return None;
    }
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Not one poll more, and not one wake later: the caller drops the future now.
            Poll::Pending if polls >= k => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls the future at most `k` times, and drops it when it is woken once more: what it waited for is
/// there, and it is not polled.
///
/// Between the answer and the poll that would take it lies a crash point that [`drop_at_poll`] does
/// not reach. Gives the output if the future completed within its polls, otherwise none.
pub async fn drop_when_woken<F: Future>(k: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls >= k {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Drops a fresh future at poll 1, 2, 3, … until one completes, and checks after each.
///
/// `make` gives the future for a k; `after_each` gets the k and the output, if there was one, and
/// checks what the drop left behind: no open transaction, no lock, and a retry with the one right
/// answer. The result is the number of polls that the future took in the end; a case whose calls
/// never wait should look at it, since it had no crash point.
///
/// # Errors
/// What `after_each` found, with the crash point as a note; or no completion within `polls_max`.
pub async fn every_poll<T, F, A>(
    polls_max: usize,
    make: impl FnMut(usize) -> F,
    after_each: impl FnMut(usize, Option<T>) -> A,
) -> CaseResult<usize>
where
    F: Future<Output = T>,
    A: Future<Output = CaseResult>,
{
    some_polls(polls_max, |_| true, make, after_each).await
}

/// The same at those polls only that are `wanted`, for a run that has to be short.
///
/// # Errors
/// As [`every_poll`].
pub async fn some_polls<T, F, A>(
    polls_max: usize,
    wanted: impl Fn(usize) -> bool,
    mut make: impl FnMut(usize) -> F,
    mut after_each: impl FnMut(usize, Option<T>) -> A,
) -> CaseResult<usize>
where
    F: Future<Output = T>,
    A: Future<Output = CaseResult>,
{
    for k in (1..=polls_max).filter(|k| wanted(*k)) {
        let output = drop_at_poll(k, make(k)).await;
        let completed = output.is_some();
        after_each(k, output).await.map_err(|failure| {
            let ended = if completed {
                "completed within"
            } else {
                "was dropped at"
            };
            failure.note(format!("the call {ended} poll {k}"))
        })?;
        if completed {
            return Ok(k);
        }
    }
    Err(CaseFailure::new(
        format!("the call to complete within {polls_max} polls"),
        "it was still pending",
    )
    .mistake("the call waits in a loop, or for what an earlier drop left locked"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::yield_now;

    use super::*;

    /// Takes `steps + 1` polls, and counts its steps and its drops.
    async fn walk(steps: usize, done: Rc<Cell<usize>>) -> usize {
        for _ in 0..steps {
            yield_now().await;
            done.set(done.get() + 1);
        }
        done.get()
    }

    #[tokio::test]
    async fn a_future_is_dropped_at_exactly_that_poll() {
        for k in 0..=5 {
            let done = Rc::new(Cell::new(0));
            let output = drop_at_poll(k, walk(3, Rc::clone(&done))).await;
            assert_eq!(output, (k >= 4).then_some(3), "k = {k}");
            assert_eq!(done.get(), k.saturating_sub(1).min(3), "k = {k}");
            assert_eq!(
                Rc::strong_count(&done),
                1,
                "the future is gone when the call returns"
            );
        }
    }

    #[tokio::test]
    async fn a_future_is_dropped_when_it_is_woken_and_not_polled() {
        for k in 0..=5 {
            let done = Rc::new(Cell::new(0));
            let output = drop_when_woken(k, walk(3, Rc::clone(&done))).await;
            assert_eq!(output, (k >= 4).then_some(3), "k = {k}");
            assert_eq!(done.get(), k.saturating_sub(1).min(3), "k = {k}");
        }
        let (answer, mut question) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move { answer.send(()).await });
        let output = drop_when_woken(1, question.recv()).await;
        assert_eq!(output, None);
        assert_eq!(question.try_recv(), Ok(()), "the answer was there");
    }

    #[tokio::test]
    async fn each_poll_is_visited_once_and_in_order() {
        let seen = Rc::new(Cell::new(Vec::new()));
        let polls = every_poll(
            10,
            |_| walk(3, Rc::default()),
            |k, output| {
                let mut visited = seen.take();
                visited.push((k, output));
                seen.set(visited);
                async { Ok(()) }
            },
        )
        .await
        .unwrap();
        assert_eq!(polls, 4);
        assert_eq!(
            seen.take(),
            vec![(1, None), (2, None), (3, None), (4, Some(3))]
        );
    }

    #[tokio::test]
    async fn only_the_wanted_polls_are_visited() {
        let seen = Rc::new(Cell::new(Vec::new()));
        let polls = some_polls(
            20,
            |k| k % 3 == 1,
            |_| walk(7, Rc::default()),
            |k, output| {
                let mut visited = seen.take();
                visited.push((k, output.is_some()));
                seen.set(visited);
                async { Ok(()) }
            },
        )
        .await
        .unwrap();
        assert_eq!(
            polls, 10,
            "it takes 8, and the next one that is wanted is the tenth"
        );
        assert_eq!(
            seen.take(),
            vec![(1, false), (4, false), (7, false), (10, true)]
        );
    }

    #[tokio::test]
    async fn a_failed_check_names_its_crash_point() {
        let failure = every_poll(
            10,
            |_| walk(3, Rc::default()),
            |k, _| async move {
                crate::ensure!(k != 2, "a clean state");
                Ok(())
            },
        )
        .await
        .unwrap_err();
        assert_eq!(failure.notes(), ["the call was dropped at poll 2"]);
    }

    #[tokio::test]
    async fn a_future_that_never_completes_is_a_failure() {
        let never = every_poll(5, |_| walk(50, Rc::default()), |_, _| async { Ok(()) }).await;
        assert!(
            never
                .unwrap_err()
                .expected()
                .unwrap()
                .contains("within 5 polls")
        );
    }
}
