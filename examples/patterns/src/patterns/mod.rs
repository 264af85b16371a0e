//! The handlers, one file for each pattern: first the usual recipe, then this library.
//!
//! The recipes are here to be seen failing. **Do not copy them.**

// The SDK generates clients without documentation.
#![allow(missing_docs)]

pub mod key;
pub mod read;
pub mod simple;
pub mod state;
pub mod two_phase;
pub mod version;

use anyhow::Result;
use clap::ValueEnum;
use exactly_once::{WorkError, sqlite::SqliteTx};
use rusqlite::{Connection, params};

use crate::control::Order;

/// A pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Pattern {
    /// A write in a step.
    Simple,
    /// A read that later steps depend on.
    Read,
    /// An update of a version that was read, in a virtual object.
    Version,
    /// A key in the transaction of the effect.
    Key,
    /// PREPARE in one step, COMMIT PREPARED in another.
    TwoPhase,
    /// Restate's own state against a database.
    State,
}

/// How it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Way {
    /// By the recipe of the usual guides.
    Recipe,
    /// By this library; of [`Pattern::State`], by Restate's own state.
    Ours,
}

impl Pattern {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 6] = [
        Self::Simple,
        Self::Read,
        Self::Version,
        Self::Key,
        Self::TwoPhase,
        Self::State,
    ];

    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Read => "read",
            Self::Version => "version",
            Self::Key => "key",
            Self::TwoPhase => "two-phase",
            Self::State => "state",
        }
    }

    /// Its name on the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple access",
            Self::Read => "durable read",
            Self::Version => "versioned update",
            Self::Key => "idempotency key",
            Self::TwoPhase => "two-phase commit",
            Self::State => "a counter",
        }
    }

    /// Its service in Restate.
    #[must_use]
    pub const fn service(self, way: Way) -> &'static str {
        match (self, way) {
            (Self::Simple, Way::Recipe) => "SimpleRecipe",
            (Self::Simple, Way::Ours) => "SimpleOurs",
            (Self::Read, Way::Recipe) => "ReadRecipe",
            (Self::Read, Way::Ours) => "ReadOurs",
            (Self::Version, Way::Recipe) => "VersionRecipe",
            (Self::Version, Way::Ours) => "VersionOurs",
            (Self::Key, Way::Recipe) => "KeyRecipe",
            (Self::Key, Way::Ours) => "KeyOurs",
            (Self::TwoPhase, Way::Recipe) => "TwoPhaseRecipe",
            (Self::TwoPhase, Way::Ours) => "TwoPhaseOurs",
            (Self::State, Way::Recipe) => "StateRecipe",
            (Self::State, Way::Ours) => "StateOurs",
        }
    }

    /// Whether its service is a virtual object, with the order's name as its key.
    #[must_use]
    pub const fn is_object(self) -> bool {
        matches!(self, Self::Version | Self::State)
    }
}

impl Way {
    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Recipe => "recipe",
            Self::Ours => "ours",
        }
    }
}

/// The table of the effects. It has no unique key on purpose: if an effect happened twice, both
/// rows would be there to be seen.
pub const PAYMENTS: &str = "CREATE TABLE IF NOT EXISTS payments (
    name TEXT NOT NULL,
    cents INTEGER NOT NULL
) STRICT;";

fn insert(connection: &Connection, order: &Order) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO payments (name, cents) VALUES (?1, ?2)";
    connection.execute(sql, params![order.name, order.cents])?;
    Ok(order.cents)
}

async fn insert_in(tx: &mut SqliteTx, order: Order) -> Result<i64, WorkError> {
    Ok(tx.run(move |connection| insert(connection, &order)).await?)
}
