//! The methods of `ExactlyOnce` compile in the handlers of each of the five contexts, on generic
//! and erased stores, and through generic helpers. What they do is tested on the real server, in
//! `examples/payments`: the SDK's contexts are sealed and can't be mocked.
#![cfg(feature = "restate")]
// The SDK generates clients without documentation.
#![allow(missing_docs)]

use std::time::Duration;

use exactly_once_core::{
    AccountId, Adjust, Amount, AnyStore, BalanceTransaction, Expected, IdempotencyKey, LeaseStore,
    Leg, OneShotStore, Rejection, Statement, Version,
    engine::{Effect, Refusal, Step},
    restate::ExactlyOnce,
};
use restate_sdk::prelude::*;

/// All that a handler may do, in a helper that is generic over the context and the store.
async fn everything<'ctx, C, S>(ctx: &C, store: &S, amount: i64) -> Result<i64, TerminalError>
where
    C: ExactlyOnce<'ctx>,
    S: OneShotStore + LeaseStore + BalanceTransaction,
{
    let alice = AccountId::new("alice")?;
    let delta = Amount::new(amount);
    ctx.open_account(store, "open", &alice, delta).await?;
    ctx.adjust(store, "adjust", &alice, delta).await?;
    ctx.compare_and_set(store, "set", &alice, Expected::Any, delta)
        .await?;
    let options = |key| Adjust::new(key, alice.clone(), delta).expecting(Version::FIRST);
    ctx.balance_operation(store, "adjust with options", options)
        .await?;
    let legs = vec![Leg {
        account: alice.clone(),
        delta,
    }];
    match ctx.transfer(store, "transfer", legs).await {
        Err(error) if Refusal::of(&error).is_some() => {}
        other => drop(other?),
    }
    ctx.close_account(store, "close", &alice).await?;
    let reader = store.clone();
    ctx.durable_read("read", async move || Ok(reader.balance(&alice).await?))
        .await?;
    let statements = vec![Statement::new("DELETE FROM stale")];
    let effect = Effect::of_request(&amount).statements(statements).value(&7);
    ctx.one_shot(store, "one shot", effect).await?;
    let fixed = ctx.fix_key("fixed").await?;
    let _: Option<Result<i64, Refusal>> = ctx.outcome_of(store, &fixed).await?;
    let minute = Duration::from_secs(60);
    ctx.leased_effect(store, "outside", &amount, minute, async move |permit| {
        Ok(permit.token.get())
    })
    .await?;
    let key = IdempotencyKey::new("mine")?;
    let step = Step::named("charge").with_key(key.clone());
    let inner = store.clone();
    ctx.execute_once(store, step, &amount, async move |tx| {
        if amount < 0 {
            return Err(Rejection::new(422, "negative").into());
        }
        let operation = Adjust::new(key, AccountId::new("bob")?, Amount::new(amount));
        Ok(inner.adjust_in(tx, &operation).await?.change.after.get())
    })
    .await
}

struct Service<S>(S);

#[restate_sdk::service]
impl<S: OneShotStore + LeaseStore + BalanceTransaction> Service<S> {
    #[handler]
    async fn run(&self, ctx: Context<'_>, amount: i64) -> Result<i64, TerminalError> {
        ctx.execute_once(&self.0, "direct", &amount, async move |_tx| Ok(amount))
            .await?;
        everything(&ctx, &self.0, amount).await
    }
}

struct Object(AnyStore);

#[restate_sdk::object]
impl Object {
    #[handler]
    async fn exclusive(&self, ctx: ObjectContext<'_>, amount: i64) -> Result<i64, HandlerError> {
        ctx.execute_once(&self.0, "direct", &amount, async move |_tx| Ok(amount))
            .await?;
        Ok(everything(&ctx, &self.0, amount).await?)
    }

    #[handler]
    async fn shared(&self, ctx: SharedObjectContext<'_>, amount: i64) -> Result<i64, HandlerError> {
        ctx.execute_once(&self.0, "direct", &amount, async move |_tx| Ok(amount))
            .await?;
        Ok(everything(&ctx, &self.0, amount).await?)
    }
}

struct Workflow(AnyStore);

#[restate_sdk::workflow]
impl Workflow {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, amount: i64) -> Result<i64, TerminalError> {
        ctx.execute_once(&self.0, "direct", &amount, async move |_tx| Ok(amount))
            .await?;
        everything(&ctx, &self.0, amount).await
    }

    #[handler]
    async fn look(
        &self,
        ctx: SharedWorkflowContext<'_>,
        amount: i64,
    ) -> Result<i64, TerminalError> {
        ctx.execute_once(&self.0, "direct", &amount, async move |_tx| Ok(amount))
            .await?;
        everything(&ctx, &self.0, amount).await
    }
}

#[test]
fn handlers_of_all_contexts_compile_and_can_be_bound() {
    // Naming the function is what compiles it; an erased store needs a store behind it.
    let endpoint = |store: AnyStore| {
        Endpoint::builder()
            .bind(Service(store.clone()))
            .bind(Object(store.clone()))
            .bind(Workflow(store))
            .build()
    };
    let _ = endpoint;
}
