//! What is measured: floors, cases, and what a case should reach.

use std::{fmt, future::Future, sync::Arc};

use anyhow::Result;
use futures_util::future::{BoxFuture, FutureExt as _};

/// Whose turn it is to call.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Which of the callers, from 0.
    pub caller: usize,
    /// A number that no other turn of this process has, and that grows: for fresh keys in the
    /// order of time.
    pub number: u64,
}

/// One operation, repeated by each caller.
pub type Operation = Arc<dyn Fn(Turn) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// An operation from an async closure.
pub fn operation<F, Fut>(call: F) -> Operation
where
    F: Fn(Turn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |turn| call(turn).boxed())
}

/// Something to be measured against a floor.
#[derive(Clone)]
pub struct Case {
    /// What the reports call it.
    pub name: String,
    /// The name of its floor.
    pub floor: &'static str,
    /// What is repeated.
    pub operation: Operation,
    /// What the ratio should reach, by callers.
    pub targets: Vec<(usize, f64)>,
    /// At 32 callers its p99 should be below the p50 of this case.
    pub quicker_than: Option<&'static str>,
    /// At most so many callers at once.
    pub most_callers: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("floor", &self.floor)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// With what the ratio should reach, by callers.
    pub fn target(&mut self, targets: &[(usize, f64)]) -> &mut Self {
        self.targets = targets.to_vec();
        self
    }

    /// With the case whose p50 its own p99 should be below, at 32 callers.
    pub fn quicker_than(&mut self, name: &'static str) -> &mut Self {
        self.quicker_than = Some(name);
        self
    }

    /// Measured with so many callers at most.
    pub fn at_most(&mut self, callers: usize) -> &mut Self {
        self.most_callers = callers;
        self
    }
}

/// The floors and cases of an adapter.
#[derive(Clone, Default)]
pub struct Bench {
    /// Names and operations of the floors.
    pub floors: Vec<(&'static str, Operation)>,
    /// What is measured against them.
    pub cases: Vec<Case>,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench")
            .field("cases", &self.cases)
            .finish_non_exhaustive()
    }
}

impl Bench {
    /// Adds a floor, and the case that measures it against itself.
    pub fn floor(&mut self, name: &'static str, operation: Operation) {
        self.floors.push((name, operation.clone()));
        self.case(format!("{name} (A/A)"), name, operation);
    }

    /// Adds a case.
    pub fn case(
        &mut self,
        name: impl Into<String>,
        floor: &'static str,
        operation: Operation,
    ) -> &mut Case {
        self.add(Case {
            name: name.into(),
            floor,
            operation,
            targets: Vec::new(),
            quicker_than: None,
            most_callers: usize::MAX,
        })
    }

    fn add(&mut self, case: Case) -> &mut Case {
        let at = self.cases.len();
        self.cases.push(case);
        &mut self.cases[at]
    }

    /// The operation of a floor.
    ///
    /// # Errors
    /// When the case names a floor that is not there.
    pub fn floor_of(&self, case: &Case) -> Result<Operation> {
        self.floors
            .iter()
            .find(|(name, _)| *name == case.floor)
            .map(|(_, operation)| operation.clone())
            .ok_or_else(|| anyhow::anyhow!("{:?} has no floor {:?}", case.name, case.floor))
    }
}
