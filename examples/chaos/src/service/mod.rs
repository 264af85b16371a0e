//! The services under chaos: every form of effect, on each of three stores.

// The SDK generates clients without documentation.
#![allow(missing_docs)]

pub mod rows;
mod steps;

use std::{net::SocketAddr, time::Duration};

use exactly_once::{
    AccountId, AccountState, Adjust, Amount, BalanceStore, CompareAndSet, Expected, Leg, Rejection,
    WorkError,
    engine::{Effect, Permit},
    restate::ExactlyOnce,
};
use restate_sdk::prelude::*;

pub use self::steps::Recipe;
use crate::{
    model::{LIMIT, Line, Operation, Place, Receipt, Row, Sent, What},
    outside,
    stores::{Stores, at},
};

/// How long a lease is held between two renewals. Short, so that the end of a run need not wait.
const LEASE: Duration = Duration::from_secs(2);

/// Effects of every form.
#[derive(Clone, Debug)]
pub struct Effects {
    stores: Stores,
    outside: SocketAddr,
    recipe: Recipe,
}

impl Effects {
    /// On these stores, with the world outside at this address.
    pub fn new(stores: Stores, outside: SocketAddr, recipe: Recipe) -> Self {
        Self {
            stores,
            outside,
            recipe,
        }
    }

    async fn row(
        &self,
        ctx: &Context<'_>,
        operation: &Operation,
        amount: i64,
    ) -> Result<Row, TerminalError> {
        let (step, name) = (self.recipe.step(operation)?, operation.name.clone());
        match operation.place {
            Place::Postgres => {
                ctx.execute_once(&self.stores.postgres, step, operation, async move |tx| {
                    rows::in_postgres(tx, checked(name, amount)?).await
                })
                .await
            }
            Place::Sqlite => {
                ctx.execute_once(&self.stores.sqlite, step, operation, async move |tx| {
                    rows::in_sqlite(tx, checked(name, amount)?).await
                })
                .await
            }
            Place::Redis => {
                ctx.execute_once(&self.stores.redis, step, operation, async move |tx| {
                    rows::in_redis(tx, checked(name, amount)?)
                })
                .await
            }
        }
    }

    async fn one_shot(
        &self,
        ctx: &Context<'_>,
        operation: &Operation,
        amount: i64,
    ) -> Result<Row, TerminalError> {
        let step = self.recipe.step(operation)?;
        let row = rows::stamped(operation.name.clone(), amount);
        let statement = rows::statement(operation.place, &row);
        at!(self.stores, operation.place, |store| {
            let effect = Effect::of_request(operation).statement(statement);
            ctx.one_shot(store, step, effect.value(&row)).await
        })
    }

    async fn adjust(
        &self,
        ctx: &Context<'_>,
        operation: &Operation,
        account: &str,
        delta: i64,
    ) -> Result<Vec<Line>, TerminalError> {
        let (step, account) = (self.recipe.step(operation)?, AccountId::new(account)?);
        let applied = at!(self.stores, operation.place, |store| {
            ctx.balance_operation(store, step, |key| {
                Adjust::new(key, account, Amount::new(delta))
            })
            .await
        })?;
        Ok(vec![Line::from(&applied.change)])
    }

    async fn transfer(
        &self,
        ctx: &Context<'_>,
        operation: &Operation,
        (from, to): (&str, &str),
        amount: i64,
    ) -> Result<Vec<Line>, TerminalError> {
        let step = self.recipe.step(operation)?;
        let leg = |account: &str, delta| {
            AccountId::new(account).map(|account| Leg {
                account,
                delta: Amount::new(delta),
            })
        };
        let legs = vec![leg(from, -amount)?, leg(to, amount)?];
        let moved = at!(self.stores, operation.place, |store| {
            ctx.transfer(store, step, legs).await
        })?;
        Ok(moved.changes.iter().map(Line::from).collect())
    }

