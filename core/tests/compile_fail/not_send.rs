//! Something that can't change threads is held across an await.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.execute_once(store, "charge", &1, async move |_tx| {
        let shared = std::rc::Rc::new(5);
        std::future::ready(()).await;
        Ok(*shared)
    })
    .await
}

fn main() {}
