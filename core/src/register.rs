//! The decision register: the one place that says whether a transaction commits.
//!
//! It is a table in one of the stores, and not a virtual object of Restate. Such an object would keep
//! the first value, which is all that atomicity rests on. But it has no clock of its own (a handler
//! reads that of the machine it happens to run on, so *too late* would be said by a client); what is
//! unfinished could be listed only by the admin interface, or by one more object that all
//! transactions queue for; and it is asked over HTTP, some five milliseconds a call where a table
//! takes one trip, and where the last participant commits with the decision, none.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::{
    dispute::Dispute,
    error::{Error, ErrorKind, Result},
    prepared::{Participation, TransactionDigest},
    store::Store,
    time::Timestamp,
};

/// Commit or roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// All participants commit.
    Commit,
    /// All participants roll back.
    Rollback,
}

impl Decision {
    /// One stable word, for storing.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }

    /// The decision with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Commit, Self::Rollback]
            .into_iter()
            .find(|decision| decision.as_str() == word)
    }
}

/// What the register holds of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterEntry {
    /// Which one.
    pub participation: Participation,
    /// What was decided, for good.
    pub decision: Decision,
    /// Whether every participant has confirmed it, or it was settled.
    pub finished: bool,
    /// Which participants ended otherwise than was decided, as far as was noted.
    pub disputes: Vec<Dispute>,
    /// How an operator settled it, if participants ended otherwise than was decided.
    pub settled: Option<Settlement>,
}

impl RegisterEntry {
    /// What each caller carries out: the settlement's outcome where there is one, otherwise the decision.
    #[must_use]
    pub fn in_force(&self) -> Decision {
        self.settled
            .as_ref()
            .map_or(self.decision, |settled| settled.outcome)
    }
}

/// How an operator settled a transaction whose participants did not all end as was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// How the transaction counts as ended. What is still in doubt at a participant is ended so.
    pub outcome: Decision,
    /// The operator.
    pub by: String,
    /// The reason, for those that read it later.
    pub reason: String,
    /// When, by the register's clock.
    pub at: Timestamp,
}

/// The longest `by` and `reason` of a [`Settlement`], in bytes.
pub const MAX_SETTLEMENT_BYTES: usize = 1_024;

impl Settlement {
    /// A settlement now, by the register's clock; write it with [`DecisionRegister::settle`].
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) where the operator or the reason is empty or longer than
    /// [`MAX_SETTLEMENT_BYTES`]; as [`Store::now`].
    pub async fn now<R: DecisionRegister>(
        register: &R,
        outcome: Decision,
        by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Self> {
        let (by, reason) = (by.into(), reason.into());
        for (what, text) in [("operator", &by), ("reason", &reason)] {
            if text.trim().is_empty() || text.len() > MAX_SETTLEMENT_BYTES {
                return Err(Error::new(ErrorKind::Invalid, "settle", register.backend())
                    .with_message(format!(
                        "the {what} of a settlement has {} bytes; it needs 1 to \
                             {MAX_SETTLEMENT_BYTES}",
                        text.len()
                    )));
            }
        }
        let at = register.now().await?;
        Ok(Self {
            outcome,
            by,
            reason,
            at,
        })
    }

    /// As one text, for an adapter's row.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!({
            "outcome": self.outcome.as_str(),
            "by": self.by,
            "reason": self.reason,
            "at": self.at.as_micros(),
        })
        .to_string()
    }

    /// From [`Self::to_text`]; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(Self {
            outcome: Decision::parse(value.get("outcome")?.as_str()?)?,
            by: value.get("by")?.as_str()?.to_owned(),
            reason: value.get("reason")?.as_str()?.to_owned(),
            at: Timestamp::from_micros(value.get("at")?.as_i64()?),
        })
    }
}

/// A page of register entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterPage {
    /// In the order of their digests.
    pub entries: Vec<RegisterEntry>,
    /// What to pass as `after` for the next page; `None` on the last.
    pub next: Option<TransactionDigest>,
}

