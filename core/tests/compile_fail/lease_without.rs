//! A store without leases.
use std::time::Duration;

use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.leased_effect(store, "mail", &1, Duration::from_secs(5), async |_permit| {
        Ok(5)
    })
    .await
}

fn main() {}
