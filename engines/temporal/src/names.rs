//! The names of an attempt's steps: two of one name would share a key, and one effect would be lost.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use exactly_once_core::{Error, ErrorKind, engine::Step};
use temporalio_sdk::activities::ActivityInfo;

use crate::{ENGINE, bounded::Bounded};

const OPERATION: &str = "step";

/// How many attempts are remembered. An attempt that is forgotten is not checked: with more than this
/// many activities at once, names are the caller's own care.
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
#[derive(Debug)]
pub(crate) struct UnderWay {
    attempt: Attempt,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(names) = attempts().get_mut(&self.attempt) {
            names.under_way.remove(&self.name);
        }
    }
}

/// A step begins; `None` where it has a key of its own.
pub(crate) fn begin(info: &ActivityInfo, step: &Step) -> Result<Option<UnderWay>, Error> {
    if step.key().is_some() {
        return Ok(None);
    }
    let name = step.name().to_owned();
    let attempt = Attempt::of(info);
    let mut attempts = attempts();
    let names = attempts.entry(&attempt);
    if !names.under_way.insert(name.clone()) {
        return Err(repeated(&name));
    }
    Ok(Some(UnderWay { attempt, name }))
}

/// A step asks for a key.
pub(crate) fn check(info: &ActivityInfo, step: &str) -> Result<(), Error> {
    let attempts = attempts();
    let names = attempts.get(&Attempt::of(info));
    if names.is_some_and(|names| names.done.contains(step)) {
        return Err(repeated(step));
    }
    Ok(())
}

/// A step has its answer. One that has failed and is retried within the attempt is the same step.
pub(crate) fn done(info: &ActivityInfo, step: String) {
    if let Some(names) = attempts().get_mut(&Attempt::of(info))
        && names.under_way.contains(&step)
    {
        names.done.insert(step);
    }
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
