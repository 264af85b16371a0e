//! The sweeper: ends what dead coordinators left in doubt, once the deadline has passed.

use super::{
    participant::check_two_phase,
    swept::{Known, Swept},
    turn::Turn,
};
use crate::{
    error::{Error, ErrorKind, Result},
    identity::{NamespaceIdentity, identity_of},
    prepared::{Participation, PreparedTransactions, TransactionDigest},
    register::DecisionRegister,
};

/// Ends transactions that are in doubt past their deadline, at any number of participants.
///
/// It may run anywhere, in any number, and crash at any point: it only proposes *rollback* to the
/// register, obeys what stands there, and informs the participants, and each of these steps may be
/// repeated. Before its deadline it leaves a transaction alone.
///
/// # What it is entitled to
/// - It acts on a transaction only if it holds the register that the transaction names. Others are
///   left alone and [reported](SweepReport::foreign).
/// - It finishes a commit only if every participant that the decision names confirms it. A sweeper
///   that knows a part commits that part; one that knows more stores than took part asks only those
///   that did.
/// - A store that is away holds up only the transactions that it takes part in.
pub struct Sweeper<R> {
    pub(super) register: R,
    pub(super) participants: Vec<Box<dyn Swept>>,
}

/// What a sweep did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// In doubt, but not past the deadline: left alone.
    pub waiting: u64,
    /// Participants that were committed, as had been decided.
    pub committed: u64,
    /// Participants that were rolled back.
    pub rolled_back: u64,
    /// Transactions of another register: left alone. A sweeper that holds it resolves them.
    pub foreign: Vec<Foreign>,
    /// Decisions that stay unfinished, with the participant that has not confirmed: one that lost the
    /// transaction, ended it otherwise, or is not known to this sweeper or away.
    pub unfinished: Vec<(TransactionDigest, String)>,
    /// What needs an operator: heuristic outcomes and losses. They are reported by each sweep until
    /// they are [settled](DecisionRegister::settle).
    pub alarms: Vec<Error>,
    /// What could not be done now; the next sweep tries again.
    pub failed: Vec<Error>,
}

/// A transaction that names another register than the one a sweeper holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// Which transaction.
    pub transaction: TransactionDigest,
    /// The participant at which it is in doubt, by the sweeper's name for it.
    pub participant: String,
    /// The register that it names.
    pub register: NamespaceIdentity,
}

/// What [`Sweeper::forget`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ForgetReport {
    /// How many records it removed.
    pub removed: u64,
    /// Where records could not be removed now.
    pub failed: Vec<Error>,
}

impl<R: DecisionRegister> Sweeper<R> {
    /// A sweeper over the register that the coordinators use.
    pub fn new(register: R) -> Self {
        Self {
            register,
            participants: Vec::new(),
        }
    }

    /// With one more participant to look after.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a name that stands already;
    /// [unsupported](ErrorKind::Unsupported) for a store without two-phase commit.
    pub fn participant<S>(mut self, name: impl Into<String>, store: S) -> Result<Self>
    where
        S: PreparedTransactions,
    {
        let name = name.into();
        check_two_phase(&store, &name)?;
        if self.participants.iter().any(|other| other.name() == name) {
            return Err(Error::new(ErrorKind::Invalid, "sweep", "core")
                .with_message(format!("the participant {name:?} stands twice")));
        }
        self.participants.push(Box::new(Known { name, store }));
        Ok(self)
    }

    /// Sweeps once, over all participants and all that the register holds unfinished.
    ///
    /// # Errors
    /// Where the register's identity can't be read: then nothing is proven, and nothing is done. Nor
    /// is anything where a participant has that identity at another place, since one of the two is a
    /// restored copy; the report says so. What else fails at a participant or for one transaction is
    /// in the report, and keeps no other from being swept.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let held = identity_of(&self.register).await?;
        let mut turn = Turn::new(self, held);
        if turn.meet().await {
            for index in 0..self.participants.len() {
                turn.sweep_participant(index).await;
            }
            turn.sweep_register().await;
        }
        Ok(turn.report)
    }

    /// Resolves one transaction, as [`Self::sweep`] would: if it names this sweeper's register, and is
    /// past its deadline by the register's clock. Otherwise it is reported as foreign or waiting.
    ///
    /// # Errors
    /// As [`Self::sweep`], and where the register's clock can't be read.
    pub async fn resolve(&self, participation: &Participation) -> Result<SweepReport> {
        let held = identity_of(&self.register).await?;
        let late = self.register.now().await? > participation.not_after();
        let mut turn = Turn::new(self, held);
        if !late {
            turn.report.waiting = 1;
        } else if turn.meet().await {
            turn.sweep_known(participation.clone()).await;
        }
        Ok(turn.report)
    }

    /// Removes the records of transactions that are past `forget_after`: at most `limit` at every
    /// participant, and in the register. A store that is away keeps no other from being cleaned.
    pub async fn forget(&self, limit: u32) -> ForgetReport {
        let mut report = ForgetReport::default();
        let mut note = |removed: Result<u64>| match removed {
            Ok(removed) => report.removed += removed,
            Err(error) => report.failed.push(error),
        };
        for participant in &self.participants {
            note(participant.forget(limit).await);
        }
        note(self.register.forget_decisions(limit).await);
        report
    }
}
