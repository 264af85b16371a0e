//! Where a transaction stands at one participant or in the register, and what that means to the next
//! call.
//!
//! Two rules hold in all of them. What is known of a transaction's name is compared with the whole
//! participation before anything else. And a deadline holds at its very moment: late is *after*
//! `not_after`, and forgotten is *after* `forget_after`.

use crate::{
    dispute::Dispute,
    error::{Error, Result},
    one_shot_participant::PreparedOneShot,
    prepared::{BegunPrepared, Participation, PreparedStatus},
    refusals,
    register::{Decision, RegisterEntry, Settlement},
    time::Timestamp,
};

/// Where a transaction stands at a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An open transaction holds the marker, where a store can see that.
    Working,
    /// In doubt.
    Prepared,
    /// Committed.
    Committed,
    /// Rolled back, with a tombstone.
    RolledBack,
}

/// What a participant knows of a transaction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It was used for another participation.
    Another,
    /// Where this very participation stands.
    At(Stage),
}

impl Known {
    /// What is stored, if anything is, against what is asked for.
    #[must_use]
    pub fn of(stored: Option<(&Participation, Stage)>, asked: &Participation) -> Self {
        match stored {
            None => Self::Nothing,
            Some((stored, stage)) if stored == asked => Self::At(stage),
            Some(_) => Self::Another,
        }
    }
}

/// One call at one moment: what the rules need beside what is known.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which transaction.
    pub participation: &'a Participation,
    /// The store's clock.
    pub now: Timestamp,
    /// The operation, for errors.
    pub operation: &'static str,
    /// The backend, for errors.
    pub store: &'static str,
}

