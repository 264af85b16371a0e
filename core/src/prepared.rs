//! One participant's side of a two-phase commit.

use std::{fmt, future::Future, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    identity::{IDENTITY_BYTES, NamespaceIdentity, Participants},
    names::TransactionId,
    register::{Decision, DecisionRegister},
    time::Timestamp,
    transaction::Transactional,
};

/// SHA-256 over a [`TransactionId`]: what stores and registers key their records by.
///
/// An identifier of a prepared transaction has 199 bytes in PostgreSQL and can't be bound as a
/// parameter; a digest always fits and needs no quoting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionDigest([u8; 32]);

impl TransactionDigest {
    /// The digest of a transaction's name.
    #[must_use]
    pub fn of(transaction: &TransactionId) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/transaction/1");
        hash.update(transaction.as_str().as_bytes());
        Self(hash.finalize().into())
    }

    /// A digest that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TransactionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TransactionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionDigest({self})")
    }
}

/// What identifies a transaction to every participant, and to the register.
///
/// Name, request and both deadlines are fixed once, journaled, and the same on every retry. The
/// coordinator [completes](Self::entitled) it with the register and the set of participants. A
/// participation with another register or other participants is a *mismatch*, as one with another
/// request is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Participation {
    transaction: TransactionDigest,
    fingerprint: Fingerprint,
    not_after: Timestamp,
    forget_after: Timestamp,
    register: NamespaceIdentity,
    participants: Participants,
}

/// The bytes of a participation's [terms](Participation::terms).
pub const TERMS_BYTES: usize = 32 + 2 * IDENTITY_BYTES;

impl Participation {
    /// The transaction `name`, for the request behind `fingerprint`.
    ///
    /// `not_after` is the deadline to prepare and to decide commit. `forget_after` is when the
    /// records of its outcome may be removed: it must be later than any attempt can live. Both are
    /// compared with each **database's** clock.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `forget_after` is not after `not_after`.
    pub fn new(
        name: &TransactionId,
        fingerprint: Fingerprint,
        not_after: Timestamp,
        forget_after: Timestamp,
    ) -> Result<Self> {
        Self::from_digest(
            TransactionDigest::of(name),
            fingerprint,
            not_after,
            forget_after,
        )
    }

    /// As it was read back from a store, where only the digest is known.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_digest(
        transaction: TransactionDigest,
        fingerprint: Fingerprint,
        not_after: Timestamp,
        forget_after: Timestamp,
    ) -> Result<Self> {
        if forget_after <= not_after {
            return Err(Error::new(ErrorKind::Invalid, "participation", "core").with_message(
                "forget_after must be later than not_after: outcomes have to outlive every attempt",
            ));
        }
        Ok(Self {
            transaction,
            fingerprint,
            not_after,
            forget_after,
            register: NamespaceIdentity::NONE,
            participants: Participants::NONE,
        })
    }

    /// As it was read back from a store: its digest, its [terms](Self::terms) and both deadlines.
    ///
    /// # Errors
    /// As [`Self::new`]; [`ErrorKind::Invalid`] too for terms of another length.
    pub fn from_terms(
        transaction: TransactionDigest,
        terms: &[u8],
        not_after: Timestamp,
        forget_after: Timestamp,
    ) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "participation", "core")
                .with_message("the stored terms of a transaction have another length")
        };
        let (fingerprint, rest) = terms.split_first_chunk().ok_or_else(invalid)?;
        let (register, rest) = rest.split_first_chunk().ok_or_else(invalid)?;
        let participants = rest.try_into().map_err(|_| invalid())?;
        let fingerprint = Fingerprint::from_bytes(*fingerprint);
        Ok(
            Self::from_digest(transaction, fingerprint, not_after, forget_after)?.entitled(
                NamespaceIdentity::from_bytes(*register),
                Participants::from_digest(participants),
            ),
        )
    }

    /// With the register that decides it, and with the participants that write.
    ///
    /// [`TwoPhaseCommit`](crate::two_phase::TwoPhaseCommit) does this. A caller that drives
    /// participants by hand does it as well: a sweeper leaves alone what names no register, or
    /// another one than its own.
    #[must_use]
    pub fn entitled(self, register: NamespaceIdentity, participants: Participants) -> Self {
        Self {
            register,
            participants,
            ..self
        }
    }

    /// With the members of its participants, where these bytes of a register's row match its digest.
    #[must_use]
    pub fn with_named(self, members: &[u8]) -> Self {
        Self {
            participants: self.participants.with_named(members),
            ..self
        }
    }

    /// With the members of its participants, where they are
    /// [among these](Participants::with_named_among).
    #[must_use]
    pub fn with_named_among(self, known: impl IntoIterator<Item = NamespaceIdentity>) -> Self {
        Self {
            participants: self.participants.with_named_among(known),
            ..self
        }
    }

    /// What must be the same in every attempt, beside the deadlines: the fingerprint (32 bytes), the
    /// register's identity (16) and the digest of the participants (16).
    #[must_use]
    pub fn terms(&self) -> [u8; TERMS_BYTES] {
        let mut terms = [0; TERMS_BYTES];
        let parts = (self.fingerprint.as_bytes().iter())
            .chain(self.register.as_bytes())
            .chain(self.participants.digest());
        for (to, from) in terms.iter_mut().zip(parts) {
            *to = *from;
        }
        terms
    }

    /// The digest of the transaction's name.
    #[must_use]
    pub fn transaction(&self) -> &TransactionDigest {
        &self.transaction
    }

    /// What the transaction is to do.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The register that decides it; [none](NamespaceIdentity::NONE) before a coordinator has
    /// completed it.
    #[must_use]
    pub fn register(&self) -> &NamespaceIdentity {
        &self.register
    }

    /// Refuses a register that is not the one this transaction names; for adapters of registers.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration).
    pub fn check_register(
        &self,
        held: &NamespaceIdentity,
        operation: &'static str,
        store: &'static str,
    ) -> Result<()> {
        if self.register == *held || self.register == NamespaceIdentity::NONE {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::Configuration, operation, store).with_message(format!(
                "the transaction {} names the register {}, and this one is {held}: open the \
                 register that it names",
                self.transaction, self.register
            )),
        )
    }

    /// The participants that write.
    #[must_use]
    pub fn participants(&self) -> &Participants {
        &self.participants
    }

    /// The deadline to prepare and to decide commit.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When the records of its outcome may be removed.
    #[must_use]
    pub fn forget_after(&self) -> Timestamp {
        self.forget_after
    }
}

