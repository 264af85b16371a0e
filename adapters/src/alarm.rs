//! Limits of waits, on a thread of this crate's own: tokio's timer panics in a runtime that was built
//! without one, and outside of a runtime.
//!
//! No timer of a library's: `futures-timer` wakes its thread for each limit that is set and for each that is
//! dropped, where this one wakes for an earlier limit only, and a waker that panics ends its thread, after
//! which each limit panics; `async-io` panics where its thread can't be started, and brings a reactor.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Instant,
};

/// The waits of all callers. One thread wakes them; it is started with the first and never ends.
static ALARMS: Alarms = Alarms {
    state: Mutex::new(State {
        waiting: BTreeMap::new(),
        last: 0,
        is_served: false,
        sleeps_until: None,
    }),
    earlier: Condvar::new(),
};

struct Alarms {
    state: Mutex<State>,
    /// Wakes the thread for an alarm before the one that it sleeps for.
    earlier: Condvar,
}

struct State {
    waiting: BTreeMap<(Instant, u64), Waker>,
    last: u64,
    is_served: bool,
    /// The alarm that the thread sleeps for. One that is withdrawn is left to pass: a limit is
    /// seldom reached, and the thread wakes once for many calls.
    sleeps_until: Option<Instant>,
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(due) = state.waiting.first_entry()
                && due.key().0 <= now
            {
                let waker = due.remove();
                drop(state);
                // A runtime's own code, and a panic in it would end all limits.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                    std::mem::forget(panic);
                }
                state = self.lock();
                continue;
            }
            state.sleeps_until = state.waiting.keys().next().map(|(end, _)| *end);
            state = match state.sleeps_until {
                Some(end) => {
                    let rest = end.saturating_duration_since(now);
                    let waited = self.earlier.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.earlier.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// One wait with a limit.
struct Alarm {
    end: Instant,
    number: Option<u64>,
}

impl Alarm {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        if Instant::now() >= self.end {
            return Poll::Ready(());
        }
        let mut state = ALARMS.lock();
        if !state.is_served {
            let thread = std::thread::Builder::new().name("exactly-once-alarm".to_owned());
            if let Err(error) = thread.spawn(|| ALARMS.serve()) {
                // Without limits a call could hang: it ends as if at its limit, and is retried.
                tracing::error!(%error, "no thread could be started for the limits of calls");
                return Poll::Ready(());
            }
            state.is_served = true;
        }
        let number = *self.number.get_or_insert_with(|| {
            state.last += 1;
            state.last
        });
        state.waiting.insert((self.end, number), waker.clone());
        if state.sleeps_until.is_none_or(|until| self.end < until) {
            ALARMS.earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = ALARMS.lock().waiting.remove(&(self.end, number));
            // Outside of the lock: it is a runtime's own code.
            drop(waker);
        }
    }
}

/// Waits for the future up to this moment; `None` if the moment comes first.
pub(crate) async fn until<F: Future>(end: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm = Alarm { end, number: None };
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.poll(context.waker()).map(|()| None),
    })
    .await
}

/// Waits this long.
#[cfg(feature = "tower")]
pub(crate) async fn sleep(duration: std::time::Duration) {
    match Instant::now().checked_add(duration) {
        Some(end) => {
            until(end, std::future::pending::<()>()).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Context, thread::Thread, time::Duration};

    use super::*;

    /// Runs a future on this thread, without any runtime.
    fn block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    fn after(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[test]
    fn a_wait_ends_at_its_moment_and_not_before_without_a_runtime() {
        // The later one first: the thread sleeps for it when the earlier one comes.
        let later = std::thread::spawn(|| {
            let end = after(120);
            let ended = block_on(until(end, std::future::pending::<()>()));
            (ended, Instant::now() >= end)
        });
        let end = after(20);
        assert_eq!(block_on(until(end, std::future::pending::<()>())), None);
        assert!(Instant::now() >= end);
        assert_eq!(later.join().unwrap(), (None, true));
        assert_eq!(block_on(until(end, std::future::ready(7))), Some(7));
    }

    #[test]
    fn an_answer_before_the_moment_leaves_no_alarm() {
        let (send, answer) = tokio::sync::oneshot::channel();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            send.send(7).unwrap();
        });
        let end = Instant::now() + Duration::from_secs(3600);
        let answered = block_on(until(end, answer));
        assert_eq!(answered.unwrap().unwrap(), 7);
        sender.join().unwrap();
        let left = ALARMS.lock().waiting.keys().any(|(at, _)| *at == end);
        assert!(!left);
    }

    #[test]
    fn a_waker_that_panics_ends_no_other_wait() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("a runtime's bug");
            }
        }
        let waker = Waker::from(Arc::new(Panics));
        let mut broken = pin!(until(after(10), std::future::pending::<()>()));
        let polled = broken.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let other = until(after(40), std::future::pending::<()>());
        assert_eq!(block_on(other), None);
    }
}
