//! The users' statements in a batch's message.
//!
//! A plain insert is one statement for the rows of all its callers; a *set* statement is executed once
//! for all callers that ask for it. Every other text is prepared once in the batch's transaction, and
//! executed for each caller with its own values.
//!
//! The server infers the types of the values as the tables are now, and the lock that it takes for that
//! keeps them so until the commit: a statement means the same in a batch as alone. (A statement that
//! stays prepared on its connection keeps the types of the day on which it was prepared, also after
//! the table has other ones.) A trigger or a rule could tell many rows of one statement from many
//! statements; so where a plain insert had several rows, the batch looks for one before it commits,
//! when none can be added any more, and fails if it finds one.

use std::sync::Arc;

use exactly_once_core::Value;

use super::{
    effects::{Effect, Text},
    named::{Message, Named},
    text,
};
use crate::postgres::literal;

/// What the names of the prepared texts begin with, within one message.
pub(super) const EFFECT: &str = "exactly_once_effect_";

/// Whether the table `c` has nothing that could tell rows of one statement from a statement for each:
/// what looks at other rows of the table as a row comes in. A function that a default or a check calls, and
/// that reads the table, is not found: PostgreSQL asks of both that they depend on the row alone.
pub(super) const PLAIN_TABLE: &str = "c.relkind = 'r' AND NOT c.relhasrules \
     AND NOT c.relrowsecurity AND NOT EXISTS (\
     SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f \
     WHERE f.conrelid = c.oid AND f.confrelid = c.oid)";

/// Fails with a division by zero where the table is no plain one. The insert before it holds the lock
/// that changing this needs.
pub(super) fn guard() -> Arc<Named> {
    Named::new(
        "(regclass)",
        &format!(
            "SELECT 1 / (CASE WHEN {PLAIN_TABLE} THEN 1 ELSE 0 END) \
             FROM pg_catalog.pg_class c WHERE c.oid = $1"
        ),
    )
}

/// The callers that a statement of a batch's message was for.
pub(super) struct Blame {
    position: usize,
    pub(super) callers: Vec<usize>,
    /// What it executes.
    pub(super) text: Arc<Text>,
    pub(super) form: Form,
    /// Whether the answer is its caller's receipt.
    returns: bool,
}

/// How a statement serves its callers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One caller's own; or a text that could not be prepared, which serves none of its callers.
    Each,
    /// A set statement, with the values of all of them.
    Set,
    /// A plain insert of several callers' rows.
    Rows,
    /// What looks whether these rows may be one statement.
    Guard,
}

/// Which statement of the message is for which callers.
#[derive(Default)]
pub(super) struct Blames(Vec<Blame>);

impl Blames {
    /// The callers of the statement at this position; `None` where it is for all of them.
    pub(super) fn at(&self, position: usize) -> Option<&Blame> {
        self.0.iter().find(|blame| blame.position == position)
    }

    /// Each caller and position of a statement whose answer is the caller's receipt so far.
    pub(super) fn receipts(&self) -> impl Iterator<Item = (usize, usize)> {
        let returning = self.0.iter().filter(|blame| blame.returns);
        returning.filter_map(|blame| Some((*blame.callers.first()?, blame.position)))
    }

    fn push(&mut self, message: &Message, callers: &[usize], text: &Arc<Text>, form: Form) {
        self.0.push(Blame {
            position: message.position(),
            callers: callers.to_vec(),
            text: Arc::clone(text),
            form,
            returns: false,
        });
    }

    fn push_returning(&mut self, message: &Message, caller: usize, text: &Arc<Text>) {
        self.push(message, &[caller], text, Form::Each);
        if let Some(last) = self.0.last_mut() {
            last.returns = true;
        }
    }
}

/// A text of this message, and the callers that use it.
struct Use {
    text: Arc<Text>,
    callers: Vec<usize>,
    /// Whether the rows of its callers are one statement.
    rows: bool,
}

