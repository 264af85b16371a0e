//! The matrix of engines is itself tested: each deliberately broken engine fails its named case.
#![allow(clippy::unwrap_used)]

#[path = "support/place_memory.rs"]
mod place;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use exactly_once::{
    Error, ErrorKind, IdempotencyKey,
    engine::{
        Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer, key_of,
        script::{Ended as Attempted, Failure, Script},
    },
};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness,
    engines::{Ended, EngineHarness, EngineStore, Job, on_a_thread, trials},
    report::Status,
    runner::run_one,
};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

/// What is wrong with an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// None either: each step after a cancellation gets it, as on Temporal.
    CancelledForGood,
    /// Each attempt has identities of its own.
    IdentityOfTheAttempt,
    /// Two steps of one name have one identity.
    IdentityOfTheName,
    /// The journal is lost with the process.
    ForgetfulJournal,
    /// It says that it has a journal, and has none.
    NoJournal,
    /// A retryable error ends the run.
    GivesUp,
    /// The next attempt comes at once, whatever the store says.
    Impatient,
    /// A refusal is followed by another attempt.
    RetriesRefusals,
    /// Every refusal is a plain failure.
    LosesKinds,
    /// A cancelled run goes on.
    NeverCancelled,
}

struct Mutant {
    mistake: Mistake,
    scripts: Mutex<HashMap<String, Script>>,
}

impl<H> EngineHarness<H> for Mutant
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "mutant"
    }

    fn journals(&self) -> bool {
        true
    }

    async fn run(&self, job: Job<H>) -> CaseResult<Ended> {
        let mistake = self.mistake;
        let fresh = || Script::new().named(job.run());
        let script = match mistake {
            Mistake::ForgetfulJournal => fresh(),
            _ => {
                let mut scripts = self.scripts.lock().unwrap();
                scripts
                    .entry(job.run().to_owned())
                    .or_insert_with(fresh)
                    .clone()
            }
        };
        let cancelled = script.clone();
        job.faults().on_cancel(move || cancelled.cancel());
        on_a_thread(async move || drive(mistake, script, job).await).await
    }
}

async fn drive<H>(mistake: Mistake, script: Script, job: Job<H>) -> CaseResult<Ended>
where
    H: Harness,
    H::Store: EngineStore,
{
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let mut refusals = 0;
    loop {
        let attempt = script.attempt(async |engine| {
            let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
            job.attempt(&Broken {
                engine,
                mistake,
                attempt,
                cancelled: AtomicBool::new(false),
            })
            .await
        });
        let returned = match job.faults().until_crash(attempt).await {
            Ok(Attempted::Returned(returned)) => returned,
            Ok(Attempted::Retry(retry)) => {
                match retry.after() {
                    _ if mistake == Mistake::GivesUp => {
                        return Ok(Ended::Refused(Refusal::from_error(retry.error())));
                    }
                    Some(after) if mistake != Mistake::Impatient => {
                        tokio::time::sleep(after).await;
                    }
                    _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
                continue;
            }
            Ok(Attempted::Crashed) | Err(_) => continue,
        };
        return match returned {
            Ok(value) => Ok(Ended::Value(value)),
            Err(Failure::Refused(_)) if mistake == Mistake::RetriesRefusals && refusals == 0 => {
                refusals += 1;
                continue;
            }
            Err(Failure::Refused(refusal)) => Ok(Ended::Refused(refusal)),
            Err(Failure::Cancelled) => Ok(Ended::Cancelled),
            Err(failure) => Err(CaseFailure::unexpected(failure.to_string())),
        };
    }
}

/// An engine with a mistake.
struct Broken<'e, E> {
    engine: &'e E,
    mistake: Mistake,
    attempt: u64,
    cancelled: AtomicBool,
}

impl<'run, M, E: Engine<'run, M, Failure = Failure>> Engine<'run, M> for Broken<'_, E> {
    type Failure = Failure;

    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn identity<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<IdempotencyKey, Failure>>
    where
        'run: 'a,
    {
        Box::pin(async move {
            let key = self.engine.identity(step).await?;
            let attempt = self.attempt.to_string();
            Ok(match self.mistake {
                Mistake::IdentityOfTheAttempt => key_of(&[key.as_str(), &attempt]).unwrap(),
                Mistake::IdentityOfTheName => {
                    let (name, _) = key.as_str().rsplit_once('/').unwrap();
                    IdempotencyKey::new(name).unwrap()
                }
                _ => key,
            })
        })
    }

