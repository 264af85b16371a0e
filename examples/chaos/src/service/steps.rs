//! Where the idempotency key of an operation comes from.

use clap::ValueEnum;
use exactly_once::{IdempotencyKey, engine::Step};
use restate_sdk::prelude::TerminalError;

use crate::model::Operation;

/// How the services name their effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// As this library has it: a key of the caller's own, or a journaled one.
    #[default]
    Ours,
    /// Broken on purpose: each attempt computes a key of its own, as many guides do.
    Naive,
}

impl Recipe {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Naive => "naive",
        }
    }

    pub(super) fn step(self, operation: &Operation) -> Result<Step, TerminalError> {
        let step = Step::named(operation.name.as_str());
        let key = match self {
            Self::Ours if operation.own_key => format!("own/{}", operation.name),
            Self::Ours => return Ok(step),
            Self::Naive => format!("{:x}/{}", rand::random::<u64>(), operation.name),
        };
        Ok(step.with_key(IdempotencyKey::new(key)?))
    }
}