/// Adds the statements of a batch's callers, each caller's in their order. Callers are numbered by
/// their place in the iterator. `each`: the rows of plain inserts are executed one by one, so that an
/// error names its caller.
pub(super) fn execute<'a>(
    message: &mut Message,
    guard: &Arc<Named>,
    callers: impl Iterator<Item = &'a [Effect]> + Clone,
    each: bool,
) -> Blames {
    let mut writer = Writer {
        blames: Blames::default(),
        uses: uses(callers.clone(), each),
        message,
    };
    writer.prepare();
    let mut shapes: Vec<Shape<'_>> = Vec::new();
    for (caller, effects) in callers.enumerate() {
        if !effects.iter().all(|effect| writer.shared(effect)) {
            writer.own(caller, effects);
            continue;
        }
        let alike = |shape: &&mut Shape<'_>| shape.fits(effects);
        match shapes.iter_mut().find(alike) {
            Some(shape) => shape.members.push((caller, effects)),
            None => shapes.push(Shape {
                members: vec![(caller, effects)],
            }),
        }
    }
    for shape in &shapes {
        writer.shape(shape);
    }
    writer.guard(guard, &shapes);
    writer.forget();
    writer.blames
}

fn uses<'a>(callers: impl Iterator<Item = &'a [Effect]>, each: bool) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::new();
    for (caller, effects) in callers.enumerate() {
        for effect in effects {
            let text = effect.text();
            match uses.iter_mut().find(|used| Arc::ptr_eq(&used.text, text)) {
                Some(used) if used.callers.last() == Some(&caller) => {}
                Some(used) => used.callers.push(caller),
                None => uses.push(Use {
                    text: Arc::clone(text),
                    callers: vec![caller],
                    rows: false,
                }),
            }
        }
    }
    // Decided once for the whole message. The row of a lone caller is its own statement either way.
    for used in &mut uses {
        used.rows = used.text.has_rows() && (!each || used.callers.len() == 1);
    }
    uses
}

struct Writer<'m> {
    message: &'m mut Message,
    blames: Blames,
    uses: Vec<Use>,
}

impl Writer<'_> {
    /// Prepares the texts that need it, each once.
    fn prepare(&mut self) {
        for (at, used) in self.uses.iter().enumerate().filter(|(_, used)| !used.rows) {
            self.blames
                .push(self.message, &used.callers, &used.text, Form::Each);
            self.message.prepare_effect(at, &used.text.body);
        }
    }

    fn forget(&mut self) {
        for (at, _) in self.uses.iter().enumerate().filter(|(_, used)| !used.rows) {
            self.message.plain(&format!("DEALLOCATE {EFFECT}{at}"));
        }
    }

    fn place(&self, text: &Arc<Text>) -> Option<(usize, &Use)> {
        let mut uses = self.uses.iter().enumerate();
        uses.find(|(_, used)| Arc::ptr_eq(&used.text, text))
    }

    /// How this text is executed for several callers at once, if that is how.
    fn by_rows(&self, text: &Arc<Text>) -> bool {
        self.place(text).is_some_and(|(_, used)| used.rows)
    }

    fn shared(&self, effect: &Effect) -> bool {
        matches!(effect, Effect::Set(..)) || self.by_rows(effect.text())
    }

    fn call(&mut self, text: &Arc<Text>, values: &[String]) {
        // Each text is among them.
        let at = self.place(text).map_or(0, |(at, _)| at);
        let sql = match values {
            [] => format!("EXECUTE {EFFECT}{at}"),
            values => format!("EXECUTE {EFFECT}{at}({})", values.join(", ")),
        };
        self.message.plain(&sql);
    }

    /// Each statement of one caller.
    fn own(&mut self, caller: usize, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Returning(text, _) => {
                    self.blames.push_returning(self.message, caller, text);
                }
                _ => self
                    .blames
                    .push(self.message, &[caller], effect.text(), Form::Each),
            }
            match effect {
                Effect::Own(text, values) | Effect::Returning(text, values) => {
                    self.call(text, values);
                }
                Effect::Row(text, values) => self.row(text, literals(values)),
                Effect::Set(text, values) => {
                    let arrays: Vec<String> =
                        values.iter().map(|value| text::array([value])).collect();
                    self.call(text, &arrays);
                }
            }
        }
    }

    fn row(&mut self, text: &Arc<Text>, values: Vec<String>) {
        match text.insert().filter(|_| self.by_rows(text)) {
            Some(insert) => self.message.plain(&insert.of_rows(std::iter::once(values))),
            None => self.call(text, &values),
        }
    }

    /// Each statement of a shape, for all its callers.
    fn shape(&mut self, shape: &Shape<'_>) {
        let callers: Vec<usize> = shape.members.iter().map(|(caller, _)| *caller).collect();
        for (at, effect) in shape.effects().iter().enumerate() {
            let text = effect.text();
            match (effect, text.insert()) {
                (Effect::Row(..), Some(insert)) => {
                    let form = match callers.len() {
                        1 => Form::Each,
                        _ => Form::Rows,
                    };
                    self.blames.push(self.message, &callers, text, form);
                    self.message.plain(&insert.of_rows(shape.rows(at)));
                }
                _ => {
                    self.blames.push(self.message, &callers, text, Form::Set);
                    self.call(text, &shape.columns(at));
                }
            }
        }
    }

    /// Looks at the table of each plain insert that had several rows.
    fn guard(&mut self, guard: &Arc<Named>, shapes: &[Shape<'_>]) {
        for used in self.uses.iter().filter(|used| used.rows) {
            let Some(insert) = used.text.insert() else {
                continue;
            };
            if shapes.iter().any(|shape| shape.has_rows_of(&used.text)) {
                self.blames
                    .push(self.message, &used.callers, &used.text, Form::Guard);
                self.message
                    .execute(guard, &[literal::escaped(insert.table())]);
            }
        }
        self.message.uses(guard);
    }
}

