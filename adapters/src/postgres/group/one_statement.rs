//! The one statement of a batch whose callers all ask for the same plain insert: it claims their keys,
//! records their receipts and inserts their rows, as a transaction of its own.
//!
//! Its parameters are the types that the columns have when it is prepared, and it applies only where
//! everything is as it was then: the table, its columns' types, no trigger, no rule. It looks at that
//! itself, with a snapshot that is younger than its locks. Where something differs it fails (a statement
//! that inserts no row would call triggers all the same), and the batch goes by separate statements.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use exactly_once_core::Value;

use super::{
    Of,
    effects::{Effect, Text},
    execute::PLAIN_TABLE,
    named::{Message, Named},
    shots::{Shot, Shots, claim_of, claims_of},
    text,
};
use crate::postgres::{
    driver::{Driver, DriverError, Reply},
    literal,
    plain_insert::PlainInsert,
};

/// How often a text is executed by separate statements before its one statement is prepared on every
/// connection: a program that writes values into its texts would prepare without end.
const USES_BEFORE: u32 = 2;

/// The most texts that have one.
const FORMS_MAX: usize = 128;

/// For how long a text goes by separate statements whose table was not as it has to be.
const UNSUITED_FOR: Duration = Duration::from_secs(10);

/// What holds where the statement may be executed, besides the table's own state: a transaction of its
/// own, in which a snapshot is taken after the locks.
const OWN_TRANSACTION: &str = "pg_catalog.now() = pg_catalog.statement_timestamp() AND \
     pg_catalog.current_setting('array_nulls') = 'on' AND \
     pg_catalog.current_setting('transaction_isolation') = 'read committed'";

/// The statement of one text, for several callers and for a lone one.
pub(super) struct Form {
    batch: Arc<Named>,
    lone: Arc<Named>,
}

enum State {
    Used(u32),
    Ready(Arc<Form>),
    Unsuited(Instant),
}

/// The texts that were seen.
#[derive(Default)]
pub(super) struct Forms(Mutex<HashMap<String, State>>);

/// What to do with a text.
enum Next {
    Separately,
    Describe,
    Execute(Arc<Form>),
}

impl Forms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, body: &str) -> Next {
        let mut known = self.lock();
        match known.get_mut(body) {
            Some(State::Ready(form)) => return Next::Execute(Arc::clone(form)),
            Some(State::Unsuited(until)) if Instant::now() < *until => return Next::Separately,
            Some(State::Used(times)) if *times < USES_BEFORE => {
                *times += 1;
                return Next::Separately;
            }
            Some(_) => return Next::Describe,
            None => {}
        }
        if known.len() >= FORMS_MAX {
            known.retain(|_, state| matches!(state, State::Ready(_)));
        }
        if known.len() < FORMS_MAX {
            known.insert(body.to_owned(), State::Used(1));
        }
        Next::Separately
    }

    fn ready(&self, body: &str, form: &Arc<Form>) {
        if let Some(state) = self.lock().get_mut(body) {
            *state = State::Ready(Arc::clone(form));
        }
    }

    /// By separate statements for a while.
    pub(super) fn unsuited(&self, body: &str) {
        if let Some(state) = self.lock().get_mut(body) {
            *state = State::Unsuited(Instant::now() + UNSUITED_FOR);
        }
    }
}

/// What the server says of a plain insert.
struct Description {
    table: String,
    row_type: String,
    /// Whether triggers enforce its foreign keys.
    enforced: bool,
    columns: Vec<Column>,
}

/// The column of a parameter.
struct Column {
    kind: String,
    element: String,
    array: String,
}

