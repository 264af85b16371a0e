//! The user's statements that a batch takes.
//!
//! Only what can't reach beyond its caller is taken: one statement that changes rows. Whatever else
//! it is (a `SELECT` that may change a setting, a command, a notification, of which a transaction
//! delivers equal ones once), its caller goes alone; so does, for a while, what was slow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use exactly_once_core::{
    Statement, Value,
    adapter::returned::{END, SEPARATOR},
};

use super::{execute, keys::KeyName, named::Named, text};
use crate::postgres::{
    literal,
    plain_insert::PlainInsert,
    returned::{self, Binding},
};

/// The most texts that are remembered.
const TEXTS_MAX: usize = 1024;

/// The most bytes of parameters that a caller may bring into a group.
const BYTES_MAX: usize = 64 * 1024;

/// The most bytes of rows that a caller of a group may be given.
const ROWS_MAX: u32 = 64 * 1024;

/// For how long callers of a text go alone that took longer than a batch may take, or the rows of a
/// plain insert one by one whose table has triggers or rules.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Something that holds for a while.
#[derive(Debug, Default)]
struct Remembered(Mutex<Option<Instant>>);

impl Remembered {
    fn holds(&self) -> bool {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn set(&self) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REMEMBERED_FOR);
    }
}

/// A text of the user's, and what is known of it.
#[derive(Debug)]
pub(super) struct Text {
    /// As it is prepared.
    pub(super) body: String,
    plain: Option<PlainInsert>,
    slow: Remembered,
    one_by_one: Remembered,
}

impl Text {
    fn new(body: &str, plain: Option<PlainInsert>) -> Self {
        Self {
            body: body.to_owned(),
            plain,
            slow: Remembered::default(),
            one_by_one: Remembered::default(),
        }
    }

    /// Its callers go alone for a while.
    pub(super) fn was_slow(&self) {
        self.slow.set();
    }

    /// Its rows are executed one by one for a while: one statement for all would mean something else.
    pub(super) fn rows_differ(&self) {
        self.one_by_one.set();
    }

    /// The same, where it is a plain insert.
    pub(super) fn insert(&self) -> Option<&PlainInsert> {
        self.plain.as_ref()
    }

    /// Whether the rows of all its callers may be one statement, as far as is known.
    pub(super) fn has_rows(&self) -> bool {
        self.plain.is_some() && !self.one_by_one.holds()
    }
}

/// One statement of a caller.
pub(super) enum Effect {
    /// Executed for this caller, with these values as SQL.
    Own(Arc<Text>, Vec<String>),
    /// A plain insert, with its values.
    Row(Arc<Text>, Vec<Value>),
    /// The same; its answer is the receipt with its rows.
    Returning(Arc<Text>, Vec<String>),
    /// Executed for all at once.
    Set(Arc<Text>, Vec<Value>),
}

impl Effect {
    pub(super) fn text(&self) -> &Arc<Text> {
        match self {
            Self::Own(text, _) | Self::Returning(text, _) => text,
            Self::Row(text, _) | Self::Set(text, _) => text,
        }
    }
}

/// Where the rows of a caller's statements are kept.
pub(super) struct Keeping<'a> {
    pub(super) name: &'a KeyName,
    /// The table of keys.
    pub(super) keys: &'a str,
    /// The most bytes of a receipt.
    pub(super) limit: usize,
    /// Whether a backslash escapes in plain quotes.
    pub(super) escapes: bool,
}

/// Whether one of these was slow just now.
pub(super) fn slow(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| effect.text().slow.holds())
}

/// The statements that were seen.
pub(super) struct Effects {
    known: Mutex<HashMap<String, Arc<Text>>>,
    /// See [`execute::guard`].
    pub(super) guard: Arc<Named>,
}