impl Asked<'_> {
    fn is_forgotten(&self) -> bool {
        self.now > self.participation.forget_after()
    }

    fn refuse<T>(&self, refusal: fn(&'static str, &'static str) -> Error) -> Result<T> {
        Err(refusal(self.operation, self.store))
    }

    /// Whether work may still begin, be prepared and be committed.
    ///
    /// # Errors
    /// [Forgotten](crate::ErrorKind::Forgotten), [rolled back](crate::ErrorKind::RolledBack).
    pub fn in_time(&self) -> Result<()> {
        if self.is_forgotten() {
            return self.refuse(refusals::forgotten);
        }
        if self.now > self.participation.not_after() {
            return self.refuse(refusals::late);
        }
        Ok(())
    }

    /// What an attempt finds that begins.
    ///
    /// # Errors
    /// As [`begin_prepared`](crate::PreparedTransactions::begin_prepared), refusals only.
    pub fn begin(&self, known: Known) -> Result<Begin> {
        match known {
            Known::Nothing => self.in_time().map(|()| Begin::Fresh),
            Known::Another => self.refuse(refusals::another_transaction),
            Known::At(Stage::Working) => self.refuse(refusals::at_work),
            Known::At(Stage::Prepared) => Ok(Begin::Prepared),
            Known::At(Stage::Committed) => Ok(Begin::Committed),
            Known::At(Stage::RolledBack) => self.refuse(refusals::rolled_back),
        }
    }

    /// Whether the work of an attempt that has begun may be prepared, or committed alone.
    ///
    /// # Errors
    /// As [`prepare`](crate::PreparedTransactions::prepare), refusals only.
    pub fn prepare(&self, known: Known) -> Result<()> {
        match known {
            Known::Nothing | Known::At(Stage::Working) => self.in_time(),
            Known::Another => self.refuse(refusals::another_transaction),
            Known::At(Stage::Prepared | Stage::Committed) => self.refuse(refusals::overtaken),
            Known::At(Stage::RolledBack) => self.refuse(refusals::rolled_back),
        }
    }

    /// What a commit finds.
    ///
    /// # Errors
    /// As [`commit_prepared`](crate::PreparedTransactions::commit_prepared), refusals only.
    pub fn commit(&self, known: Known) -> Result<Commit> {
        match known {
            Known::Nothing if self.is_forgotten() => self.refuse(refusals::forgotten),
            Known::Nothing | Known::At(Stage::Working) => self.refuse(refusals::not_prepared),
            Known::Another => self.refuse(refusals::another_transaction),
            Known::At(Stage::Prepared) => Ok(Commit::Apply),
            Known::At(Stage::Committed) => Ok(Commit::Done),
            Known::At(Stage::RolledBack) => self.refuse(refusals::rolled_back),
        }
    }

    /// What a rollback finds.
    ///
    /// # Errors
    /// As [`rollback_prepared`](crate::PreparedTransactions::rollback_prepared), refusals only.
    pub fn roll_back(&self, known: Known) -> Result<RollBack> {
        match known {
            Known::Nothing if self.is_forgotten() => self.refuse(refusals::forgotten),
            Known::Nothing => Ok(RollBack::Bury),
            Known::Another => self.refuse(refusals::another_transaction),
            Known::At(Stage::Working) => self.refuse(refusals::at_work),
            Known::At(Stage::Prepared) => Ok(RollBack::Undo),
            Known::At(Stage::Committed) => self.refuse(refusals::committed),
            Known::At(Stage::RolledBack) => Ok(RollBack::Done),
        }
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [Mismatch](crate::ErrorKind::Mismatch).
    pub fn status(&self, known: Known) -> Result<PreparedStatus> {
        Ok(match known {
            Known::Another => return self.refuse(refusals::another_transaction),
            Known::Nothing if self.is_forgotten() => PreparedStatus::Forgotten,
            Known::Nothing | Known::At(Stage::Working) => PreparedStatus::None,
            Known::At(Stage::Prepared) => PreparedStatus::Prepared,
            Known::At(Stage::Committed) => PreparedStatus::Committed,
            Known::At(Stage::RolledBack) => PreparedStatus::RolledBack,
        })
    }

    /// What a proposal finds in the register, where nothing stands: the decision to write.
    ///
    /// # Errors
    /// [Forgotten](crate::ErrorKind::Forgotten).
    pub fn decide(&self, proposal: Decision) -> Result<Decision> {
        if self.is_forgotten() {
            return self.refuse(refusals::forgotten);
        }
        // A commit that comes late is a rollback.
        let late = self.now > self.participation.not_after();
        Ok(if late { Decision::Rollback } else { proposal })
    }

    /// What the note finds that every participant has confirmed this decision.
    ///
    /// # Errors
    /// As [`finish`](crate::DecisionRegister::finish), refusals only.
    pub fn finish(&self, stands: Option<&RegisterEntry>, decision: Decision) -> Result<Note> {
        let entry = stands.ok_or_else(|| self.undecided())?;
        match &entry.settled {
            Some(settled) if settled.outcome == decision => return Ok(Note::Done),
            Some(settled) => {
                let (operation, store) = (self.operation, self.store);
                return Err(refusals::settled_otherwise(
                    settled.outcome,
                    operation,
                    store,
                ));
            }
            None => self.stands(entry, decision)?,
        }
        if !entry.disputes.is_empty() {
            return self.refuse(refusals::disputed);
        }
        Ok(if entry.finished {
            Note::Done
        } else {
            Note::Write
        })
    }

    /// What the note finds that a participant ended otherwise than was decided; the settlement, where
    /// there is one.
    ///
    /// # Errors
    /// As [`dispute`](crate::DecisionRegister::dispute), refusals only.
    pub fn dispute(
        &self,
        stands: Option<&RegisterEntry>,
        dispute: &Dispute,
    ) -> Result<(Note, Option<Settlement>)> {
        let entry = stands.ok_or_else(|| self.undecided())?;
        if entry.settled.is_some() {
            return Ok((Note::Done, entry.settled.clone()));
        }
        self.stands(entry, dispute.decision)?;
        let mut noted = entry.disputes.iter();
        let known = noted.any(|noted| noted.participant == dispute.participant);
        Ok((if known { Note::Done } else { Note::Write }, None))
    }

    /// Refuses a caller that has carried out another decision than stands.
    fn stands(&self, entry: &RegisterEntry, decision: Decision) -> Result<()> {
        if entry.decision == decision {
            return Ok(());
        }
        let (operation, store) = (self.operation, self.store);
        Err(refusals::decided_otherwise(
            entry.decision,
            decision,
            operation,
            store,
        ))
    }

    /// The refusal of a call that needs a decision, where nothing stands.
    #[must_use]
    pub fn undecided(&self) -> Error {
        let refusal = if self.is_forgotten() {
            refusals::forgotten
        } else {
            refusals::undecided
        };
        refusal(self.operation, self.store)
    }
}

/// What an attempt finds that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Begin {
    /// Nothing: do the work.
    Fresh,
    /// It is prepared already.
    Prepared,
    /// It is committed already.
    Committed,
}

impl Begin {
    /// The answer where there is no work to do.
    pub fn known<Tx>(self) -> Option<BegunPrepared<Tx>> {
        match self {
            Self::Fresh => None,
            Self::Prepared => Some(BegunPrepared::AlreadyPrepared),
            Self::Committed => Some(BegunPrepared::AlreadyCommitted),
        }
    }

    /// The same, of work that is known up front.
    #[must_use]
    pub fn known_one_shot(self) -> Option<PreparedOneShot> {
        match self {
            Self::Fresh => None,
            Self::Prepared => Some(PreparedOneShot::AlreadyPrepared),
            Self::Committed => Some(PreparedOneShot::AlreadyCommitted),
        }
    }
}

/// What a note finds in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Note {
    /// It is to be written.
    Write,
    /// It stands already, or an operator has settled the transaction.
    Done,
}

/// What a commit finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// It is prepared: apply it.
    Apply,
    /// It is committed already.
    Done,
}

/// What a rollback finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RollBack {
    /// It is prepared: undo it, and leave a tombstone.
    Undo,
    /// Nothing: leave a tombstone.
    Bury,
    /// It is rolled back already.
    Done,
}
