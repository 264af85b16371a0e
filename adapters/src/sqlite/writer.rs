//! The one thread that writes: it owns the write connections and commits effects in groups.
//!
//! While one group commits the next one gathers in the queue, so that many callers share
//! one sync of the disk and a lone caller waits for no other. An interactive transaction has the
//! thread for itself until it ends (see [`session`](super::session)).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Instant,
};

use exactly_once_core::{Error, ErrorKind, Place, Result};
use tokio::sync::oneshot;

use super::{
    connection::{Access, Connector, Purpose},
    error::{Failure, Phase, error},
    file::OpenFile,
    gate::Gate,
    lane::Lane,
    queue::{Job, Message, Ticket, closed},
    schema,
    session::{SessionId, refuse_stale},
    settings::Settings,
    staging::capture::{self, Writes},
    turn::{Hold, check_free, serve_here},
};

/// The way to the writer's thread; the thread ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    sender: Sender<Message>,
    hold: Arc<Hold>,
    /// Which file it writes.
    place: Place,
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl Writer {
    /// Starts the thread, which opens and migrates the file first.
    pub(super) async fn start(
        connector: Connector,
        settings: Arc<Settings>,
        gate: Gate,
    ) -> Result<Self> {
        let (sender, receiver) = channel();
        let (ready, opened) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let limit = settings.queue_limit;
        let hold = Arc::<Hold>::default();
        let (counter, held) = (waiting.clone(), hold.clone());
        std::thread::Builder::new()
            .name("exactly-once-sqlite-writer".to_owned())
            .spawn(move || {
                let mut thread = WriterThread {
                    receiver,
                    waiting: counter,
                    hold: held,
                    gate,
                    file: None,
                    log_rests_until: None,
                    pending: VecDeque::new(),
                    lanes: HashMap::new(),
                    connector,
                    settings,
                    last_session: SessionId::default(),
                };
                let opened = thread.open();
                let is_open = opened.is_ok();
                if let Ok(place) = &opened {
                    serve_here(place.clone());
                }
                if ready.send(opened).is_ok() && is_open {
                    thread.serve();
                    thread.end_lanes();
                }
            })
            .map_err(|source| {
                error(ErrorKind::Unavailable, "open", "no thread could be started")
                    .with_source(source)
            })?;
        let gone = |_| error(ErrorKind::Unavailable, "open", "the writer's thread ended");
        let place = opened.await.map_err(gone)??;
        Ok(Self {
            sender,
            hold,
            place,
            waiting,
            limit,
        })
    }

    /// Whether an interactive transaction has the writer just now; only a hint.
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Which file it writes.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Puts a call that has to wait for its turn into the queue.
    pub(super) fn enqueue(&self, operation: &'static str, message: Message) -> Result<()> {
        check_free(&self.place, operation)?;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(error(
                ErrorKind::Busy,
                operation,
                format!("{} calls wait for the writer already", self.limit),
            ));
        }
        self.send(operation, message)
    }

    /// Sends a call of an open session.
    pub(super) fn send(&self, operation: &'static str, message: Message) -> Result<()> {
        self.sender
            .send(message)
            .map_err(|_| closed().error(operation))
    }
}

/// The error of a call whose writer died under it; only a panic in this crate can do that.
pub(super) fn lost(operation: &'static str) -> Error {
    error(
        ErrorKind::Ambiguous,
        operation,
        "the writer's thread ended while it had the call: ask again with the same key",
    )
}

pub(super) struct WriterThread {
    receiver: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    hold: Arc<Hold>,
    pub(super) gate: Gate,
    /// The file, once it is open.
    pub(super) file: Option<OpenFile>,
    /// Until when a log that a reader keeps long is left alone.
    pub(super) log_rests_until: Option<Instant>,
    /// Taken from the queue, but not begun.
    pending: VecDeque<Message>,
    pub(super) lanes: HashMap<Purpose, Lane>,
    pub(super) connector: Connector,
    pub(super) settings: Arc<Settings>,
    pub(super) last_session: SessionId,
}

impl WriterThread {
    fn open(&mut self) -> Result<Place> {
        // Before SQLite looks for a log beside this name.
        if self.connector.path.exists() {
            OpenFile::at(&self.connector.path)?;
        }
        if self.connector.access != Access::Create {
            // Before anything is set in a file that may be another program's.
            schema::check_current(&self.connector.connect(Purpose::Read)?)?;
        }
        let connection = self.connector.connect(Purpose::Write)?;
        if self.connector.access == Access::Create {
            schema::migrate(&connection)?;
        }
        let file = OpenFile::at(&self.connector.path)?;
        self.file = Some(file.clone());
        let lane = Lane::new(connection, None, self.hold.clone(), file.clone())
            .map_err(|source| super::error::map("open", Phase::Open, source))?;
        self.lanes.insert(Purpose::Write, lane);
        Ok(file.place())
    }

