//! Statements that are known up front: their text, what they bind, what they must change and what they
//! return.
//!
//! # Layout
//! - `named`: finds the names in a text.
//! - `returning`: how much a statement may return.

mod named;
mod returning;

pub use returning::Returning;

use crate::{
    error::{Error, ErrorKind, Result},
    value::Value,
};

/// One statement in the backend's own language, with bound parameters: SQL for Postgres (`$1`) and
/// SQLite (`?1`), a command and its arguments for Redis.
///
/// SQLite takes `$1` too, as a name that is numbered where it first appears: statements whose
/// parameters appear in order run on both. So do [named](Self::named) ones.
///
/// ```
/// # use exactly_once_core::{Returning, Statement};
/// let insert = Statement::new("INSERT INTO payment (cents) VALUES ($1) RETURNING id")
///     .bind(500)
///     .returning(Returning::rows(1));
/// assert_eq!(insert.parameters().len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    text: String,
    parameters: Vec<Value>,
    names: Option<Names>,
    expected_rows: Option<u64>,
    returning: Option<Returning>,
    set: bool,
    mistake: Option<String>,
}

/// A word of a command; see [`Statement::words`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Word<'a> {
    /// As it stands in the text.
    Written(&'a str),
    /// A parameter.
    Bound(&'a Value),
}

/// The names of a named statement, in the order of their parameters.
#[derive(Clone, Debug, PartialEq)]
struct Names {
    names: Vec<String>,
    bound: Vec<bool>,
}

impl Statement {
    /// A statement without parameters.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
            names: None,
            expected_rows: None,
            returning: None,
            set: false,
            mistake: None,
        }
    }

    /// A statement whose parameters have names: `:order`. Each has to be
    /// [bound](Self::bind_named) once; a name may stand in several places.
    ///
    /// ```
    /// # use exactly_once_core::Statement;
    /// let take = Statement::named("UPDATE stock SET left_over = left_over - :n WHERE item = :item")
    ///     .bind_named("item", "tea")
    ///     .bind_named("n", 2);
    /// assert_eq!(take.names(), ["n", "item"]);
    /// assert!(take.check("example", "sql").is_ok());
    /// ```
    ///
    /// What stands in quotes or comments is no name, nor is `::type`. The text that is sent has `$1`,
    /// `$2` and so on in their places, in the order in which the names first appear.
    #[must_use]
    pub fn named(text: impl AsRef<str>) -> Self {
        let found = named::read(text.as_ref());
        let count = found.names.len();
        Self {
            parameters: vec![Value::Null; count],
            names: Some(Names {
                names: found.names,
                bound: vec![false; count],
            }),
            mistake: found.numbered.then(|| {
                "has both names and numbers ($1) for its parameters: use one of them".to_owned()
            }),
            ..Self::new(found.text)
        }
    }

    /// A statement for a whole set of callers at once, where the backend can: on Postgres an
    /// `INSERT` each of whose parameters is an *array*, with one element for each caller. Bind the
    /// values of this one caller; the adapter makes the arrays. It is the fastest form under load.
    ///
    /// ```
    /// # use exactly_once_core::Statement;
    /// let payment = Statement::set(
    ///     "INSERT INTO payments (id, amount) SELECT * FROM unnest($1::text[], $2::int8[])",
    /// )
    /// .bind("order-17")
    /// .bind(500);
    /// assert!(payment.is_set());
    /// ```
    ///
    /// To ensure correctness, the text must do for each element what it would do for that one
    /// alone, whatever the other elements are; an `INSERT … SELECT FROM unnest` does. If a row of
    /// another caller is refused, the set is undone and tried again without it. A backend without
    /// arrays runs the statement for each caller, in its own language. It can't
    /// [return rows](Self::returning): those of one caller could not be distinguished.
    #[must_use]
    pub fn set(text: impl Into<String>) -> Self {
        Self {
            set: true,
            ..Self::new(text)
        }
    }

    /// With one more parameter, in the order of their numbers.
    #[must_use]
    pub fn bind(mut self, parameter: impl Into<Value>) -> Self {
        if self.names.is_some() {
            return self.with_mistake("has names for its parameters: use `bind_named`".to_owned());
        }
        self.parameters.push(parameter.into());
        self
    }

    /// With the parameter of this name, of a [named](Self::named) statement.
    ///
    /// A name that the text does not have, or that is bound twice, makes the statement
    /// [invalid](ErrorKind::Invalid): every store refuses it before it does anything.
    #[must_use]
    pub fn bind_named(mut self, name: &str, parameter: impl Into<Value>) -> Self {
        let Some(names) = &mut self.names else {
            return self.with_mistake(format!(
                "binds the name `{name}` and was not made by `Statement::named`"
            ));
        };
        let Some(at) = names.names.iter().position(|known| known == name) else {
            let known = names.names.join(", ");
            return self.with_mistake(format!(
                "binds the name `{name}`, which its text does not have; it has: {known}"
            ));
        };
        if names.bound.get(at) == Some(&true) {
            return self.with_mistake(format!("binds the name `{name}` twice"));
        }
        if let (Some(bound), Some(place)) = (names.bound.get_mut(at), self.parameters.get_mut(at)) {
            *bound = true;
            *place = parameter.into();
        }
        self
    }

    /// Requires that exactly this many rows are changed; otherwise nothing is applied and the answer
    /// is [refused](ErrorKind::Refused), for good. `UPDATE … WHERE stock > 0` needs it. Of a
    /// statement that [returns](Self::returning) rows, those are counted.
    #[must_use]
    pub fn expecting_rows(mut self, rows: u64) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// Says that the statement returns rows (`RETURNING`, or a query), which become part of the effect's
    /// receipt: every attempt gets the same ones.
    ///
    /// More rows or bytes than the limits allow are [too large](ErrorKind::TooLarge): nothing is
    /// applied, and the key keeps the refusal. Where the statement returns none at all, because its
    /// text has no `RETURNING`, the effect is [refused](ErrorKind::Refused).
    ///
    /// Rows of a statement that does not say so are thrown away.
    #[must_use]
    pub fn returning(mut self, limits: Returning) -> Self {
        self.returning = Some(limits);
        self
    }

    fn with_mistake(mut self, mistake: String) -> Self {
        self.mistake.get_or_insert(mistake);
        self
    }

    /// The statement's text; with numbers in the place of names.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For adapters whose language has words and no syntax: the words of the text, each name's value in its
    /// place; and the values without a name after them.
    pub fn words(&self) -> impl Iterator<Item = Word<'_>> {
        let bound = |word: &str| -> Option<&Value> {
            let number: usize = word.strip_prefix('$')?.parse().ok()?;
            self.parameters.get(number.checked_sub(1)?)
        };
        let written = self.text.split_ascii_whitespace().map(move |word| {
            let value = bound(word).filter(|_| self.is_named());
            value.map_or(Word::Written(word), Word::Bound)
        });
        let after = if self.is_named() {
            &[]
        } else {
            self.parameters.as_slice()
        };
        written.chain(after.iter().map(Word::Bound))
    }

    /// Its parameters, in order.
    #[must_use]
    pub fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    /// The names of a [named](Self::named) statement, in the order of its parameters.
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.names.as_ref().map_or(&[], |names| &names.names)
    }

    /// Whether its parameters have names.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.names.is_some()
    }

    /// Whether it is for a whole set of callers.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set
    }

    /// How many rows it must change, if that was said.
    #[must_use]
    pub fn expected_rows(&self) -> Option<u64> {
        self.expected_rows
    }

    /// How much it may return, if it returns rows.
    #[must_use]
    pub fn returns(&self) -> Option<Returning> {
        self.returning
    }

    /// What is wrong with it, whatever the database: for adapters, before anything is done.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid): a name that is bound twice, not bound, or not in the text; a date
    /// outside of the years 1 to 9999; a set statement that returns rows or binds an array.
    pub fn check(&self, operation: &'static str, store: &'static str) -> Result<()> {
        check_statements(std::slice::from_ref(self), operation, store)
    }

    fn wrong(&self) -> Option<String> {
        if self.mistake.is_some() {
            return self.mistake.clone();
        }
        if let Some(names) = &self.names
            && let Some(at) = names.bound.iter().position(|bound| !bound)
        {
            let name = names.names.get(at).map_or("", String::as_str);
            return Some(format!("does not bind its parameter `:{name}`"));
        }
        if self.set && self.returning.is_some() {
            return Some("is for a whole set of callers, and can't return rows".to_owned());
        }
        (1..).zip(&self.parameters).find_map(|(at, value)| {
            let mistake = match value {
                Value::Array(_) if self.set => Some("is an array in a statement for a set"),
                value => value.mistake(),
            };
            mistake.map(|mistake| format!("binds a parameter ({at}) that {mistake}"))
        })
    }
}