    async fn outside(
        &self,
        ctx: &Context<'_>,
        operation: &Operation,
        amount: i64,
    ) -> Result<Sent, TerminalError> {
        let (step, address) = (self.recipe.step(operation)?, self.outside);
        let name = operation.name.clone();
        let work = move |permit: Permit| async move {
            if amount > LIMIT {
                return Err(Rejection::new(422, "too much to be sent").into());
            }
            outside::send(address, &name, permit.token.get())
                .await
                .map_err(|error| WorkError::from_boxed(error.into()))
        };
        at!(self.stores, operation.place, |store| {
            ctx.leased_effect(store, step, operation, LEASE, work).await
        })
    }
}

#[restate_sdk::service(name = "Effects")]
impl Effects {
    /// Applies an operation, or refuses it for good.
    #[handler]
    async fn apply(
        &self,
        ctx: Context<'_>,
        Json(operation): Json<Operation>,
    ) -> Result<Json<Receipt>, TerminalError> {
        let op = &operation;
        let receipt = match &op.what {
            What::Row { amount } => Receipt::Row(self.row(&ctx, op, *amount).await?),
            What::OneShot { amount } => Receipt::Row(self.one_shot(&ctx, op, *amount).await?),
            What::Adjust { account, delta } => {
                Receipt::Changes(self.adjust(&ctx, op, account, *delta).await?)
            }
            What::Transfer { from, to, amount } => {
                Receipt::Changes(self.transfer(&ctx, op, (from, to), *amount).await?)
            }
            What::CompareAndSet { account, delta } => {
                let (stores, recipe) = (&self.stores, self.recipe);
                Receipt::Changes(change(&ctx, stores, recipe, op, account, *delta).await?)
            }
            What::Outside { amount } => Receipt::Outside(self.outside(&ctx, op, *amount).await?),
            What::Object { .. } | What::Order(_) => {
                return Err(TerminalError::new("not an operation of this service"));
            }
        };
        Ok(Json(receipt))
    }
}

/// A balance that only this object changes.
#[derive(Clone, Debug)]
pub struct Versioned {
    stores: Stores,
    recipe: Recipe,
}

impl Versioned {
    /// On these stores.
    pub fn new(stores: Stores, recipe: Recipe) -> Self {
        Self { stores, recipe }
    }
}

#[restate_sdk::object(name = "Versioned")]
impl Versioned {
    /// Changes the balance at the version read.
    #[handler]
    async fn change(
        &self,
        ctx: ObjectContext<'_>,
        Json(operation): Json<Operation>,
    ) -> Result<Json<Receipt>, TerminalError> {
        let What::Object { account, delta } = &operation.what else {
            return Err(TerminalError::new("not an operation of this object"));
        };
        let (stores, recipe) = (&self.stores, self.recipe);
        let lines = change(&ctx, stores, recipe, &operation, account, *delta).await?;
        Ok(Json(Receipt::Changes(lines)))
    }
}

/// A durable read, then a compare-and-set at what was read.
async fn change<'ctx, C: ExactlyOnce<'ctx>>(
    ctx: &C,
    stores: &Stores,
    recipe: Recipe,
    operation: &Operation,
    account: &str,
    delta: i64,
) -> Result<Vec<Line>, TerminalError> {
    let account = AccountId::new(account)?;
    let read = format!("{}/read", operation.name);
    let state = at!(stores, operation.place, |store| {
        let (store, account) = (store.clone(), account.clone());
        ctx.durable_read(read, async move || Ok(store.balance(&account).await?))
            .await
    })?;
    let Some(AccountState {
        amount, version, ..
    }) = state
    else {
        return Err(TerminalError::new_with_code(404, "no such account"));
    };
    let (expected, amount) = (
        Expected::Version(version),
        Amount::new(amount.get() + delta),
    );
    let step = recipe.step(operation)?;
    let applied = at!(stores, operation.place, |store| {
        ctx.balance_operation(store, step, |key| {
            CompareAndSet::new(key, account, expected, amount)
        })
        .await
    })?;
    Ok(vec![Line::from(&applied.change)])
}

fn checked(name: String, amount: i64) -> Result<Row, WorkError> {
    if amount > LIMIT {
        return Err(Rejection::new(422, "above the limit").into());
    }
    Ok(rows::stamped(name, amount))
}
