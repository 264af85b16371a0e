//! Batches: each is a task of its own, and what comes meanwhile is the next one.

use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::oneshot::{self, Receiver, Sender},
    task::yield_now,
};

use super::GROUP_MAX;

/// How many turns of the scheduler must bring no new caller before a batch leaves. They cost a caller
/// microseconds, and halve the number of commits where the callers of the last batch come again.
const QUIET_TURNS: u32 = 2;

/// From how many waiting callers on another batch leaves, where there may be one: while the server
/// works for one group, the other is packed and unpacked here.
const SECOND_BATCH_FROM: usize = 8;

/// How a group is executed.
pub(super) trait Flush: Clone + Send + Sync + 'static {
    /// What a caller asks.
    type Job: Send + 'static;
    /// What it is answered.
    type Answer: Send + 'static;

    /// Where its callers wait.
    fn queue(&self) -> &Queue<Self::Job, Self::Answer>;

    /// What only one batch at a time may hold, and this job wants.
    fn wants(_: &Self::Job) -> Option<&Arc<str>> {
        None
    }

    /// Executes the group; an answer for each job, in order.
    fn flush(&self, jobs: Vec<Self::Job>) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

struct Waiting<J, A> {
    job: J,
    answer: Sender<A>,
}

struct State<J, A> {
    waiting: VecDeque<Waiting<J, A>>,
    batches: usize,
    /// What batches hold.
    held: HashSet<Arc<str>>,
}

/// Callers of one kind.
pub(super) struct Queue<J, A> {
    state: Arc<Mutex<State<J, A>>>,
    /// How many batches there may be at once.
    batches_max: usize,
}

impl<J, A> Queue<J, A> {
    pub(super) fn new(batches_max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                waiting: VecDeque::new(),
                batches: 0,
                held: HashSet::new(),
            })),
            batches_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves who still waits for an answer into the group, but for those who want what another
    /// batch holds.
    fn board<F>(
        &self,
        group: &mut Vec<Waiting<J, A>>,
        held: &mut HashSet<Arc<str>>,
        most: usize,
    ) -> usize
    where
        F: Flush<Job = J, Answer = A>,
    {
        let before = group.len();
        let mut state = self.lock();
        let state = &mut *state;
        let mut at = 0;
        while group.len() < most
            && let Some(waiting) = state.waiting.get(at)
        {
            // A caller that is gone has sent nothing yet, and does not any more.
            let gone = waiting.answer.is_closed();
            if !gone && let Some(wanted) = F::wants(&waiting.job) {
                if !held.contains(wanted) && state.held.contains(wanted) {
                    at += 1;
                    continue;
                }
                state.held.insert(Arc::clone(wanted));
                held.insert(Arc::clone(wanted));
            }
            if let Some(waiting) = state.waiting.remove(at).filter(|_| !gone) {
                group.push(waiting);
            }
        }
        group.len() - before
    }
}

impl<J, A> Queue<J, A> {
    /// Enqueues a job. The second value says whether the caller has to start another task, and how
    /// large its first batch may be.
    fn enqueue<F>(&self, job: J) -> (Receiver<A>, Option<usize>)
    where
        F: Flush<Job = J, Answer = A>,
    {
        let mut state = self.lock();
        // Where every caller wants the same, another task would find no job to take.
        let in_hand = F::wants(&job).is_some_and(|wanted| state.held.contains(wanted));
        let (answer, receiver) = oneshot::channel();
        state.waiting.push_back(Waiting { job, answer });
        let more = !in_hand
            && state.waiting.len() >= SECOND_BATCH_FROM
            && state.batches < self.batches_max;
        // What finds nothing under way goes at once and alone, as a lone caller's does.
        let first = match state.batches {
            0 => Some(1),
            _ => more.then_some(GROUP_MAX),
        };
        state.batches += usize::from(first.is_some());
        (receiver, first)
    }
}

/// Asks, alone or with others. `None` if the batch came to nothing, which says nothing about
/// whether it was executed: ask the store.
///
/// A batch is a task of its own: a caller whose future is alive and is not polled (in
/// `buffer_unordered`, in a branch of `select!`) delays no other caller. A caller that is dropped
/// while it waits is left out of the batch.
pub(super) async fn ask<F: Flush>(flush: F, job: F::Job) -> Option<F::Answer> {
    let (receiver, start) = flush.queue().enqueue::<F>(job);
    if let Some(first) = start {
        tokio::spawn(Flight::new(flush).fly(first));
    }
    receiver.await.ok()
}

/// The right to execute batches. Where its task is cut off, it passes on to the callers that wait.
struct Flight<F: Flush> {
    flush: F,
    landed: bool,
    /// What its group has in hand.
    held: HashSet<Arc<str>>,
}

impl<F: Flush> Flight<F> {
    fn new(flush: F) -> Self {
        Self {
            flush,
            landed: false,
            held: HashSet::new(),
        }
    }