/// The answer to beginning a participant's work.
#[must_use = "a fresh transaction that is dropped is rolled back"]
pub enum BegunPrepared<Tx> {
    /// Do the work in this transaction, then [prepare](PreparedTransactions::prepare) it.
    Fresh(Tx),
    /// It is prepared already: vote yes. Found without waiting for its locks.
    AlreadyPrepared,
    /// It is committed already.
    AlreadyCommitted,
}

/// Without the transaction: a driver's handle need not be printable.
impl<Tx> fmt::Debug for BegunPrepared<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh(_) => "Fresh(..)",
            Self::AlreadyPrepared => "AlreadyPrepared",
            Self::AlreadyCommitted => "AlreadyCommitted",
        })
    }
}

/// Where a participant stands with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreparedStatus {
    /// Nothing is known: not prepared, and nothing was decided here.
    None,
    /// Prepared and in doubt.
    Prepared,
    /// Committed.
    Committed,
    /// Rolled back; it can never be prepared again.
    RolledBack,
    /// Its `forget_after` has passed and nothing is kept; **not** the same as rolled back.
    Forgotten,
}

/// A prepared transaction that waits for its decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubt {
    /// Which one it is, enough to commit or roll it back.
    pub participation: Participation,
    /// When it was prepared, by the store's clock, to the microsecond; the same by every handle on the
    /// store.
    pub prepared_at: Timestamp,
    /// For how long it has been in doubt, by the store's clock.
    pub age: Duration,
}

/// A page of transactions in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubtPage {
    /// In the order of their digests.
    pub entries: Vec<InDoubt>,
    /// What to pass as `after` for the next page; `None` on the last.
    pub next: Option<TransactionDigest>,
}

/// A participant in two-phase commits.
///
/// # Contract
/// To ensure correctness:
/// - **Idempotent in every state.** Any call may be repeated, at once or a year later, by the same
///   attempt or by a zombie beside it.
/// - **A marker inside the transaction, a tombstone outside.** The outcome row *committed* is
///   inserted first in the work's transaction, so it is visible exactly if that commits. Rollback
///   ends the prepared transaction and then inserts the row *rolled back*: its success proves that
///   nothing holds the marker, so that no zombie can still prepare. Without the tombstone, a zombie
///   prepares after the rollback and holds its locks for good.
/// - **The deadline is checked by the database's clock, after the marker is in.** Checked before,
///   an attempt could sleep between the two and prepare after the sweep.
/// - **Status asks first whether it is prepared, then, in a new statement, for the outcome.** The
///   other way round, or in one statement, a commit in between reads as rolled back.
/// - **Commit of an unknown transaction is never ok**; only its outcome row *committed* is.
/// - **After a yes, commit can't fail for the work's own reasons.** A staged participant therefore
///   reserves every row it touched, against everybody.
/// - **Absent after `forget_after` is *forgotten*, never rolled back.**
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't take part in a two-phase commit",
    label = "this store can't prepare",
    note = "use a store that can; a generic `S` needs the bound `S: PreparedTransactions`. In one database \
            alone, `execute_once` does it"
)]
pub trait PreparedTransactions: Transactional {
    /// Begins the work of one participant, with its marker.
    ///
    /// # Errors
    /// - [Rolled back](ErrorKind::RolledBack): it was rolled back, or the deadline has passed.
    /// - [Mismatch](ErrorKind::Mismatch): the transaction's name was used for another request, with
    ///   other deadlines, with another register or with other participants.
    /// - [Forgotten](ErrorKind::Forgotten): `forget_after` has passed.
    /// - [Busy](ErrorKind::Busy): another attempt is at it.
    /// - [Ambiguous](ErrorKind::Ambiguous): it is prepared or committed, and a failover may take that
    ///   back yet. Begin again.
    /// - [Unsupported](ErrorKind::Unsupported), [configuration](ErrorKind::Configuration).
    fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> impl Future<Output = Result<BegunPrepared<Self::Tx>>> + Send;

