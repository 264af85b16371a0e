//! The names of an attempt's steps: two of one name would share a key, and one effect would be lost.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use exactly_once_core::{
    Error, ErrorKind,
    engine::{Entered, KeyedBy, Step},
};
use temporalio_sdk::activities::ActivityInfo;

use crate::{ENGINE, bounded::Bounded};

const OPERATION: &str = "step";

/// How many attempts are remembered, those whose steps began or ended last. Of an attempt that is
/// forgotten, the steps so far are not compared with those to come: it happens where this many other
/// attempts make steps between two steps of one.
const MAX_ATTEMPTS: usize = 16_384;

static ATTEMPTS: LazyLock<Mutex<Bounded<Attempt, Names>>> =
    LazyLock::new(|| Mutex::new(Bounded::new(MAX_ATTEMPTS)));

/// One attempt of an activity. The task token alone is its own for remote activities only: each worker
/// counts its local ones from one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    token: Vec<u8>,
    run: Option<String>,
    activity: String,
    number: u32,
    started: Option<SystemTime>,
}

impl Attempt {
    fn of(info: &ActivityInfo) -> Self {
        Self {
            token: info.task_token.clone(),
            run: info.workflow_run_id.clone(),
            activity: info.activity_id.clone(),
            number: info.attempt,
            started: info.started_time,
        }
    }
}

#[derive(Debug, Default)]
struct Names {
    under_way: HashSet<String>,
    done: HashSet<String>,
}

/// A step that is under way.
struct UnderWay {
    attempt: Attempt,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(names) = attempts().get(&self.attempt) {
            names.under_way.remove(&self.name);
        }
    }
}

/// A step begins. One with a key of its own, or without any, shares none by its name.
pub(crate) fn begin(info: &ActivityInfo, step: &Step, keyed_by: KeyedBy) -> Result<Entered, Error> {
    if keyed_by != KeyedBy::Engine {
        return Ok(Entered::default());
    }
    begin_in(Attempt::of(info), step.name().to_owned())
}

fn begin_in(attempt: Attempt, name: String) -> Result<Entered, Error> {
    let mut attempts = attempts();
    let names = attempts.entry(&attempt);
    if names.done.contains(&name) || !names.under_way.insert(name.clone()) {
        return Err(repeated(&name));
    }
    let answered = (attempt.clone(), name.clone());
    // One that has failed and is retried within the attempt is the same step.
    Ok(
        Entered::holding(UnderWay { attempt, name }).on_answer(move || {
            let (attempt, name) = answered;
            self::attempts().entry(&attempt).done.insert(name);
        }),
    )
}

fn attempts() -> MutexGuard<'static, Bounded<Attempt, Names>> {
    ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn repeated(name: &str) -> Error {
    Error::new(ErrorKind::Invalid, OPERATION, ENGINE).with_message(format!(
        "this activity has two steps named {name:?}, which would share a key: name them differently, or \
         give them keys by Step::with_key"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(token: &str) -> Attempt {
        Attempt {
            token: token.into(),
            run: None,
            activity: "1".to_owned(),
            number: 1,
            started: None,
        }
    }

    fn begin(attempt: &Attempt) -> Result<Entered, Error> {
        begin_in(attempt.clone(), "charge".to_owned())
    }

    #[test]
    fn a_name_is_used_by_the_step_that_has_its_answer() {
        let (one, other) = (attempt("one"), attempt("other"));
        let first = begin(&one).unwrap();
        assert_eq!(begin(&one).unwrap_err().kind(), ErrorKind::Invalid);
        let of_the_other = begin(&other).unwrap();
        // It has failed, and is called again.
        drop(first);
        begin(&one).unwrap().answered();
        assert!(begin(&one).is_err());
        drop(of_the_other);
        begin(&other).unwrap().answered();
    }
}
