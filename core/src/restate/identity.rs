//! The key of a step: journaled as the result of a step of its own **before it is used**.
//!
//! # Why it is made like this
//! The key is the invocation id, the step's name, and an ordinal that differs for each step of the
//! invocation (two steps of one name never collide, in a loop say).
//!
//! - **Every attempt uses one key.** The SDK gives the result of a step only once the server has
//!   journaled it. An attempt that crashed before has used no key; one that comes after reads the
//!   same one. So does an invocation that is *restarted as new* from a later step: it has another
//!   id, but it keeps the journal's prefix, and with it the key. Computed anew, the key would be
//!   another one, and the effect would happen twice.
//! - **It is made from the invocation id, not at random.** An ingress key that is sent again after
//!   Restate has forgotten it (a day by default) leads to the same invocation id, so to the same
//!   key, and the store still remembers the effect. With another request, it is a mismatch.
//! - **The ordinal comes from the SDK**, which counts awakeables per invocation. Contexts have no
//!   place for a counter of ours, and one beside them would not know when an attempt begins.

use restate_sdk::errors::TerminalError;
use serde::{Deserialize, Serialize};

use super::{context::Journal, refusal::Journaled, step::Step};
pub(super) use crate::engine::key::derive;
use crate::{
    error::{Error, Result as StoreResult},
    fingerprint::Fingerprint,
    idempotency::Claim,
    names::IdempotencyKey,
};

/// What an effect is claimed with, in one entry of the journal.
#[derive(Serialize, Deserialize)]
struct Identity {
    key: IdempotencyKey,
    fingerprint: Fingerprint,
}

/// The claim of a step: its key, and the fingerprint of its request. Both are journaled before they
/// are used, also where the key is the caller's own: a later version of the handler may write one
/// field more, and a retry by it must not be a mismatch with what the first attempt committed.
pub(super) async fn claim<'ctx, C: Journal<'ctx>>(
    context: &C,
    step: &Step,
    fingerprint: StoreResult<Fingerprint>,
) -> Result<Claim, TerminalError> {
    let key = match step.key() {
        Some(key) => Ok(key.clone()),
        None => {
            let key = derive(context.invocation(), step.name(), &context.ordinal());
            IdempotencyKey::new(key).map_err(Error::from)
        }
    };
    let identity = fingerprint.and_then(|fingerprint| key.map(|key| Identity { key, fingerprint }));
    let Identity { key, fingerprint } = context
        .step(format!("{}/key", step.name()), || async {
            Journaled::from_answer(identity)
        })
        .await?
        .into_answer()?;
    Ok(Claim::new(key, fingerprint).with_retention(step.retention()))
}

/// The step's own key if it has one, otherwise the journaled one.
pub(super) async fn key<'ctx, C: Journal<'ctx>>(
    context: &C,
    step: &Step,
) -> Result<IdempotencyKey, TerminalError> {
    if let Some(key) = step.key() {
        return Ok(key.clone());
    }
    let key = derive(context.invocation(), step.name(), &context.ordinal());
    let journaled = context
        .step(format!("{}/key", step.name()), || async { Ok(key) })
        .await?;
    Ok(IdempotencyKey::new(journaled)?)
}
