//! What a handler does, on any engine: this is where the configuration meets the stores, and where no
//! engine is named. Another engine's worker calls [`call`] with its own context.
//!
//! Each function boxes its future: an `async fn` over a generic engine does not compile where a handler
//! awaits it ("`Send` is not general enough").

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::value::RawValue;

use super::{
    answer,
    catalog::{Catalog, Served},
    config::{Answer, Handler, Participant, Template, Work},
    request::Request,
};
use crate::{
    AnyTx, Error, ErrorKind, Rejection, Returned, Statement, Store, Transactional, WorkError,
    engine::{Effect, Effects, Refusal, Step},
    two_phase::TwoPhaseCommit,
};

/// What a call answers: JSON, or the engine's failure.
type Answered<'a, F> = BoxFuture<'a, Result<String, F>>;

/// Does what the handler says, exactly once, and returns its answer as JSON.
///
/// A request that can't be read is refused through the engine as well: the configuration may have changed
/// since an earlier attempt, which has applied the effect.
///
/// # Errors
/// The engine's failure: a refusal, or a cancellation. What may succeed later is retried by the engine.
pub(super) fn call<'a, 'run: 'a, M, E>(
    engine: &'a E,
    catalog: &'a Catalog,
    handler: &Handler,
    request: Result<&Request, Error>,
) -> Answered<'a, E::Failure>
where
    E: Effects<'run, M>,
{
    let answered = match &handler.work {
        Work::Effect {
            store,
            statements,
            retention,
            answer,
        } => catalog.store(store).map(|served| {
            let step = step_in(handler, store).with_retention(*retention);
            match request {
                Ok(request) => effect(engine, served, step, request, statements, answer.clone()),
                Err(error) => refuse(engine, served, step, error, answer.clone()),
            }
        }),
        Work::Query {
            store,
            statement,
            answer,
        } => catalog.store(store).map(|served| {
            let statement = request.map(|request| request.bind(statement));
            let step = step_in(handler, store);
            query(engine, served, step, statement, answer.clone())
        }),
        Work::Transaction {
            participants,
            retention,
            deadline,
        } => {
            let step = Step::named(handler.name.as_str())
                .with_retention(*retention)
                .with_deadline(*deadline);
            transaction(engine, catalog, step, request, participants)
        }
    };
    answered.unwrap_or_else(|error| {
        let refused = engine.refused(Refusal::from_error(&error));
        std::future::ready(Err(refused)).boxed()
    })
}

/// With the store's name in it: a journal that an attempt at another store began must not be gone on with.
fn step_in(handler: &Handler, store: &str) -> Step {
    Step::named(format!("{}@{store}", handler.name))
}

fn bound(request: &Request, statements: &[Template]) -> Vec<Statement> {
    statements
        .iter()
        .map(|template| request.bind(template))
        .collect()
}

fn effect<'a, 'run: 'a, M, E>(
    engine: &'a E,
    store: &Served,
    mut step: Step,
    request: &Request,
    statements: &[Template],
    shape: Answer,
) -> Answered<'a, E::Failure>
where
    E: Effects<'run, M>,
{
    if let Some(key) = &request.key {
        step = step.with_key(key.clone());
    }
    let of = request.of();
    let effect = Effect::of_request(&of).statements(bound(request, statements));
    match shape {
        Answer::Nothing => null(engine.one_shot(store, step, effect.value(&()))),
        shape => {
            let applied = engine.one_shot(store, step, effect.returned());
            rows(engine, store, applied, shape)
        }
    }
}

/// An effect whose request can't be read.
fn refuse<'a, 'run: 'a, M, E>(
    engine: &'a E,
    store: &Served,
    step: Step,
    refusal: Error,
    shape: Answer,
) -> Answered<'a, E::Failure>
where
    E: Effects<'run, M>,
{
    match shape {
        Answer::Nothing => null(engine.refuse(store, step, refusal)),
        shape => rows(engine, store, engine.refuse(store, step, refusal), shape),
    }
}

fn null<'a, F: 'a>(applied: BoxFuture<'a, Result<(), F>>) -> Answered<'a, F> {
    async move { applied.await.map(|()| "null".to_owned()) }.boxed()
}

fn rows<'a, 'run: 'a, M, E>(
    engine: &'a E,
    store: &Served,
    applied: BoxFuture<'a, Result<Returned, E::Failure>>,
    shape: Answer,
) -> Answered<'a, E::Failure>
where
    E: Effects<'run, M>,
{
    let sqlite = store.backend() == "sqlite";
    async move {
        let rows = applied.await?.into_last();
        answer::of_rows(&shape, rows.as_json(), sqlite)
            .map_err(|_| engine.refused(Refusal::from_error(&unfit(rows.len()))))
    }
    .boxed()
}

/// Under a caller's key, an effect may have been applied by a configuration that answered otherwise.
fn unfit(rows: usize) -> Error {
    Error::new(ErrorKind::Forgotten, "serve", "answer").with_message(format!(
        "the effect was applied and returned {rows} rows, and the configuration now answers otherwise"
    ))
}

/// Reads in a transaction that is always rolled back, and journals what was read.
fn query<'a, 'run: 'a, M, E>(
    engine: &'a E,
    store: &Served,
    step: Step,
    statement: Result<Statement, Error>,
    shape: Answer,
) -> Answered<'a, E::Failure>
where
    E: Effects<'run, M>,
{
    let store = store.clone();
    let read = engine.durable_read(step, move || async move {
        let statement = statement?;
        let mut tx = store.begin().await?;
        let ran = tx.run(&statement).await;
        store.rollback(tx).await?;
        let sqlite = store.backend() == "sqlite";
        let json = answer::of_rows(&shape, ran?.rows.as_json(), sqlite)?;
        RawValue::from_string(json).map_err(WorkError::from)
    });
    async move { Ok(read.await?.get().to_owned()) }.boxed()
}

fn transaction<'a, 'run: 'a, M, E>(
    engine: &'a E,
    catalog: &Catalog,
    step: Step,
    request: Result<&Request, Error>,
    participants: &[Participant],
) -> Result<Answered<'a, E::Failure>, Error>
where
    E: Effects<'run, M>,
{
    let register = catalog.register()?;
    let mut stores = Vec::new();
    for part in participants {
        stores.push((part.store.clone(), catalog.store(&part.store)?.clone()));
    }
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            let text = error.to_string();
            let refused = engine.refuse_two_phase(register, step, error, move |transaction| {
                stores
                    .into_iter()
                    .fold(transaction, |transaction, (name, store)| {
                        let text = text.clone();
                        transaction.participant(name, &store, async move |_: &mut AnyTx| {
                            Err(Rejection::new(400, text).into())
                        })
                    })
            });
            return Ok(null(refused));
        }
    };
    let home = (register.place(), register.namespace().clone());
    let statements: Vec<_> = participants
        .iter()
        .map(|part| bound(request, &part.statements))
        .collect();
    let work = move |transaction: TwoPhaseCommit<'run, Served>| {
        let parts = stores.into_iter().zip(statements);
        parts.fold(transaction, |transaction, ((name, store), statements)| {
            // The register's own store decides as it commits, where it can: no trip and no sync more.
            let is_home = (store.place(), store.namespace().clone()) == home;
            if is_home && store.capabilities().last_participant {
                transaction.last_one_shot_participant(name, &store, statements)
            } else {
                transaction.one_shot_participant(name, &store, statements)
            }
        })
    };
    let of = request.of();
    Ok(null(engine.two_phase(register, step, &of, work)))
}
