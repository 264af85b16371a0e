//! The coordinator: one transaction over several databases, all or none.
//!
//! Every participant prepares; a [decision register](crate::DecisionRegister) says commit or roll
//! back, once and for good; every participant receives the decision. A handler that crashes at any point is run
//! again by its durable engine and goes on where it stands; what a dead handler leaves is ended by
//! a [sweeper](Sweeper) once the deadline has passed.
//!
//! ```
//! # use exactly_once_core::{*, two_phase::{TwoPhaseCommit, TwoPhaseOutcome}};
//! # async fn order<P: PreparedTransactions, S: PreparedTransactions + DecisionRegister>(
//! #     orders: P, stock: S, participation: Participation) -> Result<()> {
//! let outcome = TwoPhaseCommit::new(&stock, participation)
//!     .participant("orders", &orders, async |tx| Ok(()) /* the user's own SQL */)
//!     .participant("stock", &stock, async |tx| Ok(()))
//!     .run()
//!     .await?;
//! assert!(matches!(outcome, TwoPhaseOutcome::Committed));
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect
//! - What is prepared is locked, or reserved, until the decision. A participant that finds a row
//!   held by another transaction answers *busy* or *reserved*, and the attempt is run again.
//! - Two transactions may hold what the other one waits for, each in another database; no database
//!   sees that. The deadline ends it: one is rolled back, without a refusal, and may be tried again
//!   under another name. Keep deadlines short where rows are contended.
//! - One store under two names is *invalid*, and nothing is begun.
//! - A single participant that writes commits in one phase, and the register is not asked. One that
//!   only reads is a [`reader`](TwoPhaseCommit::reader); the one that holds the register can commit
//!   [last](TwoPhaseCommit::last_participant), with the decision.
//!
//! # Who does what
//! | | prepares | decides | informs | ends what is left |
//! |---|---|---|---|---|
//! | coordinator (each attempt) | yes | proposes, obeys the register | yes | |
//! | register | | keeps the first proposal | | |
//! | sweeper | | proposes *rollback* past the deadline, obeys | yes | yes |
//! | participant | refuses past the deadline | | commits, or rolls back with a tombstone | |
//!
//! # Entitlement
//! The coordinator completes the [participation](crate::Participation::entitled) with the
//! [identity](crate::StoreIdentity) of the register and with the set of participants that write. Both stand
//! in each prepared transaction, in each outcome and in the decision. So an attempt with other
//! participants is a *mismatch* before any work, and a sweeper proves that it holds the register that
//! a transaction names before it acts on it.
//!
//! # Layout
//! - `machine`: the protocol as a pure state machine, which the real code drives and a model
//!   checker explores.
//! - `participant`: a store and its work, of any backend. `one_shot`: the same, with work that is known
//!   up front. `stores`: which participants can't go together. `votes`: what came of those that did
//!   not consent.
//! - `run`: drives the machine against real stores.
//! - `sweep`: ends what dead coordinators left; `turn`: one sweep; `swept`: a store that it looks
//!   after.

#[doc(hidden)]
pub mod machine;
mod one_shot;
mod participant;
mod ruling;
mod run;
mod stores;
mod sweep;
mod swept;
mod tell;
mod turn;
mod votes;

pub use run::{TwoPhaseCommit, TwoPhaseOutcome};
pub use stores::MAX_PARTICIPANTS;
pub use sweep::{Foreign, ForgetReport, SweepReport, Sweeper};
