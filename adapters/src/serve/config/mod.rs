//! The configuration: one file that names stores, effects, queries and transactions.
//!
//! Nothing here knows an engine: what a handler does is data, and [`super::execute`] does it on any
//! engine.
//!
//! # Layout
//! - `file`: the file as it is written; `problem`: what is wrong with it, with lines.
//! - `read`: from the file to what is here; `handlers`: its handlers; `statement`: one statement.

mod file;
mod handlers;
mod problem;
mod read;
mod statement;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Namespace, Retention, ValueType, serve::Refused};

pub(super) use handlers::KEY;
pub(super) use problem::{Lines, Problem, Problems};

/// What is served, checked as far as that needs no database.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) file: PathBuf,
    pub(super) service: String,
    pub(super) docs: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    /// Restate's ingress, through which the schedules are started.
    pub(super) ingress: Option<String>,
    /// Restate's public keys; without any, requests are not verified.
    pub(super) identity_keys: Vec<String>,
    pub(super) max_body_bytes: usize,
    pub(super) grace: Duration,
    pub(super) stores: Vec<StoreConfig>,
    /// The store that decides transactions.
    pub(super) register: Option<String>,
    pub(super) handlers: Vec<Handler>,
    /// The store of the object `Account`.
    pub(super) accounts: Option<String>,
    pub(super) schedules: Schedules,
}

/// A store that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreConfig {
    pub(super) name: String,
    pub(super) line: usize,
    /// The environment variable that holds its URL.
    pub(super) url_env: String,
    pub(super) namespace: Option<Namespace>,
    pub(super) pool_size: Option<u32>,
}

/// How often maintenance takes a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedules {
    pub(super) key_expiry: Option<Duration>,
    pub(super) sweep: Option<Duration>,
}

/// One handler of the service.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) docs: Option<String>,
    /// In the order of their names.
    pub(super) parameters: Vec<Field>,
    pub(super) work: Work,
}

/// What a handler does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Changes one store, exactly once.
    Effect {
        store: String,
        statements: Vec<Template>,
        retention: Retention,
        answer: Answer,
    },
    /// Reads one store.
    Query {
        store: String,
        statement: Template,
        answer: Answer,
    },
    /// Changes several stores, all or none.
    Transaction {
        participants: Vec<Participant>,
        retention: Retention,
        deadline: Duration,
    },
}

/// One store of a transaction, and what is done there.
#[derive(Clone, Debug)]
pub(super) struct Participant {
    pub(super) store: String,
    pub(super) statements: Vec<Template>,
}

/// A parameter, or a column that is returned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) of: ValueType,
    /// Whether it may be `null`.
    pub(super) optional: bool,
}

/// A statement, to be given its parameters.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) sql: String,
    pub(super) line: usize,
    /// The parameters that it names, in order of first appearance.
    pub(super) names: Vec<String>,
    /// How many rows it must change.
    pub(super) rows: Option<u64>,
    pub(super) returns: Option<Returns>,
}

/// What a statement returns.
#[derive(Clone, Debug)]
pub(super) struct Returns {
    pub(super) line: usize,
    pub(super) columns: Vec<Field>,
    pub(super) max_rows: u32,
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// `null`.
    Nothing,
    /// One row, as an object.
    Row(Vec<Field>),
    /// One row, or `null`.
    Optional(Vec<Field>),
    /// A list of rows.
    Rows(Vec<Field>),
}

impl Answer {
    pub(super) fn columns(&self) -> &[Field] {
        match self {
            Self::Nothing => &[],
            Self::Row(columns) | Self::Optional(columns) | Self::Rows(columns) => columns,
        }
    }
}

impl Config {
    /// Reads and checks a file, as far as that needs no database.
    ///
    /// # Errors
    /// Every problem that was found, each with its line.
    pub(super) fn load(file: &Path) -> Result<Self, Refused> {
        let text =
            std::fs::read_to_string(file).map_err(|error| Problems::unreadable(file, &error))?;
        read::read(file, &text).map_err(|problems| Refused::Problems(Problems::of(file, problems)))
    }

    pub(super) fn handler(&self, name: &str) -> Option<&Handler> {
        self.handlers.iter().find(|handler| handler.name == name)
    }
}

impl Handler {
    /// Whether a caller may name the effect by a key of its own.
    pub(super) fn takes_key(&self) -> bool {
        matches!(self.work, Work::Effect { .. })
    }

    /// The store of an effect, where its keys are.
    pub(super) fn effect_store(&self) -> Option<&str> {
        match &self.work {
            Work::Effect { store, .. } => Some(store),
            Work::Query { .. } | Work::Transaction { .. } => None,
        }
    }

    pub(super) fn answer(&self) -> &Answer {
        match &self.work {
            Work::Effect { answer, .. } | Work::Query { answer, .. } => answer,
            Work::Transaction { .. } => &Answer::Nothing,
        }
    }

    /// Its statements, each with the store where it runs.
    pub(super) fn statements(&self) -> Vec<(&str, &Template)> {
        match &self.work {
            Work::Effect {
                store, statements, ..
            } => statements
                .iter()
                .map(|statement| (store.as_str(), statement))
                .collect(),
            Work::Query {
                store, statement, ..
            } => vec![(store, statement)],
            Work::Transaction { participants, .. } => participants
                .iter()
                .flat_map(|part| part.statements.iter().map(|one| (part.store.as_str(), one)))
                .collect(),
        }
    }

    /// The word for what it is, in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.work {
            Work::Effect { .. } => "effect",
            Work::Query { .. } => "query",
            Work::Transaction { .. } => "transaction",
        }
    }
}
