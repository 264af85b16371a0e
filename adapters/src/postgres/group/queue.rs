//! Who flies, and who waits for the next flight.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::Handle,
    sync::oneshot::{self, Receiver, Sender},
    task::yield_now,
};

use super::GROUP_MAX;

/// How many turns of the scheduler must bring nobody new before a group leaves. They cost a caller
/// microseconds, and halve the number of commits where the callers of the last flight come again.
const QUIET_TURNS: u32 = 2;

/// From how many who wait on another flight leaves, where there may be one: while the server
/// works for one group, the other is packed and unpacked here.
const FLIGHT_FROM: usize = 8;

/// How a group is executed.
pub(super) trait Flush: Clone + Send + Sync + 'static {
    /// What a caller asks.
    type Job: Send + 'static;
    /// What it is told.
    type Answer: Send + 'static;

    /// Where its callers wait.
    fn queue(&self) -> &Queue<Self::Job, Self::Answer>;

    /// Executes the group; an answer for each job, in order.
    fn flush(&self, jobs: Vec<Self::Job>) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

struct Waiting<J, A> {
    job: J,
    answer: Sender<A>,
}

struct State<J, A> {
    waiting: VecDeque<Waiting<J, A>>,
    flights: usize,
}

/// Callers of one kind.
pub(super) struct Queue<J, A> {
    state: Arc<Mutex<State<J, A>>>,
    /// How many flights there may be at once.
    flights_max: usize,
}

impl<J, A> Queue<J, A> {
    pub(super) fn new(flights_max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                waiting: VecDeque::new(),
                flights: 0,
            })),
            flights_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves who still waits for an answer into the group.
    fn board(&self, group: &mut Vec<Waiting<J, A>>) -> usize {
        let before = group.len();
        let mut state = self.lock();
        while group.len() < GROUP_MAX {
            match state.waiting.pop_front() {
                // A caller that is gone has sent nothing yet, and does not any more.
                Some(waiting) if waiting.answer.is_closed() => {}
                Some(waiting) => group.push(waiting),
                None => break,
            }
        }
        group.len() - before
    }
}

enum Start<J, A> {
    /// Nobody is in flight: go.
    Now(J),
    /// Wait, after starting another flight if that is wanted.
    Wait(Receiver<A>, bool),
}

impl<J, A> Queue<J, A> {
    fn start(&self, job: J) -> Start<J, A> {
        let mut state = self.lock();
        if state.flights == 0 {
            state.flights = 1;
            return Start::Now(job);
        }
        let (answer, receiver) = oneshot::channel();
        state.waiting.push_back(Waiting { job, answer });
        let another = state.waiting.len() >= FLIGHT_FROM && state.flights < self.flights_max;
        if another {
            state.flights += 1;
        }
        Start::Wait(receiver, another)
    }
}

/// Asks, alone or with others. `None` if the flight came to nothing, which says nothing about
/// whether it was executed: ask the store.
pub(super) async fn ask<F: Flush>(flush: F, job: F::Job) -> Option<F::Answer> {
    let receiver = match flush.queue().start(job) {
        Start::Now(job) => {
            let flight = Flight {
                flush,
                own: true,
                landed: false,
            };
            return flight.flush.flush(vec![job]).await.pop();
        }
        Start::Wait(receiver, another) => {
            if another {
                tokio::spawn(Flight::new(flush).fly());
            }
            receiver
        }
    };
    receiver.await.ok()
}

/// The right to execute groups. Whoever drops it, at whatever poll, hands it on to those who wait.
struct Flight<F: Flush> {
    flush: F,
    /// In a caller's own future, which may be dropped.
    own: bool,
    landed: bool,
}

impl<F: Flush> Flight<F> {
    fn new(flush: F) -> Self {
        Self {
            flush,
            own: false,
            landed: false,
        }
    }

    /// Executes groups until nobody waits.
    async fn fly(mut self) {
        loop {
            let mut group = Vec::new();
            let mut quiet = 0;
            self.flush.queue().board(&mut group);
            while group.len() < GROUP_MAX && quiet < QUIET_TURNS {
                yield_now().await;
                match self.flush.queue().board(&mut group) {
                    0 => quiet += 1,
                    _ => quiet = 0,
                }
            }
            if group.is_empty() {
                if self.land() {
                    return;
                }
                continue;
            }
            let (jobs, answers): (Vec<_>, Vec<_>) = group
                .into_iter()
                .map(|waiting| (waiting.job, waiting.answer))
                .unzip();
            let told = self.flush.flush(jobs).await;
            for (answer, told) in answers.into_iter().zip(told) {
                // Who is gone needs no answer.
                let _ = answer.send(told);
            }
        }
    }

    /// Ends the flight, unless somebody has come.
    fn land(&mut self) -> bool {
        let mut state = self.flush.queue().lock();
        if state.waiting.is_empty() {
            state.flights -= 1;
            drop(state);
            self.landed = true;
        }
        self.landed
    }
}

impl<F: Flush> Drop for Flight<F> {
    fn drop(&mut self) {
        if self.landed || self.land() {
            return;
        }
        match Handle::try_current() {
            // The flight goes on, in a task of its own.
            Ok(handle) if self.own => {
                self.landed = true;
                handle.spawn(Self::new(self.flush.clone()).fly());
            }
            // The runtime is going, or a flight has panicked: everybody for himself.
            _ => {
                let mut state = self.flush.queue().lock();
                state.flights -= 1;
                if state.flights == 0 {
                    let waiting = std::mem::take(&mut state.waiting);
                    drop(state);
                    drop(waiting);
                }
            }
        }
    }
}
