//! Prepares every statement against its database, so that a wrong name or type is found at the start
//! and not by the first call. Nothing is executed.
//!
//! # Layout
//! - `sqlite`, `postgres`: what the database says of one statement.

#[cfg(feature = "postgres-shared")]
mod postgres;
#[cfg(feature = "rusqlite")]
mod sqlite;

use super::{
    catalog::{Catalog, Served},
    config::{Field, Handler, Problem, Template, Work},
};
use crate::{AnyTx, Error, ErrorKind, Statement, Store, Transactional};

/// What a database says of a statement that it has prepared.
#[cfg_attr(
    not(feature = "postgres-shared"),
    allow(
        dead_code,
        reason = "only Postgres has types of parameters and columns"
    )
)]
#[derive(Debug, Default)]
pub(super) struct Described {
    /// The types of its parameters, where the database has types for them.
    parameters: Vec<Option<Known>>,
    columns: Vec<Column>,
    /// Whether it can change something, where the database says so.
    writes: Option<bool>,
}

/// A type of a database: its name, and whether a declared one can stand for it.
#[cfg_attr(
    not(feature = "postgres-shared"),
    allow(
        dead_code,
        reason = "only Postgres has types of parameters and columns"
    )
)]
#[derive(Debug)]
pub(super) struct Known {
    name: String,
    takes: fn(&Known, &Field) -> bool,
}

#[cfg_attr(
    not(feature = "postgres-shared"),
    allow(
        dead_code,
        reason = "only Postgres has types of parameters and columns"
    )
)]
#[derive(Debug)]
struct Column {
    name: String,
    of: Option<Known>,
}

/// What is wrong with the statements of the catalog; empty if nothing is.
pub(super) async fn statements(catalog: &Catalog) -> Vec<Problem> {
    let mut problems = Vec::new();
    for handler in &catalog.config.handlers {
        // Those of a transaction are of its effects, which are handlers themselves.
        if matches!(handler.work, Work::Transaction { .. }) {
            continue;
        }
        for (store, template) in handler.statements() {
            let found = match catalog.store(store) {
                Ok(store) => one(store, handler, template).await,
                Err(error) => Err(problem(template.line, error.to_string())),
            };
            if let Err(mut problem) = found {
                problem.text = format!("{} `{}`: {}", handler.kind(), handler.name, problem.text);
                problems.push(problem);
            }
        }
    }
    problems
}

fn problem(line: usize, text: impl Into<String>) -> Problem {
    let text = text.into();
    Problem { line, text }
}

async fn one(store: &Served, handler: &Handler, template: &Template) -> Result<(), Problem> {
    let line = template.line;
    let text = Statement::named(template.sql.as_str()).text().to_owned();
    let described = describe(store, text).await;
    let Some(described) = described.map_err(|error| problem(line, error.to_string()))? else {
        return Ok(());
    };
    if handler.kind() == "query" && described.writes == Some(true) {
        let text = "a query only reads, and this statement writes: make it an effect";
        return Err(problem(line, text));
    }
    parameters(handler, template, &described).map_err(|text| problem(line, text))?;
    let line = template
        .returns
        .as_ref()
        .map_or(line, |returns| returns.line);
    columns(template, &described).map_err(|text| problem(line, text))
}

/// `None` where a backend can't say anything without executing.
async fn describe(store: &Served, text: String) -> Result<Option<Described>, Error> {
    if store.backend() == "redis" || store.backend() == "memory" {
        return Ok(None);
    }
    let mut tx = store.begin().await?;
    let described = prepare(&mut tx, text).await;
    // The database's own words are the answer; the transaction has done nothing.
    let _ = store.rollback(tx).await;
    described
        .map(Some)
        .map_err(|error| error.into_error("prepare", store))
}

async fn prepare(tx: &mut AnyTx, text: String) -> Result<Described, crate::WorkError> {
    #[cfg(feature = "rusqlite")]
    if let Some(tx) = tx.downcast_mut::<crate::sqlite::SqliteTx>() {
        return sqlite::describe(tx, text).await;
    }
    #[cfg(feature = "tokio-postgres")]
    if let Some(tx) = tx.downcast_mut::<crate::postgres::TokioPostgresTx>() {
        return postgres::describe(tx, &text).await;
    }
    #[cfg(feature = "sqlx-postgres")]
    if let Some(tx) = tx.downcast_mut::<crate::postgres::SqlxPostgresTx>() {
        return postgres::describe_by_sqlx(tx, &text).await;
    }
    let _ = (tx, text);
    let unknown = Error::new(ErrorKind::Unsupported, "prepare", "any");
    Err(unknown.with_message("this backend prepares nothing").into())
}

fn parameters(handler: &Handler, template: &Template, described: &Described) -> Result<(), String> {
    for (name, known) in template.names.iter().zip(&described.parameters) {
        let declared = handler.parameters.iter().find(|field| field.name == *name);
        if let (Some(declared), Some(known)) = (declared, known)
            && !(known.takes)(known, declared)
        {
            return Err(format!(
                "the parameter `{name}` is declared `{}`, and the database has `{}` there",
                declared.of, known.name
            ));
        }
    }
    Ok(())
}

fn columns(template: &Template, described: &Described) -> Result<(), String> {
    let names: Vec<_> = described
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let Some(returns) = &template.returns else {
        return match names.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the statement returns {}, and `returns` does not say so",
                names.join(", ")
            )),
        };
    };
    for field in &returns.columns {
        let Some(column) = described
            .columns
            .iter()
            .find(|column| column.name == field.name)
        else {
            return Err(format!(
                "returns has `{}`, and the statement returns {}",
                field.name,
                match names.is_empty() {
                    true => "no columns: does it lack RETURNING?".to_owned(),
                    false => names.join(", "),
                }
            ));
        };
        if let Some(known) = &column.of
            && !(known.takes)(known, field)
        {
            return Err(format!(
                "returns has `{}` as `{}`, and the database returns `{}`",
                field.name, field.of, known.name
            ));
        }
    }
    match names
        .iter()
        .find(|name| !returns.columns.iter().any(|field| field.name == **name))
    {
        Some(name) => Err(format!(
            "the statement returns `{name}`, which `returns` lacks"
        )),
        None => Ok(()),
    }
}
