//! The user's statements in a group.
//!
//! Each text is prepared once in the group's transaction, and executed for each caller with its own
//! values; a *set* statement is executed once for all callers that ask for it. The server infers the
//! types of the parameters as the tables are now, and the lock that it takes for that keeps them so
//! until the commit: a statement means the same in a group as alone. (A statement that stays prepared
//! on its connection keeps the types of the day on which it was prepared, also after the table has
//! other ones.)
//!
//! Only what can't reach beyond its caller is taken: one statement that changes rows. Whatever else
//! it is (a `SELECT` that may change a setting, a command, a notification, of which a transaction
//! delivers equal ones once), its caller goes alone; so does, for a while, what was slow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use exactly_once_core::{Statement, Value};

use super::{named::Message, text};
use crate::postgres::literal;

/// The most texts that are remembered.
const TEXTS_MAX: usize = 1024;

/// The most bytes of parameters that a caller may bring into a group.
const BYTES_MAX: usize = 64 * 1024;

/// For how long callers of a text go alone that took longer than a group may take.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// A text, as it is prepared.
#[derive(Debug)]
pub(super) struct Text {
    body: String,
    slow_until: Mutex<Option<Instant>>,
}

impl Text {
    fn is_slow(&self) -> bool {
        let slow = self
            .slow_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slow.is_some_and(|until| Instant::now() < until)
    }

    fn was_slow(&self) {
        let mut slow = self
            .slow_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slow = Some(Instant::now() + SLOW_FOR);
    }
}

/// One statement of a caller.
pub(super) enum Effect {
    /// Executed for this caller, with these values as SQL.
    Own(Arc<Text>, Vec<String>),
    /// Executed for all at once.
    Set(Arc<Text>, Vec<Value>),
}

impl Effect {
    fn text(&self) -> &Arc<Text> {
        match self {
            Self::Own(text, _) | Self::Set(text, _) => text,
        }
    }
}

/// Whether one of these was slow just now.
pub(super) fn slow(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| effect.text().is_slow())
}

/// The statements that were seen.
#[derive(Default)]
pub(super) struct Effects {
    known: Mutex<HashMap<String, Arc<Text>>>,
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
        let effects: Vec<Effect> = statements
            .iter()
            .map(|one| self.effect(one))
            .collect::<Option<_>>()?;
        (!slow(&effects)).then_some(effects)
    }

    fn effect(&self, statement: &Statement) -> Option<Effect> {
        if !changes_rows_only(statement.text()) {
            return None;
        }
        let parameters = statement.parameters();
        // What is counted is counted for each caller.
        if let Some(expected) = statement.expected_rows() {
            let mut values = values(statement);
            values.push(format!("'{expected}'"));
            return Some(Effect::Own(self.text(counted(statement)), values));
        }
        let text = self.text(statement.text().to_owned());
        Some(if statement.is_set() {
            Effect::Set(text, parameters.to_vec())
        } else {
            Effect::Own(text, values(statement))
        })
    }

    fn text(&self, body: String) -> Arc<Text> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known.get(&body) {
            return Arc::clone(text);
        }
        if known.len() >= TEXTS_MAX {
            // A program that writes values into its texts: nothing is gained by remembering them.
            known.clear();
        }
        let text = Arc::new(Text {
            body: body.clone(),
            slow_until: Mutex::new(None),
        });
        known.insert(body, Arc::clone(&text));
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

/// The callers that a statement of a group's message was for.
pub(super) struct Blame {
    position: usize,
    pub(super) callers: Vec<usize>,
    /// What it executes.
    text: Arc<Text>,
    /// Whether it is executed with the values of all of them at once.
    pub(super) together: bool,
}

impl Blame {
    /// Its callers go alone for a while.
    pub(super) fn was_slow(&self) {
        self.text.was_slow();
    }
}

/// Which statement of the message is for which callers.
#[derive(Default)]
pub(super) struct Blames(Vec<Blame>);

impl Blames {
    /// The callers of the statement at this position; `None` where it is for all of them.
    pub(super) fn at(&self, position: usize) -> Option<&Blame> {
        self.0.iter().find(|blame| blame.position == position)
    }
}

