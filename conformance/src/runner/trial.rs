//! A trial: what a case is called, what it is for, and how it runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use crate::check::CaseResult;
use crate::report::{CaseReport, Status};
use crate::seed::{CaseRng, Seed};

/// What is known about a case before it runs: the same for each variant and adapter.
#[derive(Clone, Copy, Debug)]
pub struct CaseInfo {
    pub(crate) id: &'static str,
    pub(crate) path: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) contract: &'static str,
    pub(crate) mistake: &'static str,
    waits: bool,
}

impl CaseInfo {
    /// A case by its stable id (`I01`) and its name (`idempotency::basic::i01_first_is_fresh`).
    #[must_use]
    pub const fn new(id: &'static str, path: &'static str) -> Self {
        Self {
            id,
            path,
            goal: "",
            contract: "",
            mistake: "",
            waits: false,
        }
    }

    /// What holds when the case passes, in a line.
    #[must_use]
    pub const fn goal(mut self, goal: &'static str) -> Self {
        self.goal = goal;
        self
    }

    /// Where the contract asks for it, such as `design §3, IdempotencyStore`.
    #[must_use]
    pub const fn contract(mut self, contract: &'static str) -> Self {
        self.contract = contract;
        self
    }

    /// The mistake in an adapter that usually makes it fail.
    #[must_use]
    pub const fn mistake(mut self, mistake: &'static str) -> Self {
        self.mistake = mistake;
        self
    }

    /// It sleeps more than it works, for a deadline or a time limit: it is started early, beside
    /// others, so that a run doesn't end with waiting for it.
    #[must_use]
    pub const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// The rules that keep a name usable as a filter in every runner.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { id, path, goal, .. } = self;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let mut segments = path.split("::").peekable();
        if !segments.all(|segment| !segment.is_empty() && segment.chars().all(plain)) {
            return Err(format!(
                "{path:?} is not lower_case segments joined by `::`"
            ));
        }
        let last = path.rsplit("::").next().unwrap_or(path);
        if !last.starts_with(&format!("{}_", id.to_ascii_lowercase())) {
            return Err(format!(
                "{path:?} must end in `{}_…`",
                id.to_ascii_lowercase()
            ));
        }
        if goal.is_empty() {
            return Err(format!("{path:?} has no goal"));
        }
        Ok(())
    }
}

/// Which of the two forms of a store a trial drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// The adapter's own type.
    Typed,
    /// The same store behind the erased type that is chosen at run time.
    Erased,
}

impl Variant {
    /// The first segment of a trial's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Typed => "typed",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a run has the erased twins: a full one does, and a quick one whose filter names them.
pub(super) fn has_twins(quick: bool, filter: Option<&str>) -> bool {
    !quick || filter.is_some_and(|filter| filter.starts_with(Variant::Erased.as_str()))
}

/// Why a quick run leaves out what it leaves out.
const NOT_QUICK: &str = "a quick run does without the erased twin of every case, unless a filter \
                         names it: run without EXACTLY_ONCE_QUICK";

type Body = Box<dyn FnOnce(Case) -> Pin<Box<dyn Future<Output = CaseResult> + Send>> + Send>;

enum Plan {
    Run(Body),
    Ignore(String),
}

/// One case on one variant of the store, ready to run or ignored with a reason.
pub struct Trial {
    info: CaseInfo,
    variant: Variant,
    timeout: Option<Duration>,
    plan: Plan,
}

impl Trial {
    /// A trial that runs this body.
    pub fn new<F, Fut>(info: CaseInfo, variant: Variant, body: F) -> Self
    where
        F: FnOnce(Case) -> Fut + Send + 'static,
        Fut: Future<Output = CaseResult> + Send + 'static,
    {
        let body: Body = Box::new(move |case| Box::pin(body(case)));
        Self {
            info,
            variant,
            timeout: None,
            plan: Plan::Run(body),
        }
    }

    /// A trial that is left out, and says why.
    pub fn ignored(info: CaseInfo, variant: Variant, reason: impl Into<String>) -> Self {
        Self {
            info,
            variant,
            timeout: None,
            plan: Plan::Ignore(reason.into()),
        }
    }

    /// Gives the trial a time limit of its own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The name it is listed, filtered and reported by: `typed::idempotency::basic::i01_…`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}::{}", self.variant, self.info.path)
    }

    /// What is known about the case.
    #[must_use]
    pub fn info(&self) -> &CaseInfo {
        &self.info
    }