    /// The connection for this purpose, opened when it is first needed.
    pub(super) fn lane(&mut self, purpose: Purpose) -> Result<&Lane, Failure> {
        let entry = match self.lanes.entry(purpose) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(slot) => {
                let file = match &self.file {
                    Some(file) => file.clone(),
                    None => OpenFile::at(&self.connector.path).map_err(Failure::of_error)?,
                };
                let connect = |purpose| self.connector.connect(purpose).map_err(Failure::of_error);
                // Opened by its name, which may lead to another file by now.
                file.check()?;
                let connection = connect(purpose)?;
                let checker = match purpose {
                    Purpose::Stage => Some(connect(Purpose::Apply)?),
                    _ => None,
                };
                file.check()?;
                let lane = Lane::new(connection, checker, self.hold.clone(), file)
                    .map_err(|source| Failure::of(Phase::Open, source))?;
                slot.insert(lane)
            }
        };
        Ok(entry)
    }

    fn serve(&mut self) {
        while let Some(message) = self.next() {
            match message {
                Message::Job(job) => {
                    let group = self.gather(job);
                    self.run_group(group);
                    self.keep_log_short(false);
                }
                Message::Open(open) => {
                    self.hold.begin_session(open.ticket().key.clone());
                    self.run_session(open);
                    let full = self.lanes.values().any(|lane| lane.guard.take_disk_end());
                    self.keep_log_short(full);
                    self.hold.end_session();
                }
                Message::Session(_, call) => refuse_stale(call),
                Message::Close(closing) => return self.close(closing),
            }
        }
    }

    fn next(&mut self) -> Option<Message> {
        let message = match self.pending.pop_front() {
            Some(message) => message,
            None => self.receiver.recv().ok()?,
        };
        if matches!(message, Message::Job(_) | Message::Open(_)) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Some(message)
    }

    pub(super) fn try_next(&mut self) -> Option<Message> {
        if let Some(message) = self.pending.pop_front() {
            return Some(message);
        }
        self.receiver.try_recv().ok()
    }

    /// The next message before `until`, straight from the queue; for a session's own loop.
    pub(super) fn receive(&mut self, until: Instant) -> Result<Message, RecvTimeoutError> {
        let wait = until.saturating_duration_since(Instant::now());
        self.receiver.recv_timeout(wait)
    }

    /// Puts a message before all that wait.
    pub(super) fn serve_next(&mut self, message: Message) {
        self.pending.push_front(message);
    }

    /// Keeps a message until the session has ended.
    fn postpone(&mut self, message: Message) {
        self.pending.push_back(message);
    }

    /// Keeps a message, unless it is answered at once.
    pub(super) fn postpone_unless(
        &mut self,
        message: Message,
        answer: impl Fn(&Ticket) -> Option<Error>,
    ) {
        match ticket(&message).and_then(answer) {
            Some(failure) => self.turn_away(message, failure),
            None => self.postpone(message),
        }
    }

    /// When the first of the waiting calls reaches its limit.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.pending
            .iter()
            .filter_map(ticket)
            .map(|ticket| ticket.deadline)
            .min()
    }

    /// Answers those whose deadline has passed.
    pub(super) fn settle_overdue(&mut self, answer: impl Fn(&Ticket) -> Error) {
        let now = Instant::now();
        if self.first_deadline().is_some_and(|first| first <= now) {
            self.settle_pending(|ticket| (ticket.deadline <= now).then(|| answer(ticket)));
        }
    }

    /// Answers those of the waiting that `answer` has an answer for.
    pub(super) fn settle_pending(&mut self, answer: impl Fn(&Ticket) -> Option<Error>) {
        for message in std::mem::take(&mut self.pending) {
            self.postpone_unless(message, &answer);
        }
    }

    fn turn_away(&self, message: Message, failure: Error) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        refuse(message, failure);
    }

    /// The jobs that are there, up to the limit and as far as they use the same connection.
    fn gather(&mut self, first: Box<dyn Job>) -> Vec<Box<dyn Job>> {
        let purpose = first.ticket().purpose;
        let mut group = vec![first];
        let mut idle_rounds = 0;
        while group.len() < self.settings.group_limit {
            match self.try_next() {
                Some(Message::Job(job)) if job.ticket().purpose == purpose => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    group.push(job);
                    idle_rounds = 0;
                }
                Some(other) => {
                    self.pending.push_front(other);
                    break;
                }
                // Callers that were just answered may be about to send their next call: two short
                // looks cost a lone caller nothing and halve the syncs of eight.
                None if idle_rounds < 2 => {
                    idle_rounds += 1;
                    std::thread::yield_now();
                }
                None => break,
            }
        }
        group.retain(|job| !job.abandoned());
        group
    }

    /// The connection in the state that its purpose needs, in a transaction.
    pub(super) fn prepare_lane(
        &mut self,
        purpose: Purpose,
        writes: Writes<'_>,
    ) -> Result<&Lane, Failure> {
        let lane = self.lane(purpose)?;
        if purpose == Purpose::Stage {
            capture::begin(lane, writes)?;
        } else {
            lane.begin()?;
        }
        Ok(lane)
    }
}

pub(super) fn ticket(message: &Message) -> Option<&Ticket> {
    match message {
        Message::Job(job) => Some(job.ticket()),
        Message::Open(open) => Some(open.ticket()),
        Message::Session(..) | Message::Close(_) => None,
    }
}

pub(super) fn refuse(message: Message, failure: Error) {
    match message {
        Message::Job(job) => job.settle(Some(failure)),
        Message::Open(open) => {
            open.settle(Some(failure));
        }
        Message::Session(_, call) => refuse_stale(call),
        Message::Close(_) => {}
    }
}
