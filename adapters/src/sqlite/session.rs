//! An interactive transaction on the writer's thread: it has the write connection for itself until
//! it ends, is dropped, or has rested for too long.

use std::{sync::mpsc::RecvTimeoutError, time::Instant};

use exactly_once_core::{Error, ErrorKind, adapter::refusals};

use super::{
    connection::Purpose,
    error::{Failure, Phase, STORE, error},
    queue::{Call, Finish, KeyInUse, Message, Open, Ticket},
    staging::capture::Writes,
    turn::{held, in_progress},
    writer::WriterThread,
};

/// Numbers sessions, so that a late call of an earlier one is not taken for the current one's.
pub(super) type SessionId = u64;

struct Session {
    id: SessionId,
    purpose: Purpose,
    key: Option<KeyInUse>,
}

/// Whether the session goes on.
enum Next {
    GoOn,
    Over,
}

impl WriterThread {
    /// Begins an interactive transaction and serves it to its end.
    pub(super) fn run_session(&mut self, mut open: Box<dyn Open>) {
        if open.abandoned() {
            return;
        }
        let Ticket {
            operation,
            purpose,
            key,
            ..
        } = open.ticket().clone();
        self.last_session += 1;
        let id = self.last_session;
        let settings = self.settings.clone();
        let lane = match self.prepare_lane(purpose, Writes::Any) {
            Ok(lane) => lane,
            Err(failure) => {
                open.settle(Some(failure.error(operation)));
                return;
            }
        };
        let bench = lane.bench(&settings);
        let failure = bench
            .forget_row_id()
            .map_err(|source| lane.abandon(Failure::of(Phase::Statement, source)))
            .err();
        let fresh = failure.is_none() && open.run(&bench, id);
        let failure = failure.or_else(|| lane.check_open().err()).or_else(|| {
            // An answer leaves nothing open; the caller learns it only then.
            if fresh { None } else { lane.roll_back().err() }
        });
        let taken = open.settle(failure.as_ref().map(|failure| failure.error(operation)));
        if fresh && failure.is_none() {
            if taken {
                self.serve_session(&Session { id, purpose, key });
            } else {
                self.end(purpose);
            }
        }
    }

    fn serve_session(&mut self, session: &Session) {
        // Those that waited before it began; later ones are looked at when they come.
        self.settle_pending(|ticket| rival(session, ticket));
        let mut rest_until = Instant::now() + self.settings.idle_timeout;
        loop {
            self.settle_overdue(|ticket| overdue(session, ticket));
            let until = self
                .first_deadline()
                .map_or(rest_until, |first| first.min(rest_until));
            match self.receive(until) {
                Ok(Message::Session(id, call)) if id == session.id => {
                    if matches!(self.serve_call(session, call), Next::Over) {
                        return;
                    }
                    rest_until = Instant::now() + self.settings.idle_timeout;
                }
                Ok(Message::Session(_, stale)) => refuse_stale(stale),
                Ok(close @ Message::Close(_)) => {
                    // Before those that wait: none of them is begun.
                    self.serve_next(close);
                    return self.end(session.purpose);
                }
                Ok(waiting) => self.postpone_unless(waiting, |ticket| rival(session, ticket)),
                Err(RecvTimeoutError::Timeout) if Instant::now() < rest_until => {}
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("an idle transaction was rolled back");
                    return self.end(session.purpose);
                }
                Err(RecvTimeoutError::Disconnected) => return self.end(session.purpose),
            }
        }
    }

    fn serve_call(&mut self, session: &Session, call: Call) -> Next {
        let settings = self.settings.clone();
        let Ok(lane) = self.lane(session.purpose) else {
            refuse_stale(call);
            return Next::Over;
        };
        match call {
            Call::Step(step) => {
                if lane.connection.is_autocommit() {
                    let operation = step.operation();
                    step.refuse(lane.ended_by_itself().error(operation));
                } else {
                    step.run(&lane.bench(&settings));
                }
                Next::GoOn
            }
            Call::Finish(mut finish) => {
                let failure = finish_on(lane, &settings, finish.as_mut()).err();
                let operation = finish.operation();
                finish.settle(failure.map(|failure| failure.error(operation)));
                Next::Over
            }
            Call::Rollback(reply) => {
                self.end(session.purpose);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
                Next::Over
            }
        }
    }

    /// Rolls back whatever is open.
    fn end(&mut self, purpose: Purpose) {
        if let Ok(lane) = self.lane(purpose)
            && let Err(failure) = lane.roll_back()
        {
            tracing::error!(error = ?failure, "the transaction could not be rolled back");
        }
    }
}

fn same_key<'a>(session: &'a Session, ticket: &'a Ticket) -> Option<(&'a KeyInUse, &'a KeyInUse)> {
    session
        .key
        .as_ref()
        .zip(ticket.key.as_ref())
        .filter(|(held, asked)| held.same_key(asked))
}

/// The answer for one who wants the session's key for another request.
fn rival(session: &Session, ticket: &Ticket) -> Option<Error> {
    let (held, asked) = same_key(session, ticket)?;
    (held.fingerprint != asked.fingerprint).then(|| mismatch(ticket.operation))
}

/// The answer for one who has waited for too long.
fn overdue(session: &Session, ticket: &Ticket) -> Error {
    match same_key(session, ticket) {
        Some(_) => in_progress(ticket.operation),
        None => held(ticket.operation),
    }
}

fn finish_on(
    lane: &super::lane::Lane,
    settings: &super::settings::Settings,
    finish: &mut dyn Finish,
) -> Result<(), Failure> {
    let bench = lane.bench(settings);
    if lane.connection.is_autocommit() && finish.restarts() {
        // The work is undone already, and what is left to record needs none of it.
        lane.begin()?;
        super::transaction::mark_work(&bench, finish.operation()).map_err(Failure::of_error)?;
    }
    lane.check_open()?;
    if !finish.run(&bench) {
        lane.roll_back()?;
        return Ok(());
    }
    lane.commit()
}

fn mismatch(operation: &'static str) -> Error {
    refusals::mismatch(operation, STORE)
}

/// Answers a call of a session that has ended.
pub(super) fn refuse_stale(call: Call) {
    let failure = |operation| {
        error(
            ErrorKind::Busy,
            operation,
            "the transaction was rolled back before this call: it had rested for longer than the \
             idle timeout, or the store was closed",
        )
    };
    match call {
        Call::Step(step) => {
            let operation = step.operation();
            step.refuse(failure(operation));
        }
        Call::Finish(finish) => {
            let operation = finish.operation();
            finish.settle(Some(failure(operation)));
        }
        Call::Rollback(reply) => {
            if let Some(reply) = reply {
                let _ = reply.send(());
            }
        }
    }
}
