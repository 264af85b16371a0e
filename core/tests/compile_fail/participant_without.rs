//! A participant that can't prepare.
use exactly_once_core::{DecisionRegister, IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<R: DecisionRegister, S: IdempotencyStore>(
    ctx: &Context<'_>,
    register: &R,
    store: S,
) -> Result<(), TerminalError> {
    ctx.two_phase(register, "order", &1, move |transaction| {
        transaction.participant("stock", &store, async |_tx| Ok(()))
    })
    .await
}

fn main() {}
