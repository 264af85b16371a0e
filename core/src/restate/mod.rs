//! The glue to `restate-sdk`: effects on a database that happen once, whatever crashes.
//!
//! [`ExactlyOnce`] adds methods to each of the SDK's five contexts. With it in scope:
//!
//! ```
//! use exactly_once_core::{
//!     AccountId, Adjust, Amount, BalanceTransaction, IdempotencyKey, IdempotencyStore, Rejection,
//!     restate::ExactlyOnce,
//! };
//! use restate_sdk::prelude::*;
//!
//! struct Till<S>(S);
//!
//! #[restate_sdk::service]
//! impl<S: BalanceTransaction + IdempotencyStore> Till<S> {
//!     #[handler]
//!     async fn charge(
//!         &self,
//!         ctx: Context<'_>,
//!         Json((payment, cents)): Json<(String, i64)>,
//!     ) -> Result<i64, TerminalError> {
//!         let (store, request) = (self.0.clone(), (payment.clone(), cents));
//!         let left = ctx
//!             .execute_once(&self.0, "charge", &request, async move |tx| {
//!                 if cents <= 0 {
//!                     return Err(Rejection::new(422, "a charge must be above zero").into());
//!                 }
//!                 // …your own statements in `tx`, and in the same transaction:
//!                 let key = IdempotencyKey::new(format!("debit/{payment}"))?;
//!                 let debit = Adjust::new(key, AccountId::new("alice")?, -Amount::new(cents));
//!                 Ok(store.adjust_in(tx, &debit).await?.change.after)
//!             })
//!             .await?;
//!         Ok(left.get())
//!     }
//! }
//! ```
//!
//! # How a step runs
//! 1. **Identity.** A step `charge/key` journals the idempotency key and the request's fingerprint;
//!    only then are they used. A version of the handler that is deployed meanwhile may build another
//!    request: the retry is still the same effect.
//! 2. **Effect.** A step `charge` calls the store with that key, and journals the answer: the
//!    value, or the refusal, so that a retry sees the same refusal.
//!
//! A crash between commit and journal runs the second step again; the store answers it from the
//! receipt that was committed with the effect.
//!
//! # Errors
//! What the store [advises](crate::ErrorKind::advice) decides, and nothing else:
//!
//! | the store says | Restate gets |
//! |---|---|
//! | stop, alarm | a terminal error with the HTTP status; journaled; [`Refusal`](crate::engine::Refusal) reads it back |
//! | retry, retry with the same key | a retryable error: the engine tries again, with the same key |
//! | fix | a retryable error too: fix the configuration, or deploy the program that reads the receipt, and the invocation goes on |
//!
//! No step here has a bounded retry policy: one that gives up turns *ambiguous* into a terminal
//! error although the effect may be committed.
//!
//! A cancelled invocation gets a terminal error 409 from the SDK at its next await, and **cancelled
//! does not mean not applied**. A conflict is 409 too; [`Refusal::of`](crate::engine::Refusal::of) distinguishes them.
//!
//! # Rules
//! - Await one step before you make the next: the SDK can't run two side by side, and the second is
//!   refused.
//! - The work owns what it uses; it may outlive the handler's borrows.
//! - A function over any engine can be called by a handler, and be tested without a server: see
//!   [`crate::engine::script`].
//!
//! # Layout
//! What does not depend on the engine is in [`crate::engine`]: every form of effect, and the entries
//! of the journal behind it. Here:
//! - `exactly_once`: the trait that handlers use.
//! - `context`: what is needed of a context; the one place that names the five types.
//! - `engine`: the contexts as an engine.
//! - `identity`, `alone`: the key of a step, and that there is one step at a time.
//! - `refusal`: what becomes terminal, and how it is read back.
//! - `listener`: serving with `TCP_NODELAY` and an orderly end.
//! - [`services`]: services to bind as they are: key expiry, the sweeper, an account.

mod alone;
mod context;
mod engine;
mod exactly_once;
mod identity;
mod listener;
mod refusal;
pub mod services;

pub use engine::Restate;
pub use exactly_once::ExactlyOnce;
pub use listener::{Listener, serve, shutdown_signal};