    /// Whether it is left out.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        matches!(self.plan, Plan::Ignore(_))
    }

    /// Whether it sleeps more than it works.
    pub(super) fn waits(&self) -> bool {
        self.info.waits
    }

    /// Leaves it out of a quick run, where it is one of those that a quick run does without.
    pub(super) fn quickly(self) -> Self {
        match self.variant {
            Variant::Typed => self,
            Variant::Erased => Self::ignored(self.info, self.variant, NOT_QUICK),
        }
    }

    pub(super) fn timeout_or(&self, default: Duration) -> Duration {
        self.timeout.unwrap_or(default)
    }

    pub(super) fn into_body(self) -> Option<Body> {
        match self.plan {
            Plan::Run(body) => Some(body),
            Plan::Ignore(_) => None,
        }
    }

    /// The report of this trial as it stands before it has run: passed, in no time.
    pub(super) fn report(&self) -> CaseReport {
        CaseReport::new(&self.info, self.variant.as_str())
    }

    pub(super) fn ignored_report(&self) -> Option<CaseReport> {
        let Plan::Ignore(reason) = &self.plan else {
            return None;
        };
        let mut report = self.report();
        report.status = Status::Ignored;
        report.ignore_reason = Some(reason.clone());
        Some(report)
    }
}

/// What a running case may ask of its run.
#[derive(Clone)]
pub struct Case {
    inner: Arc<CaseInner>,
}

struct CaseInner {
    name: String,
    variant: Variant,
    seed: Seed,
    quick: bool,
    step: Mutex<Option<String>>,
}

impl Case {
    pub(super) fn new(trial: &Trial, seed: Seed, quick: bool) -> Self {
        let name = trial.name();
        let seed = seed.derive(&name);
        let step = Mutex::new(None);
        Self {
            inner: Arc::new(CaseInner {
                name,
                variant: trial.variant,
                seed,
                quick,
                step,
            }),
        }
    }

    /// The trial's full name, unique in the run.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The form of the store under test.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.inner.variant
    }

    /// The seed of this case: it follows from the run's seed and the case's name.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.inner.seed
    }

    /// A generator at the start of this case's stream.
    #[must_use]
    pub fn rng(&self) -> CaseRng {
        self.inner.seed.rng()
    }

    /// Whether the run should be over in seconds.
    #[must_use]
    pub fn quick(&self) -> bool {
        self.inner.quick
    }

    /// The number of rounds, racers or rows: the first in a full run, the second in a quick one.
    #[must_use]
    pub fn scaled(&self, full: usize, quick: usize) -> usize {
        if self.inner.quick { quick } else { full }
    }

    /// Says what the case does next. A failure shows the last step, and for a case that hangs
    /// or panics that is all there is to go by.
    pub fn step(&self, step: impl Into<String>) {
        *lock(&self.inner.step) = Some(step.into());
    }

    pub(super) fn last_step(&self) -> Option<String> {
        lock(&self.inner.step).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_filter_could_name_is_refused() {
        let good = CaseInfo::new("I01", "idempotency::basic::i01_first").goal("fresh");
        assert_eq!(good.check(), Ok(()));
        for (id, path) in [
            ("I01", "idempotency::basic::i02_first"),
            ("I01", "idempotency::basic::i01first"),
            ("I01", "idempotency:: basic::i01_first"),
            ("I01", "idempotency::::i01_first"),
            ("I01", "idempotency::Basic::i01_first"),
        ] {
            assert!(
                CaseInfo::new(id, path).goal("fresh").check().is_err(),
                "{path}"
            );
        }
        assert!(
            CaseInfo::new("I01", "a::i01_first").check().is_err(),
            "without a goal"
        );
    }

    #[test]
    fn a_quick_run_has_the_twins_that_a_filter_names() {
        assert!(has_twins(false, None));
        assert!(!has_twins(true, None));
        assert!(!has_twins(true, Some("typed::balance")));
        assert!(!has_twins(true, Some("balance")));
        assert!(has_twins(true, Some("erased")));
        assert!(has_twins(true, Some("erased::balance::basic::b01")));
    }

    #[test]
    fn a_quick_run_leaves_out_the_twin_and_says_why() {
        let info = CaseInfo::new("I01", "a::i01_first").goal("fresh");
        let quick = |variant| Trial::new(info, variant, async |_| Ok(())).quickly();
        assert!(!quick(Variant::Typed).is_ignored());
        let reason = quick(Variant::Erased).ignored_report().unwrap();
        assert!(reason.ignore_reason.unwrap().contains("EXACTLY_ONCE_QUICK"));
    }
}