impl Description {
    /// The query that [`read`](Self::read) reads: a row for each parameter, and fewer where the text
    /// can't be one statement.
    fn query(insert: &PlainInsert, columns: &[&str]) -> String {
        let table = insert.table();
        let types = columns
            .iter()
            .map(|column| format!("pg_catalog.pg_typeof((NULL::{table}).{column})::oid"));
        // A domain checks its values, and an interval column has a text form of its own.
        format!(
            "SELECT c.oid, c.reltype, c.relhastriggers, p.kind, \
             pg_catalog.format('%I.%I', en.nspname, e.typname), \
             pg_catalog.format('%I.%I', an.nspname, a.typname) \
             FROM pg_catalog.pg_class c \
             CROSS JOIN pg_catalog.unnest(ARRAY[{}]) WITH ORDINALITY p (kind, at) \
             JOIN pg_catalog.pg_type e ON e.oid = p.kind \
             JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace \
             JOIN pg_catalog.pg_type a ON a.oid = e.typarray \
             JOIN pg_catalog.pg_namespace an ON an.oid = a.typnamespace \
             WHERE c.oid = {}::pg_catalog.regclass \
             AND c.reltype = pg_catalog.pg_typeof(NULL::{table})::oid \
             AND {PLAIN_TABLE} AND e.typtype <> 'd' AND e.typdelim = ',' \
             AND e.oid <> 'pg_catalog.interval'::pg_catalog.regtype \
             AND pg_catalog.current_setting('array_nulls') = 'on' \
             AND pg_catalog.current_setting('default_transaction_isolation') = 'read committed' \
             AND NOT pg_catalog.current_setting('default_transaction_read_only')::bool \
             ORDER BY p.at",
            types.collect::<Vec<_>>().join(", "),
            literal::escaped(table),
        )
    }

    fn read(reply: &Reply, columns: usize) -> Option<Self> {
        let cell = |row: &[Option<String>], at: usize| row.get(at)?.clone();
        let first = reply.rows.first()?;
        let read = Self {
            table: cell(first, 0)?,
            row_type: cell(first, 1)?,
            enforced: cell(first, 2)? == "t",
            columns: reply
                .rows
                .iter()
                .map(|row| {
                    Some(Column {
                        kind: cell(row, 3)?,
                        element: cell(row, 4)?,
                        array: cell(row, 5)?,
                    })
                })
                .collect::<Option<_>>()?,
        };
        (read.columns.len() == columns).then_some(read)
    }

    /// Whether the table is the one that was described, with the same types.
    fn unchanged(&self, insert: &PlainInsert, columns: &[&str]) -> String {
        let table = insert.table();
        // The name is looked up as the statement is executed, not when it was planned.
        let mut sql = format!(
            "{OWN_TRANSACTION} AND pg_catalog.to_regclass({}) = {}::oid AND \
             pg_catalog.pg_typeof(NULL::{table}) = '{}'::pg_catalog.regtype",
            literal::escaped(table),
            self.table,
            self.row_type,
        );
        for (name, column) in columns.iter().zip(&self.columns) {
            // Writing to a String can't fail.
            let _ = write!(
                sql,
                " AND pg_catalog.pg_typeof((NULL::{table}).{name}) = '{}'::pg_catalog.regtype",
                column.kind,
            );
        }
        sql
    }

    /// Whether rows of one statement mean what a statement for each means.
    fn rows_are_plain(&self) -> String {
        let plain = if self.enforced {
            PLAIN_TABLE
        } else {
            // Without a look at two more tables.
            "c.relkind = 'r' AND NOT c.relhasrules AND NOT c.relrowsecurity \
             AND NOT c.relhastriggers"
        };
        format!(
            "(SELECT {plain} FROM pg_catalog.pg_class c WHERE c.oid = {}::oid)",
            self.table
        )
    }

    fn form(&self, shots: &Shots, insert: &PlainInsert, columns: &[&str]) -> Form {
        let (unchanged, target) = (self.unchanged(insert, columns), insert.target());
        let lone = format!(
            "WITH exactly_once_claimed AS ({} RETURNING 1) INSERT INTO {target} SELECT {} \
             FROM exactly_once_claimed",
            shots.claim_one_if(&unchanged),
            insert.row(|place| format!("${}", 7 + place)),
        );
        let elements = self
            .columns
            .iter()
            .fold(String::new(), |all, one| all + ", " + &one.element);
        let arrays = self.columns.iter().enumerate().map(|(place, column)| {
            format!(
                "pg_catalog.unnest((${}::text)::{})",
                8 + place,
                column.array
            )
        });
        let names = (0..self.columns.len()).map(|place| format!("p{place}"));
        let good = format!("{unchanged} AND {}", self.rows_are_plain());
        // Either all keys are claimed or none is; and they are before a row goes in.
        let batch = format!(
            "WITH exactly_once_claimed AS ({} RETURNING 1) INSERT INTO {target} SELECT {} \
             FROM ROWS FROM ({}) exactly_once_rows ({}) \
             WHERE (SELECT pg_catalog.count(*) FROM exactly_once_claimed) \
             = pg_catalog.cardinality($2)",
            shots.claim_all_if(&good),
            insert.row(|place| format!("exactly_once_rows.p{place}")),
            arrays.collect::<Vec<_>>().join(", "),
            names.collect::<Vec<_>>().join(", "),
        );
        let texts = ", text".repeat(self.columns.len());
        Form {
            batch: Named::new(
                &format!("(bytea[], bytea[], bytea[], bytea[], int8[], int8[], int8{texts})"),
                &batch,
            ),
            lone: Named::new(
                &format!("(bytea, bytea, bytea, bytea, int8, int8{elements})"),
                &lone,
            ),
        }
    }
}