/// Decisions, written once.
///
/// # Contract
/// To ensure correctness:
/// - **The first writer wins, and the value read back is the decision**, for the coordinator, its
///   zombies and the sweeper alike. If the last writer won, a sweeper could roll back at one
///   participant what a coordinator has committed at another.
/// - **After a [settlement](Self::settle) the answer is [its outcome](RegisterEntry::in_force)**, and the
///   row is kept for good. Otherwise a late attempt, or a sweeper for which the row was forgotten, would
///   end what is still in doubt against the operator's word.
/// - **A commit that arrives after `not_after` becomes a rollback**, by the register's own clock.
///   Otherwise a late coordinator could commit while the sweeper, seeing nothing, rolls back.
/// - **A commit decision is removed only when finished and past `forget_after`**, and a settled or
///   disputed decision never.
/// - **[`finish`](Self::finish) finishes the decision that it names, and no other.** A register that is
///   restored under a running coordinator has lost its decision, and may have decided otherwise since:
///   finished without a look, what is in doubt under the new decision would never be resolved.
/// - **A disputed decision is not finished until it is [settled](Self::settle).** Otherwise the alarm
///   would end by itself, once the records are removed that prove that something is wrong.
/// - **After `forget_after` nothing is written**: the answer is *forgotten*.
/// - **A decision is kept with the participants that its proposal names**
///   ([`Participants::to_bytes`](crate::Participants::to_bytes)), and reads back with them. Without
///   them a sweeper that knows only a part would finish it, and the rest would be rolled back once
///   the decision is forgotten.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't keep the decisions of two-phase commits",
    label = "this is no decision register",
    note = "hand over the store that shall keep them; a generic `R` needs the bound `R: DecisionRegister`"
)]
pub trait DecisionRegister: Store {
    /// Proposes a decision; gives the one that stands.
    ///
    /// # Errors
    /// [Forgotten](crate::ErrorKind::Forgotten), [mismatch](crate::ErrorKind::Mismatch); retryable
    /// kinds ([ambiguous](crate::ErrorKind::Ambiguous): propose again, the first value stands).
    fn decide(
        &self,
        participation: &Participation,
        proposal: Decision,
    ) -> impl Future<Output = Result<Decision>> + Send;

    /// What stands, if anything does.
    ///
    /// # Errors
    /// [Mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn decision(
        &self,
        participation: &Participation,
    ) -> impl Future<Output = Result<Option<RegisterEntry>>> + Send;

    /// What stands under this transaction's digest, whatever its terms; for operators.
    ///
    /// # Errors
    /// Retryable kinds.
    fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> impl Future<Output = Result<Option<RegisterEntry>>> + Send;

    /// Notes that a participant ended otherwise than was decided; the first note of each participant
    /// stands. Returns the settlement where the transaction was settled: then nothing is noted.
    ///
    /// # Errors
    /// [Heuristic](crate::ErrorKind::Heuristic) where another decision stands than the dispute names;
    /// [not prepared](crate::ErrorKind::NotPrepared) where none does,
    /// [forgotten](crate::ErrorKind::Forgotten) where that is not known any more;
    /// [mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> impl Future<Output = Result<Option<Settlement>>> + Send;

    /// Records how an operator settled a decision that participants did not obey, and finishes it.
    /// Returns the settlement that stands: the first one.
    ///
    /// # Errors
    /// [Not prepared](crate::ErrorKind::NotPrepared) where nothing was decided,
    /// [forgotten](crate::ErrorKind::Forgotten) where that is not known any more;
    /// [mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> impl Future<Output = Result<Settlement>> + Send;

    /// Notes that every participant has confirmed this decision. Idempotent.
    ///
    /// The note may be lost with the server's crash: then the decision is carried out once more, which
    /// changes nothing. So a store need not wait for its disk.
    ///
    /// # Errors
    /// [Heuristic](crate::ErrorKind::Heuristic) where the other decision stands, or the decision is
    /// disputed; [busy](crate::ErrorKind::Busy) where it was settled otherwise: a retry gets that outcome.
    /// [Not prepared](crate::ErrorKind::NotPrepared) where nothing was decided,
    /// [forgotten](crate::ErrorKind::Forgotten) where that is not known any more;
    /// [mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn finish(
        &self,
        participation: &Participation,
        decision: Decision,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Decisions that not every participant has confirmed yet, and those that are disputed.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a limit of zero; retryable kinds.
    fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> impl Future<Output = Result<RegisterPage>> + Send;

    /// Removes at most `limit` decisions of this namespace that are past `forget_after` and neither
    /// settled nor disputed, commits only if finished. Says how many.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a limit of zero; retryable kinds.
    fn forget_decisions(&self, limit: u32) -> impl Future<Output = Result<u64>> + Send;
}

/// Refuses a limit of zero; for adapters.
///
/// # Errors
/// [Invalid](crate::ErrorKind::Invalid).
pub fn check_limit(limit: u32, operation: &'static str, store: &'static str) -> Result<u32> {
    if limit > 0 {
        return Ok(limit);
    }
    Err(Error::new(ErrorKind::Invalid, operation, store)
        .with_message("a limit of zero does nothing: it must be at least 1"))
}
