//! A timer without a runtime: handlers are tested on each of them.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use futures_util::{future::BoxFuture, task::AtomicWaker};

#[derive(Default)]
struct Alarm {
    rung: AtomicBool,
    sleeper: AtomicWaker,
}

impl Alarm {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.sleeper.wake();
    }
}

/// Waits on a thread of its own.
pub(super) fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let alarm = Arc::new(Alarm::default());
        let ringing = alarm.clone();
        let thread = thread::Builder::new().name("script-timer".to_owned());
        let started = thread.spawn(move || {
            thread::sleep(duration);
            ringing.ring();
        });
        if started.is_err() {
            // No thread to be had: too early is better than never.
            alarm.ring();
        }
        poll_fn(|context| {
            alarm.sleeper.register(context.waker());
            match alarm.rung.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    })
}