/// The plain insert that all of these ask for, and for nothing else.
pub(super) fn common<'a>(shots: impl Iterator<Item = &'a Shot>) -> Option<Arc<Text>> {
    let mut common: Option<&Arc<Text>> = None;
    for shot in shots {
        let [Effect::Row(text, _)] = shot.effects.as_slice() else {
            return None;
        };
        match common {
            Some(known) if !Arc::ptr_eq(known, text) => return None,
            _ => common = Some(text),
        }
    }
    common.filter(|text| text.has_rows()).cloned()
}

fn values(shot: &Shot) -> &[Value] {
    match shot.effects.as_slice() {
        [Effect::Row(_, values)] => values,
        _ => &[],
    }
}

impl Form {
    /// The message for these callers, which all ask for this very insert.
    pub(super) fn message<'a>(
        &self,
        shots: impl Iterator<Item = &'a Shot> + Clone,
        limits: &str,
        batch_lock: i64,
    ) -> Message {
        let mut message = Message::by_itself(limits);
        let mut lone = shots.clone();
        match (lone.next(), lone.next()) {
            (Some(shot), None) => {
                let mut parameters = claim_of(shot).to_vec();
                parameters.extend(values(shot).iter().map(literal::untyped));
                message.execute(&self.lone, &parameters);
            }
            _ => {
                let mut parameters = claims_of(shots.clone(), batch_lock).to_vec();
                let width = shots.clone().next().map_or(0, |shot| values(shot).len());
                parameters.extend((0..width).map(|place| {
                    text::array(shots.clone().filter_map(|shot| values(shot).get(place)))
                }));
                message.execute(&self.batch, &parameters);
            }
        }
        // Both are prepared on a connection at once.
        message.uses(&self.lone);
        message.uses(&self.batch);
        message
    }
}

impl<D: Driver> Of<D> {
    /// The one statement of this text, if it has one now.
    pub(super) async fn form_of(&self, text: &Text) -> Option<Arc<Form>> {
        let forms = &self.groups().forms;
        match forms.next(&text.body) {
            Next::Separately => None,
            Next::Execute(form) => Some(form),
            Next::Describe => {
                let form = self.describe(text).await.ok().flatten().map(Arc::new);
                match &form {
                    Some(form) => forms.ready(&text.body, form),
                    None => forms.unsuited(&text.body),
                }
                form
            }
        }
    }

    async fn describe(&self, text: &Text) -> Result<Option<Form>, DriverError> {
        let Some(insert) = text.insert() else {
            return Ok(None);
        };
        let Some(columns) = insert.bound_columns() else {
            return Ok(None);
        };
        let mut message = Message::begin(&self.groups().begin);
        message.plain(&Description::query(insert, &columns));
        let replies = self.send(&message.commit()).await?;
        // BEGIN and the settings come before it.
        let described = replies.get(2);
        let described = described.and_then(|reply| Description::read(reply, columns.len()));
        Ok(described.map(|is| is.form(&self.groups().shots, insert, &columns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_described_once_it_has_come_again() {
        let forms = Forms::default();
        for _ in 0..USES_BEFORE {
            assert!(matches!(forms.next("INSERT"), Next::Separately));
        }
        assert!(matches!(forms.next("INSERT"), Next::Describe));
        forms.unsuited("INSERT");
        assert!(matches!(forms.next("INSERT"), Next::Separately));
    }

    #[test]
    fn texts_are_bounded_and_what_is_ready_stays() {
        let forms = Forms::default();
        let form = Arc::new(Form {
            batch: Named::new("", "SELECT 1"),
            lone: Named::new("", "SELECT 2"),
        });
        let _ = forms.next("ready");
        forms.ready("ready", &form);
        for number in 0..3 * FORMS_MAX {
            let _ = forms.next(&format!("INSERT {number}"));
            assert!(forms.lock().len() <= FORMS_MAX);
        }
        assert!(matches!(forms.next("ready"), Next::Execute(_)));
    }
}