    fn journal<'a, T, F, Fut>(&'a self, name: String, run: F) -> BoxFuture<'a, Result<T, Failure>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        // An identity that is journaled hides that it would be another one.
        match self.mistake {
            Mistake::NoJournal => Box::pin(async move {
                match run().await {
                    Ok(value) => Ok(value),
                    // The script's own way to end the attempt.
                    Err(retry) => self.engine.journal(name, || async { Err(retry) }).await,
                }
            }),
            Mistake::IdentityOfTheAttempt => Box::pin(async move {
                run()
                    .await
                    .map_err(|retry| Failure::Refused(Refusal::from_error(retry.error())))
            }),
            _ => self.engine.journal(name, run),
        }
    }

    fn has_journal(&self) -> bool {
        true
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Failure>>
    where
        'run: 'a,
    {
        Box::pin(async move {
            let cancelled = self.engine.cancelled().await;
            if cancelled.is_some() {
                self.cancelled.store(true, Ordering::Relaxed);
            }
            match self.mistake {
                Mistake::NeverCancelled => None,
                Mistake::CancelledForGood if self.cancelled.load(Ordering::Relaxed) => {
                    Some(Failure::Cancelled)
                }
                _ => cancelled,
            }
        })
    }

    fn refused(&self, refusal: Refusal) -> Failure {
        match self.mistake {
            Mistake::LosesKinds => {
                let error = Error::new(ErrorKind::Invalid, "step", "mutant");
                Failure::Refused(Refusal::from_error(&error.with_message(refusal.message())))
            }
            _ => self.engine.refused(refusal),
        }
    }

    fn timer(&self) -> Timer {
        self.engine.timer()
    }

    fn enter(&self, step: &Step, keyed_by: KeyedBy) -> Result<Entered, Failure> {
        self.engine.enter(step, keyed_by)
    }
}

/// How the case of this name ends on the engine.
fn ends(mistake: Mistake, case: &str) -> Status {
    let mutant = Mutant {
        mistake,
        scripts: Mutex::default(),
    };
    let trial = trials(Arc::new(mutant), Arc::new(place::Memory))
        .into_iter()
        .find(|trial| trial.name().ends_with(case))
        .unwrap();
    run_one("mutant", trial).unwrap().status
}

#[test]
fn each_mistake_fails_its_case_and_none_fails_none() {
    for (mistake, case) in [
        (Mistake::IdentityOfTheAttempt, "e01c_execute_once"),
        (Mistake::IdentityOfTheAttempt, "e05c_adjust"),
        (Mistake::IdentityOfTheName, "e13p_two_steps_of_one_name"),
        (Mistake::ForgetfulJournal, "e10p_durable_read"),
        (Mistake::IdentityOfTheName, "e15_two_keys_of_one_name"),
        (Mistake::NoJournal, "e24_a_request_that_no_retry_can_read"),
        (Mistake::GivesUp, "e01l_execute_once"),
        (Mistake::GivesUp, "e22_is_not_journaled"),
        (Mistake::Impatient, "e23_is_waited_for"),
        (Mistake::RetriesRefusals, "e20_each_kind_arrives"),
        (Mistake::LosesKinds, "e20_each_kind_arrives"),
        (Mistake::NeverCancelled, "e01x_execute_once"),
    ] {
        assert_eq!(ends(Mistake::None, case), Status::Passed, "{case}");
        assert_eq!(ends(mistake, case), Status::Failed, "{mistake:?}: {case}");
    }
}

#[test]
fn a_run_that_stays_cancelled_may_still_ask_for_an_outcome() {
    for case in ["e12x_fix_key_and_outcome_of", "e13x_two_steps_of_one_name"] {
        assert_eq!(
            ends(Mistake::CancelledForGood, case),
            Status::Passed,
            "{case}"
        );
    }
}