impl Effects {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::default(),
            guard: execute::guard(),
        }
    }

    /// The statements as a group executes them; `None` where the caller had better go alone, or where
    /// one returns rows that are to be kept nowhere.
    pub(super) fn of(
        &self,
        statements: &[Statement],
        keeping: Option<&Keeping<'_>>,
    ) -> Option<Vec<Effect>> {
        let bytes: usize = statements
            .iter()
            .flat_map(Statement::parameters)
            .map(size)
            .sum();
        if bytes > BYTES_MAX {
            return None;
        }
        let returns = |one: &Statement| one.returns().is_some();
        let first = statements.iter().position(returns);
        let last = statements.iter().rposition(returns);
        let effects: Vec<Effect> = statements
            .iter()
            .enumerate()
            .map(|(at, one)| {
                let before = if first == Some(at) { "" } else { SEPARATOR };
                let after = if last == Some(at) { END } else { "" };
                self.effect(one, keeping, [before, after])
            })
            .collect::<Option<_>>()?;
        (!slow(&effects)).then_some(effects)
    }

    fn effect(
        &self,
        statement: &Statement,
        keeping: Option<&Keeping<'_>>,
        around: [&str; 2],
    ) -> Option<Effect> {
        if !changes_rows_only(statement.text()) {
            return None;
        }
        if let Some(limits) = statement.returns() {
            let keeping = keeping?;
            if limits.max_bytes() > ROWS_MAX || returned::has_none(statement, keeping.escapes) {
                return None;
            }
            let (keys, limit) = (keeping.keys, keeping.limit);
            let body = returned::in_receipt(statement, limits, limit, keys, keeping.escapes);
            let mut values = values(statement);
            let binding = Binding {
                key: [&*keeping.name.namespace, &keeping.name.key].map(text::one_bytea),
                around,
                expected: statement.expected_rows(),
            };
            values.extend(binding.values());
            return Some(Effect::Returning(self.text(&body, None), values));
        }
        let parameters = statement.parameters();
        // What is counted is counted for each caller.
        if let Some(expected) = statement.expected_rows() {
            let mut values = values(statement);
            values.push(format!("'{expected}'"));
            return Some(Effect::Own(self.text(&counted(statement), None), values));
        }
        let (text, count) = (statement.text(), parameters.len());
        if statement.is_set() {
            return Some(Effect::Set(self.text(text, None), parameters.to_vec()));
        }
        let text = self.text(text, Some(count));
        Some(match text.insert() {
            Some(_) => Effect::Row(text, parameters.to_vec()),
            None => Effect::Own(text, values(statement)),
        })
    }

    /// The same text for the same caller's words; with the number of its parameters where it may be
    /// a plain insert.
    fn text(&self, body: &str, parameters: Option<usize>) -> Arc<Text> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known.get(body) {
            return Arc::clone(text);
        }
        if known.len() >= TEXTS_MAX {
            // A program that writes values into its texts: nothing is gained by remembering them.
            known.clear();
        }
        let plain = parameters.and_then(|count| PlainInsert::read(body, count));
        let text = Arc::new(Text::new(body, plain));
        known.insert(body.to_owned(), Arc::clone(&text));
        text
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
        Value::Json(text) => text.len(),
        Value::Numeric(number) => number.as_str().len(),
        Value::Array(items) => items.iter().map(size).sum(),
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
/// with, and without a sign that could end it, a function that changes settings, or one that notifies.
fn changes_rows_only(text: &str) -> bool {
    let begins = ["insert", "update", "delete", "merge"]
        .iter()
        .any(|known| begins_with(text, known));
    let lower = text.to_ascii_lowercase();
    begins
        && ![";", "set_config", "notify"]
            .iter()
            .any(|sign| lower.contains(sign))
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
            "INSERT INTO t SELECT 1 FROM pg_Notify('t', 'x')",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "/* */ INSERT INTO t VALUES (1)",
            "",
        ] {
            assert!(!changes_rows_only(bad), "{bad}");
        }
    }

    #[test]
    fn texts_are_bounded() {
        let effects = Effects::new();
        for number in 0..3 * TEXTS_MAX {
            let statement = Statement::new(format!("INSERT INTO t VALUES ({number})"));
            assert!(effects.of(&[statement], None).is_some());
            assert!(effects.known.lock().unwrap().len() <= TEXTS_MAX);
        }
    }

    #[test]
    fn what_was_slow_goes_alone() {
        let effects = Effects::new();
        let statement = [Statement::new("INSERT INTO t VALUES (1)")];
        let known = effects.of(&statement, None).unwrap();
        known.first().unwrap().text().was_slow();
        assert!(effects.of(&statement, None).is_none());
        let other = Statement::new("INSERT INTO t VALUES (2)");
        assert!(effects.of(&[other], None).is_some());
    }
}
