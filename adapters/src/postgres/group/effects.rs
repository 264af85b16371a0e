//! The user's statements in a group.
//!
//! Each is prepared once for each connection under the name of its text, and executed for each
//! caller with his own values; a *set* statement is executed once for all callers who ask for it.
//!
//! Only what can't reach beyond its caller is taken: one statement that changes rows. Whatever else
//! it is (several statements in one text, a `SELECT` that may change a setting, a command), its
//! caller goes alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once_core::{Statement, Value};

use super::{
    named::{Message, Named},
    text,
};
use crate::postgres::literal;

/// The most texts that are prepared on each connection: a program that writes values into its texts
/// must not fill the server's memory.
const TEXTS_MAX: usize = 256;

/// The most bytes of parameters that a caller may bring into a group.
const BYTES_MAX: usize = 64 * 1024;

/// One statement of a caller.
pub(super) enum Effect {
    /// Executed for this caller, with these values as SQL.
    Own(Arc<Named>, Vec<String>),
    /// Executed for all at once.
    Set(Arc<Named>, Vec<Value>),
}

/// The statements that were seen.
#[derive(Default)]
pub(super) struct Effects {
    known: Mutex<HashMap<String, Arc<Named>>>,
}

impl Effects {
    /// The statements as a group executes them; `None` where the caller had better go alone.
    pub(super) fn of(&self, statements: &[Statement]) -> Option<Vec<Effect>> {
        let bytes: usize = statements
            .iter()
            .flat_map(Statement::parameters)
            .map(size)
            .sum();
        if bytes > BYTES_MAX {
            return None;
        }
        statements.iter().map(|one| self.effect(one)).collect()
    }

    fn effect(&self, statement: &Statement) -> Option<Effect> {
        if !changes_rows_only(statement.text()) {
            return None;
        }
        let parameters = statement.parameters();
        // What is counted is counted for each caller.
        if let Some(expected) = statement.expected_rows() {
            let named = self.named(counted(statement))?;
            let mut values = values(statement);
            values.push(format!("'{expected}'"));
            return Some(Effect::Own(named, values));
        }
        let named = self.named(statement.text().to_owned())?;
        Some(if statement.is_set() {
            Effect::Set(named, parameters.to_vec())
        } else {
            Effect::Own(named, values(statement))
        })
    }

    fn named(&self, body: String) -> Option<Arc<Named>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = known.get(&body) {
            return Some(Arc::clone(named));
        }
        if known.len() >= TEXTS_MAX {
            return None;
        }
        let named = Named::new("", &body);
        known.insert(body, Arc::clone(&named));
        Some(named)
    }
}

/// A parameter of a set statement is an array.
pub(in crate::postgres) fn values(statement: &Statement) -> Vec<String> {
    let value = |value| {
        if statement.is_set() {
            text::array([value])
        } else {
            literal::untyped(value)
        }
    };
    statement.parameters().iter().map(value).collect()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}

/// The statement, which fails where it changes another number of rows than its last parameter.
/// Where this is no statement (it returns rows of its own, say), its caller goes alone.
fn counted(statement: &Statement) -> String {
    format!(
        "WITH exactly_once_changed AS (\n{}\nRETURNING 1) \
         SELECT 1 / (CASE WHEN pg_catalog.count(*) = ${}::int8 THEN 1 ELSE 0 END) \
         FROM exactly_once_changed",
        statement.text(),
        statement.parameters().len() + 1
    )
}

fn begins_with(text: &str, word: &str) -> bool {
    text.trim_start()
        .split(|letter: char| !letter.is_ascii_alphabetic())
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// Whether it may be executed for a whole set of callers.
pub(in crate::postgres) fn inserts(text: &str) -> bool {
    begins_with(text, "insert")
}

/// Whether the text is one statement that changes rows, and surely nothing else: by what it begins
/// with, and without a sign that could end it or a function that changes settings.
fn changes_rows_only(text: &str) -> bool {
    let begins = ["insert", "update", "delete", "merge"]
        .iter()
        .any(|known| begins_with(text, known));
    begins && !text.contains(';') && !text.to_ascii_lowercase().contains("set_config")
}

/// Texts, and the callers who ask for just these.
type Set<'a> = (Vec<&'a Arc<Named>>, Vec<&'a [Effect]>);

/// Adds the statements of a group's callers: each caller's in their order.
pub(super) fn execute<'a>(message: &mut Message, callers: impl Iterator<Item = &'a [Effect]>) {
    let mut sets: Vec<Set<'_>> = Vec::new();
    for effects in callers {
        let Some(shape) = shape(effects) else {
            for effect in effects {
                match effect {
                    Effect::Own(named, values) => message.execute(named, values),
                    Effect::Set(named, values) => {
                        let arrays: Vec<String> =
                            values.iter().map(|value| text::array([value])).collect();
                        message.execute(named, &arrays);
                    }
                }
            }
            continue;
        };
        match sets.iter_mut().find(|(known, members)| {
            same_shape(known, &shape) && members.first().is_some_and(|one| same_width(one, effects))
        }) {
            Some((_, members)) => members.push(effects),
            None => sets.push((shape, vec![effects])),
        }
    }
    for (shape, members) in sets {
        for (at, named) in shape.into_iter().enumerate() {
            message.execute(named, &columns(&members, at));
        }
    }
}

/// The texts, if all are of the kind that is executed for all at once.
fn shape(effects: &[Effect]) -> Option<Vec<&Arc<Named>>> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Set(named, _) => Some(named),
            Effect::Own(..) => None,
        })
        .collect()
}

fn same_shape(one: &[&Arc<Named>], other: &[&Arc<Named>]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| Arc::ptr_eq(one, other))
}

fn set_values(effects: &[Effect], at: usize) -> &[Value] {
    match effects.get(at) {
        Some(Effect::Set(_, values)) => values,
        _ => &[],
    }
}

fn same_width(one: &[Effect], other: &[Effect]) -> bool {
    (0..one.len()).all(|at| set_values(one, at).len() == set_values(other, at).len())
}

/// The parameters of one statement: an array for each, with an element for each caller.
fn columns(members: &[&[Effect]], at: usize) -> Vec<String> {
    let width = members
        .first()
        .map_or(0, |effects| set_values(effects, at).len());
    (0..width)
        .map(|column| {
            text::array(
                members
                    .iter()
                    .filter_map(|effects| set_values(effects, at).get(column)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_with_its_caller_is_taken() {
        for good in [
            "INSERT INTO t VALUES ($1)",
            "  update t SET a = 1",
            "DELETE FROM t -- x",
        ] {
            assert!(changes_rows_only(good), "{good}");
        }
        for bad in [
            "COMMIT",
            "SELECT 1",
            "INSERT INTO t VALUES (1); COMMIT",
            "SELECT set_config('app.tenant', $1, true)",
            "INSERT INTO t SELECT Set_Config('role', $1, true)",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "/* */ INSERT INTO t VALUES (1)",
            "",
        ] {
            assert!(!changes_rows_only(bad), "{bad}");
        }
    }

    #[test]
    fn texts_are_bounded() {
        let effects = Effects::default();
        for number in 0..TEXTS_MAX {
            let statement = Statement::new(format!("INSERT INTO t VALUES ({number})"));
            assert!(effects.of(&[statement]).is_some());
        }
        let one_more = Statement::new("INSERT INTO t VALUES (-1)");
        assert!(effects.of(&[one_more]).is_none());
        let known = Statement::new("INSERT INTO t VALUES (0)");
        assert!(effects.of(&[known]).is_some());
    }
}