/// Adds the statements of a group's callers: each caller's in their order. Callers are numbered by
/// their place in the iterator.
pub(super) fn execute<'a>(
    message: &mut Message,
    callers: impl Iterator<Item = &'a [Effect]> + Clone,
) -> Blames {
    let mut blames = Blames::default();
    let names = prepare(message, callers.clone(), &mut blames);
    let mut sets: Vec<Set<'_>> = Vec::new();
    for (caller, effects) in callers.enumerate() {
        if !effects
            .iter()
            .all(|effect| matches!(effect, Effect::Set(..)))
        {
            for effect in effects {
                let values = match effect {
                    Effect::Own(_, values) => values.clone(),
                    Effect::Set(_, values) => {
                        values.iter().map(|value| text::array([value])).collect()
                    }
                };
                blames.push(message, &[caller], effect.text(), false);
                call(message, &names, effect.text(), &values);
            }
            continue;
        }
        let alike = |set: &&mut Set<'_>| {
            let first = set.members.first();
            first.is_some_and(|(_, one)| same_shape(one, effects))
        };
        match sets.iter_mut().find(alike) {
            Some(set) => set.members.push((caller, effects)),
            None => sets.push(Set {
                members: vec![(caller, effects)],
            }),
        }
    }
    for set in sets {
        let callers: Vec<usize> = set.members.iter().map(|(caller, _)| *caller).collect();
        let shape = set.members.first().map_or(&[][..], |(_, effects)| *effects);
        for (at, effect) in shape.iter().enumerate() {
            blames.push(message, &callers, effect.text(), true);
            call(message, &names, effect.text(), &set.columns(at));
        }
    }
    for at in 0..names.len() {
        message.plain(&format!("DEALLOCATE {EFFECT}{at}"));
    }
    blames
}

/// What the names of the texts begin with, within one message.
pub(super) const EFFECT: &str = "exactly_once_effect_";

/// Prepares each text once. Where one can't be prepared, none of its callers is served by it.
fn prepare<'a>(
    message: &mut Message,
    callers: impl Iterator<Item = &'a [Effect]>,
    blames: &mut Blames,
) -> Vec<Arc<Text>> {
    let mut users: Vec<(Arc<Text>, Vec<usize>)> = Vec::new();
    for (caller, effects) in callers.enumerate() {
        for effect in effects {
            match users
                .iter_mut()
                .find(|(text, _)| Arc::ptr_eq(text, effect.text()))
            {
                Some((_, callers)) if callers.last() == Some(&caller) => {}
                Some((_, callers)) => callers.push(caller),
                None => users.push((Arc::clone(effect.text()), vec![caller])),
            }
        }
    }
    for (at, (text, callers)) in users.iter().enumerate() {
        blames.push(message, callers, text, false);
        message.prepare_effect(at, &text.body);
    }
    users.into_iter().map(|(text, _)| text).collect()
}

fn call(message: &mut Message, names: &[Arc<Text>], text: &Arc<Text>, values: &[String]) {
    let at = names.iter().position(|name| Arc::ptr_eq(name, text));
    // Each text has a name.
    let at = at.unwrap_or(names.len());
    let sql = match values {
        [] => format!("EXECUTE {EFFECT}{at}"),
        values => format!("EXECUTE {EFFECT}{at}({})", values.join(", ")),
    };
    message.plain(&sql);
}

impl Blames {
    fn push(&mut self, message: &Message, callers: &[usize], text: &Arc<Text>, together: bool) {
        self.0.push(Blame {
            position: message.position(),
            callers: callers.to_vec(),
            text: Arc::clone(text),
            together,
        });
    }
}

/// Callers that ask for the same texts, all of the kind that is executed for all at once.
struct Set<'a> {
    members: Vec<(usize, &'a [Effect])>,
}

impl Set<'_> {
    /// The parameters of one statement: an array for each, with an element for each caller.
    fn columns(&self, at: usize) -> Vec<String> {
        let values = |effects: &'_ [Effect]| match effects.get(at) {
            Some(Effect::Set(_, values)) => values.clone(),
            _ => Vec::new(),
        };
        let rows: Vec<Vec<Value>> = self.members.iter().map(|(_, one)| values(one)).collect();
        let width = rows.first().map_or(0, Vec::len);
        (0..width)
            .map(|column| text::array(rows.iter().filter_map(|row| row.get(column))))
            .collect()
    }
}

fn same_shape(one: &[Effect], other: &[Effect]) -> bool {
    let width = |effect: &Effect| match effect {
        Effect::Set(_, values) => values.len(),
        Effect::Own(..) => usize::MAX,
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| Arc::ptr_eq(one.text(), other.text()) && width(one) == width(other))
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
        let effects = Effects::default();
        for number in 0..3 * TEXTS_MAX {
            let statement = Statement::new(format!("INSERT INTO t VALUES ({number})"));
            assert!(effects.of(&[statement]).is_some());
            assert!(effects.known.lock().unwrap().len() <= TEXTS_MAX);
        }
    }

    #[test]
    fn what_was_slow_goes_alone() {
        let effects = Effects::default();
        let statement = [Statement::new("INSERT INTO t VALUES (1)")];
        let known = effects.of(&statement).unwrap();
        known[0].text().was_slow();
        assert!(effects.of(&statement).is_none());
        let other = Statement::new("INSERT INTO t VALUES (2)");
        assert!(effects.of(&[other]).is_some());
    }
}
