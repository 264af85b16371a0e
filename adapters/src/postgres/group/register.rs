//! Decisions of several callers, and the marks that they are carried out: the statements of each one
//! by one, in one message and one commit.

use super::{
    Of, copy,
    named::Message,
    queue::{Flush, Queue, ask},
};
use crate::postgres::{
    driver::{Driver, DriverError, Reply},
    sqlstate,
};

/// How many batches there may be at once.
const BATCHES: usize = 2;

/// What is written into the register.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// The first decision.
    Decide,
    /// That it is carried out.
    Finish,
}

/// The parameters of one statement; they begin with the names of its row.
type Parameters = Vec<String>;

/// What the register says to a caller.
#[derive(Debug)]
pub(super) enum Entered {
    /// The reply to his statement, which is committed.
    Reply(Reply),
    /// It failed with the group, and may have been written.
    Failed(DriverError),
    /// Nothing is written: try alone.
    Alone,
}

/// Those who write into the register.
pub(super) struct Register {
    decide: Queue<Parameters, Entered>,
    finish: Queue<Parameters, Entered>,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            decide: Queue::new(BATCHES),
            finish: Queue::new(BATCHES),
        }
    }
}

struct Entering<D: Driver>(Of<D>, Entry);

impl<D: Driver> Clone for Entering<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1)
    }
}

impl<D: Driver> Flush for Entering<D> {
    type Job = Parameters;
    type Answer = Entered;

    fn queue(&self) -> &Queue<Parameters, Entered> {
        let register = &self.0.groups().register;
        match self.1 {
            Entry::Decide => &register.decide,
            Entry::Finish => &register.finish,
        }
    }

    async fn flush(&self, jobs: Vec<Parameters>) -> Vec<Entered> {
        // In one order for every group, so that no two wait for each other.
        let mut jobs: Vec<(usize, Parameters)> = jobs.into_iter().enumerate().collect();
        jobs.sort_by(|(_, one), (_, other)| one.cmp(other));
        let marks = &self.0.groups().marks;
        let mut message = Message::begin(marks.settings(self.1, jobs.len()));
        for (_, parameters) in &jobs {
            marks.enter(&mut message, self.1, parameters);
        }
        let mut told: Vec<(usize, Entered)> = match self.0.send(&message.commit()).await {
            // After BEGIN and the settings.
            Ok(replies) => {
                let mut replies = replies.into_iter().skip(2);
                let mut reply = || replies.next().map_or(Entered::Alone, Entered::Reply);
                jobs.into_iter().map(|(at, _)| (at, reply())).collect()
            }
            Err(failed) => {
                tracing::debug!(?failed, entries = jobs.len(), "a group of decisions failed");
                let nothing = jobs.len() > 1 && failed.code().is_some_and(sqlstate::surely_nothing);
                let tell = || match nothing {
                    true => Entered::Alone,
                    false => Entered::Failed(copy(&failed)),
                };
                jobs.into_iter().map(|(at, _)| (at, tell())).collect()
            }
        };
        told.sort_by_key(|(at, _)| *at);
        told.into_iter().map(|(_, entered)| entered).collect()
    }
}

impl<D: Driver> Of<D> {
    /// Writes into the register, together with others who come now. No reply where nothing can be
    /// said of it.
    pub(super) async fn enter(
        &self,
        entry: Entry,
        parameters: Parameters,
    ) -> Result<Option<Reply>, DriverError> {
        if self.shares_commits() {
            match ask(Entering(self.clone(), entry), parameters.clone()).await {
                Some(Entered::Reply(reply)) => return Ok(Some(reply)),
                Some(Entered::Failed(failed)) => return Err(failed),
                // What a batch that failed has written is found by the statement.
                Some(Entered::Alone) | None => {}
            }
        }
        let marks = &self.groups().marks;
        let mut message = Message::begin(marks.settings(entry, 1));
        marks.enter(&mut message, entry, &parameters);
        let replies = self.send(&message.commit()).await?;
        Ok(replies.into_iter().nth(2))
    }
}