    /// Executes batches until no caller waits.
    async fn fly(mut self, first: usize) {
        // The first batch leaves at once: a single caller waits for no other.
        let (mut most, mut quiet) = (first, QUIET_TURNS);
        loop {
            let mut group = Vec::new();
            self.board(&mut group, most);
            while group.len() < most && quiet < QUIET_TURNS {
                yield_now().await;
                match self.board(&mut group, most) {
                    0 => quiet += 1,
                    _ => quiet = 0,
                }
            }
            (most, quiet) = (GROUP_MAX, 0);
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
            self.put_down();
            for (answer, told) in answers.into_iter().zip(told) {
                // Who is gone needs no answer.
                let _ = answer.send(told);
            }
        }
    }

    fn board(&mut self, group: &mut Vec<Waiting<F::Job, F::Answer>>, most: usize) -> usize {
        self.flush.queue().board::<F>(group, &mut self.held, most)
    }

    /// Gives the other batches what this one held.
    fn put_down(&mut self) {
        if !self.held.is_empty() {
            let mut state = self.flush.queue().lock();
            for held in self.held.drain() {
                state.held.remove(&held);
            }
        }
    }

    /// Ends the task, unless a caller waits that no other task takes.
    fn land(&mut self) -> bool {
        self.put_down();
        let mut state = self.flush.queue().lock();
        let mut waiting = state.waiting.iter();
        let nobody_for_us = waiting.all(|waiting| {
            F::wants(&waiting.job).is_some_and(|wanted| state.held.contains(wanted))
        });
        if nobody_for_us {
            state.batches -= 1;
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
        // The runtime is going, or a batch has panicked: every caller goes alone.
        let mut state = self.flush.queue().lock();
        state.batches -= 1;
        if state.batches == 0 {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            drop(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Counts the jobs in flight, by what they want.
    #[derive(Clone)]
    struct Counting(Arc<Counts>);

    struct Counts {
        queue: Queue<Arc<str>, usize>,
        in_flight: Mutex<HashMap<Arc<str>, usize>>,
        batches: AtomicUsize,
        most_batches: AtomicUsize,
        met: AtomicUsize,
    }

    impl Counting {
        fn new() -> Self {
            Self(Arc::new(Counts {
                queue: Queue::new(2),
                in_flight: Mutex::default(),
                batches: AtomicUsize::new(0),
                most_batches: AtomicUsize::new(0),
                met: AtomicUsize::new(0),
            }))
        }
    }

    impl Flush for Counting {
        type Job = Arc<str>;
        type Answer = usize;

        fn queue(&self) -> &Queue<Arc<str>, usize> {
            &self.0.queue
        }

        fn wants(job: &Arc<str>) -> Option<&Arc<str>> {
            Some(job)
        }

        async fn flush(&self, jobs: Vec<Arc<str>>) -> Vec<usize> {
            let batches = self.0.batches.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most_batches.fetch_max(batches, Ordering::SeqCst);
            let wanted: HashSet<Arc<str>> = jobs.iter().cloned().collect();
            for one in &wanted {
                let mut in_flight = self.0.in_flight.lock().unwrap();
                let others = in_flight.entry(one.clone()).or_default();
                self.0.met.fetch_add(*others, Ordering::SeqCst);
                *others += 1;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            for one in &wanted {
                *self.0.in_flight.lock().unwrap().get_mut(one).unwrap() -= 1;
            }
            self.0.batches.fetch_sub(1, Ordering::SeqCst);
            jobs.iter().map(|_| jobs.len()).collect()
        }
    }

    /// A batch takes a millisecond.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    /// Callers that each want one of a few things, many times.
    async fn crowd(flush: &Counting, callers: usize, things: usize) {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let flush = flush.clone();
            tasks.spawn(async move {
                for round in 0..50 {
                    let wanted = format!("thing-{}", (caller * 7 + round) % things);
                    let answer = ask(flush.clone(), wanted.into());
                    let in_time = tokio::time::timeout(PATIENCE, answer).await;
                    assert!(in_time.expect("nobody flies for a caller").is_some());
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        // The last batch ends after its last answer.
        for _ in 0..1_000 {
            let landed = {
                let state = flush.0.queue.lock();
                state.waiting.is_empty() && state.held.is_empty() && state.batches == 0
            };
            if landed {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("a batch never ended, or left something held");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_batches_never_want_the_same() {
        let flush = Counting::new();
        crowd(&flush, 40, 16).await;
        assert_eq!(flush.0.met.load(Ordering::SeqCst), 0);
        assert_eq!(flush.0.most_batches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_all_want_the_same_share_one_flight() {
        let flush = Counting::new();
        crowd(&flush, 40, 1).await;
        assert_eq!(flush.0.met.load(Ordering::SeqCst), 0);
        assert_eq!(flush.0.most_batches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_that_goes_away_leaves_nothing_held() {
        let flush = Counting::new();
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..40_u64 {
            let flush = flush.clone();
            tasks.spawn(async move {
                for round in 0..30 {
                    let wanted: Arc<str> = format!("thing-{}", (caller + round) % 4).into();
                    let patience = std::time::Duration::from_micros(50 * (caller % 30));
                    // Cut off while it waits, or while it flies.
                    let _ = tokio::time::timeout(patience, ask(flush.clone(), wanted)).await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        // Otherwise this would never end.
        crowd(&flush, 10, 4).await;
    }
}