/// As [`Statement::check`], of several; the message has the number of the statement.
///
/// # Errors
/// As that.
pub fn check_statements(
    statements: &[Statement],
    operation: &'static str,
    store: &'static str,
) -> Result<()> {
    for (at, statement) in (1..).zip(statements) {
        if let Some(wrong) = statement.wrong() {
            let message = format!("statement {at} {wrong}");
            return Err(Error::new(ErrorKind::Invalid, operation, store).with_message(message));
        }
    }
    Ok(())
}

/// As [`check_statements`], of work that has no place for rows: a participant's.
///
/// # Errors
/// As [`Statement::check`]; also for each statement that [returns](Statement::returning) rows.
pub fn check_statements_without_rows(
    statements: &[Statement],
    operation: &'static str,
    store: &'static str,
) -> Result<()> {
    check_statements(statements, operation, store)?;
    match statements.iter().position(|one| one.returns().is_some()) {
        Some(at) => Err(
            Error::new(ErrorKind::Invalid, operation, store).with_message(format!(
                "statement {} returns rows, and the statements of a participant have no receipt to \
                 keep them: give the work as a closure",
                at + 1
            )),
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Date;

    fn wrong(statement: &Statement) -> String {
        let error = statement.check("test", "sql").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    #[test]
    fn each_name_is_bound_exactly_once() {
        let two = || Statement::named("INSERT INTO t VALUES (:a, :b, :a)");
        assert_eq!(two().text(), "INSERT INTO t VALUES ($1, $2, $1)");
        assert!(wrong(&two().bind_named("a", 1)).contains("`:b`"));
        assert!(wrong(&two().bind_named("a", 1).bind_named("a", 1)).contains("twice"));
        assert!(wrong(&two().bind_named("c", 1)).contains("`c`"));
        assert!(wrong(&two().bind(1)).contains("bind_named"));
        let good = two().bind_named("b", 2).bind_named("a", 1);
        assert!(good.check("test", "sql").is_ok());
        assert_eq!(good.parameters(), [Value::Integer(1), Value::Integer(2)]);
        assert!(wrong(&Statement::new("x").bind_named("a", 1)).contains("Statement::named"));
        assert!(wrong(&Statement::named("VALUES (:a, $1)").bind_named("a", 1)).contains("both"));
    }

    #[test]
    fn words_have_named_values_in_their_places() {
        let (one, two) = (Value::Integer(1), Value::Integer(2));
        let named = Statement::named("SET :key :value EX 5")
            .bind_named("value", 2)
            .bind_named("key", 1);
        let words: Vec<Word<'_>> = named.words().collect();
        let written = |word| Word::Written(word);
        assert_eq!(
            words,
            [
                written("SET"),
                Word::Bound(&one),
                Word::Bound(&two),
                written("EX"),
                written("5")
            ]
        );
        let numbered = Statement::new("SET $1").bind(1);
        let words: Vec<Word<'_>> = numbered.words().collect();
        assert_eq!(words, [written("SET"), written("$1"), Word::Bound(&one)]);
    }

    #[test]
    fn what_no_backend_keeps_is_wrong() {
        let far = Date::from_days(i32::MAX);
        assert!(wrong(&Statement::new("x").bind(1).bind(far)).contains("(2)"));
        assert!(wrong(&Statement::set("x").bind(vec![1])).contains("array"));
        assert!(wrong(&Statement::set("x").returning(Returning::rows(1))).contains("set"));
        let returning = [
            Statement::new("x"),
            Statement::new("y").returning(Returning::default()),
        ];
        let error = check_statements_without_rows(&returning, "apply", "sql").unwrap_err();
        assert!(error.to_string().contains("statement 2"), "{error}");
    }
}