fn literals(values: &[Value]) -> Vec<String> {
    values.iter().map(literal::untyped).collect()
}

/// Callers that ask for the same texts, each of which is executed for all of them at once.
struct Shape<'a> {
    members: Vec<(usize, &'a [Effect])>,
}

impl<'a> Shape<'a> {
    fn effects(&self) -> &'a [Effect] {
        self.members.first().map_or(&[][..], |(_, effects)| effects)
    }

    fn fits(&self, other: &[Effect]) -> bool {
        let width = |effect: &Effect| match effect {
            Effect::Set(_, values) => values.len(),
            Effect::Own(..) | Effect::Row(..) | Effect::Returning(..) => usize::MAX,
        };
        let same = |(one, other): (&Effect, &Effect)| {
            Arc::ptr_eq(one.text(), other.text()) && width(one) == width(other)
        };
        let effects = self.effects();
        effects.len() == other.len() && effects.iter().zip(other).all(same)
    }

    fn has_rows_of(&self, text: &Arc<Text>) -> bool {
        let is_it =
            |effect: &Effect| matches!(effect, Effect::Row(..)) && Arc::ptr_eq(effect.text(), text);
        self.members.len() > 1 && self.effects().iter().any(is_it)
    }

    /// The values of one statement, for each caller.
    fn rows(&self, at: usize) -> impl Iterator<Item = Vec<String>> {
        self.members
            .iter()
            .map(move |(_, effects)| match effects.get(at) {
                Some(Effect::Row(_, values)) => literals(values),
                _ => Vec::new(),
            })
    }

    /// The parameters of one set statement: an array for each, with an element for each caller.
    fn columns(&self, at: usize) -> Vec<String> {
        let values = |effects: &'a [Effect]| match effects.get(at) {
            Some(Effect::Set(_, values)) => values.as_slice(),
            _ => &[],
        };
        let rows: Vec<&[Value]> = self.members.iter().map(|(_, one)| values(one)).collect();
        let width = rows.first().map_or(0, |row| row.len());
        (0..width)
            .map(|column| text::array(rows.iter().filter_map(|row| row.get(column))))
            .collect()
    }
}