    /// Prepares: from now on commit can't fail for the work's own reasons.
    ///
    /// # Errors
    /// - [Rolled back](ErrorKind::RolledBack): the deadline has passed, or it was rolled back.
    /// - [Forgotten](ErrorKind::Forgotten): `forget_after` has passed.
    /// - [Refused](ErrorKind::Refused): the work can't be prepared (a deferred constraint, a
    ///   temporary table, NOTIFY, a table that can't be staged). Rolled back.
    /// - Whatever the user's statements swallowed. Rolled back.
    /// - [Busy](ErrorKind::Busy): no slot is free, or another attempt was faster. Rolled back, try
    ///   later.
    /// - [Reserved](ErrorKind::Reserved): another prepared transaction holds a row. Rolled back.
    /// - [Ambiguous](ErrorKind::Ambiguous): begin again; the answer says where it stands.
    fn prepare(
        &self,
        tx: Self::Tx,
        participation: &Participation,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Commits the work with its marker at once, without preparing: for the only participant of a
    /// transaction that writes.
    ///
    /// To ensure correctness, nothing is ever prepared on the way: a sweeper would find it, and
    /// propose rollback while this call commits.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), with [rolled back](ErrorKind::RolledBack) past the deadline.
    fn commit_alone(
        &self,
        tx: Self::Tx,
        participation: &Participation,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Commits what was prepared. Committing again is ok.
    ///
    /// # Errors
    /// - [Not prepared](ErrorKind::NotPrepared): nothing is known of it.
    /// - [Rolled back](ErrorKind::RolledBack), [forgotten](ErrorKind::Forgotten),
    ///   [mismatch](ErrorKind::Mismatch).
    /// - [Heuristic](ErrorKind::Heuristic): staged effects met foreign changes.
    /// - Retryable kinds.
    fn commit_prepared(
        &self,
        participation: &Participation,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Rolls back what was prepared, and leaves a tombstone, also where nothing was. Rolling back
    /// again is ok. What is still prepared past `forget_after` is rolled back as well.
    ///
    /// # Errors
    /// - [Committed](ErrorKind::Committed): it can't be rolled back any more.
    /// - [Forgotten](ErrorKind::Forgotten), [mismatch](ErrorKind::Mismatch).
    /// - [Busy](ErrorKind::Busy): an attempt still holds the marker; again.
    /// - Retryable kinds.
    fn rollback_prepared(
        &self,
        participation: &Participation,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Where it stands; never wrong, also while others commit or roll back.
    ///
    /// # Errors
    /// [Mismatch](ErrorKind::Mismatch); retryable kinds.
    fn prepared_status(
        &self,
        participation: &Participation,
    ) -> impl Future<Output = Result<PreparedStatus>> + Send;

    /// What is in doubt in this namespace, this database and by this library; nothing else.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a limit of zero; retryable kinds.
    fn in_doubt(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> impl Future<Output = Result<InDoubtPage>> + Send;

    /// Removes at most `limit` outcome records of this namespace whose `forget_after` has passed.
    /// Says how many. Never removes what is prepared.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a limit of zero; retryable kinds.
    fn forget_prepared(&self, limit: u32) -> impl Future<Output = Result<u64>> + Send;
}

/// A participant that holds the decision register, in the same namespace, and can therefore commit
/// its work and the decision in one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the last participant of a two-phase commit",
    label = "this store does not commit a decision together with its work",
    note = "use `participant` for this store; or make a store that holds the register the last one. A \
            generic `S` needs the bound `S: LastResource`"
)]
pub trait LastResource: PreparedTransactions + DecisionRegister {
    /// Commits the work, its marker and the decision *commit* at once, when all others have
    /// prepared; gives the decision that stands. *Commit* says that this participant has committed.
    ///
    /// To ensure correctness:
    /// - **Work, marker and decision become visible together**, in time by the register's clock.
    ///   Committed first, the work would stay where a sweeper has decided to roll back; decided
    ///   first, a crash would lose the work that the others count on.
    /// - **Where a decision stands already, nothing is committed.**
    /// - **After any other failure the decision is left open**, never written as *commit*.
    ///
    /// # Errors
    /// As [`prepare`](PreparedTransactions::prepare) and [`decide`](DecisionRegister::decide).
    fn commit_deciding(
        &self,
        tx: Self::Tx,
        participation: &Participation,
    ) -> impl Future<Output = Result<Decision>> + Send;
}
