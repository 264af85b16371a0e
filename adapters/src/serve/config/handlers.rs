//! The handlers of a file: effects, queries and transactions.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Answer, Field, Handler, Participant, StoreConfig, Template, Work,
    file::{Effect, Named, Query, Text, Transaction},
    read::Reader,
    statement::{self, Written},
};
use crate::Retention;

/// The field of a request that names the effect, beside the parameters.
pub(in crate::serve) const KEY: &str = "key";

/// How long a transaction may take to prepare and decide, if not said.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn read(
    reader: &mut Reader,
    stores: &[StoreConfig],
    register: Option<&str>,
    effects: Named<Effect>,
    queries: Named<Query>,
    transactions: Named<Transaction>,
) -> Vec<Handler> {
    let effects: BTreeMap<String, Handler> = effects
        .into_iter()
        .map(|(name, effect)| {
            (
                name.get_ref().clone(),
                one_effect(reader, stores, &name, effect),
            )
        })
        .collect();
    let mut handlers: Vec<Handler> = queries
        .into_iter()
        .map(|(name, query)| one_query(reader, stores, &name, query))
        .collect();
    for (name, transaction) in transactions {
        let handler = one_transaction(reader, register, &effects, &name, transaction);
        handlers.extend(handler);
    }
    handlers.extend(effects.into_values());
    handlers.sort_by(|one, other| one.name.cmp(&other.name));
    handlers
}

fn one_effect(
    reader: &mut Reader,
    stores: &[StoreConfig],
    name: &Text,
    written: Effect,
) -> Handler {
    reader.identifier("effect name", name);
    let store = reader.store(stores, &written.store);
    let parameters = statement::fields(reader, "parameter", &written.parameters);
    if let Some((key, _)) = written.parameters.get_key_value(KEY) {
        let text = "a parameter can't be called `key`: that is the field by which a caller names the \
                    effect";
        reader.problem(key, text);
    }
    let shape = answer_word(reader, &written.answer);
    let mut all: Vec<Written> = written.statements.into_iter().map(Written::from).collect();
    if let Some(sql) = written.sql {
        if !all.is_empty() {
            let text = "an effect has either `sql` or `statements`, not both";
            reader.problem(&sql, text);
        }
        all.push(Written {
            sql,
            rows: written.rows,
            returns: written.returns,
            max_rows: written.max_rows,
        });
    } else if all.is_empty() {
        let text = format!("effect `{}` does nothing: add `sql`", name.get_ref());
        reader.problem(name, text);
    } else if written.rows.is_some() || written.returns.is_some() || written.max_rows.is_some() {
        let text = "say `rows`, `returns` and `max_rows` of one of the `statements`";
        reader.problem(name, text);
    }
    let mut statements: Vec<Template> = all
        .into_iter()
        .map(|one| statement::template(reader, &parameters, one))
        .collect();
    unused(reader, name, &written.parameters, &statements);
    let answer = answer_of(reader, name, shape, &mut statements);
    Handler {
        name: name.get_ref().clone(),
        line: reader.line(name),
        docs: written.docs,
        parameters,
        work: Work::Effect {
            store,
            statements,
            retention: retention(reader, &written.retention),
            answer,
        },
    }
}

fn one_query(reader: &mut Reader, stores: &[StoreConfig], name: &Text, written: Query) -> Handler {
    reader.identifier("query name", name);
    let store = reader.store(stores, &written.store);
    let parameters = statement::fields(reader, "parameter", &written.parameters);
    let shape = answer_word(reader, &written.answer);
    let written_statement = Written {
        sql: written.sql,
        rows: None,
        returns: Some(written.returns),
        max_rows: written.max_rows,
    };
    let statement = statement::template(reader, &parameters, written_statement);
    let mut statements = vec![statement.clone()];
    unused(reader, name, &written.parameters, &statements);
    let answer = answer_of(reader, name, shape, &mut statements);
    Handler {
        name: name.get_ref().clone(),
        line: reader.line(name),
        docs: written.docs,
        parameters,
        work: Work::Query {
            store,
            statement,
            answer,
        },
    }
}

/// The effects of a transaction that are in one store are one participant.
fn one_transaction(
    reader: &mut Reader,
    register: Option<&str>,
    effects: &BTreeMap<String, Handler>,
    name: &Text,
    written: Transaction,
) -> Option<Handler> {
    reader.identifier("transaction name", name);
    if register.is_none() {
        let text = format!(
            "transaction `{}` needs `register = \"…\"` at the top: the store that decides",
            name.get_ref()
        );
        reader.problem(name, text);
    }
    if written.effects.get_ref().is_empty() {
        reader.problem(&written.effects, "a transaction needs effects");
    }
    let mut participants: Vec<Participant> = Vec::new();
    let mut parameters: BTreeMap<String, Field> = BTreeMap::new();
    for named in written.effects.get_ref() {
        let Some(Handler {
            parameters: own,
            work: Work::Effect {
                store, statements, ..
            },
            ..
        }) = effects.get(named.get_ref())
        else {
            let known: Vec<_> = effects.keys().map(String::as_str).collect();
            let text = format!(
                "unknown effect `{}`; there are: {}",
                named.get_ref(),
                known.join(", ")
            );
            reader.problem(named, text);
            continue;
        };
        if statements.iter().any(|one| one.returns.is_some()) {
            let text = format!(
                "effect `{}` returns rows, and a transaction has no place for them: add an effect \
                 without `returns`",
                named.get_ref()
            );
            reader.problem(named, text);
        }
        for parameter in own {
            let known = parameters
                .entry(parameter.name.clone())
                .or_insert_with(|| parameter.clone());
            if known != parameter {
                let text = format!(
                    "the parameter `{}` has another type in effect `{}` than in those before: in a \
                     transaction one name is one value",
                    parameter.name,
                    named.get_ref()
                );
                reader.problem(named, text);
            }
        }
        match participants.iter_mut().find(|part| part.store == *store) {
            Some(part) => part.statements.extend(statements.iter().cloned()),
            None => participants.push(Participant {
                store: store.clone(),
                statements: statements.clone(),
            }),
        }
    }
    let deadline = reader.duration("deadline", &written.deadline);
    Some(Handler {
        name: name.get_ref().clone(),
        line: reader.line(name),
        docs: written.docs,
        parameters: parameters.into_values().collect(),
        work: Work::Transaction {
            participants,
            retention: retention(reader, &written.retention),
            deadline: deadline.unwrap_or(DEADLINE),
        },
    })
}

fn retention(reader: &mut Reader, written: &Option<Text>) -> Retention {
    if let Some(text) = written
        && text.get_ref() == "forever"
    {
        return Retention::FOREVER;
    }
    let Some(duration) = reader.duration("retention", written) else {
        return Retention::default();
    };
    Retention::new(duration).unwrap_or_else(|error| {
        if let Some(text) = written {
            reader.problem(text, error.to_string());
        }
        Retention::default()
    })
}

fn answer_word<'a>(reader: &mut Reader, written: &'a Option<Text>) -> Option<(&'a Text, &'a str)> {
    let text = written.as_ref()?;
    if !["row", "optional", "rows"].contains(&text.get_ref().as_str()) {
        let message = format!(
            "answer is `{}`; it can be `row` (exactly one), `optional` (one or null) or `rows` (a list)",
            text.get_ref()
        );
        reader.problem(text, message);
    }
    Some((text, text.get_ref()))
}

/// What the handler answers; the limits of its statement follow from it.
fn answer_of(
    reader: &mut Reader,
    name: &Text,
    shape: Option<(&Text, &str)>,
    statements: &mut [Template],
) -> Answer {
    let returning = statements
        .iter()
        .filter(|one| one.returns.is_some())
        .count();
    if returning > 1 {
        let text = format!(
            "in `{}`, {returning} statements have `returns`; the answer is what one of them returns",
            name.get_ref()
        );
        reader.problem(name, text);
    }
    let Some(statement) = statements.iter_mut().find(|one| one.returns.is_some()) else {
        if let Some((at, word)) = shape {
            let text = format!("answer is `{word}`, and no statement has `returns`");
            reader.problem(at, text);
        }
        return Answer::Nothing;
    };
    let Some(returns) = &mut statement.returns else {
        return Answer::Nothing;
    };
    let columns = returns.columns.clone();
    match shape {
        Some((at, "row")) => {
            returns.max_rows = 1;
            match statement.rows.replace(1) {
                None | Some(1) => {}
                Some(rows) => {
                    let text =
                        format!("answer is `row`, and the statement must change {rows} rows");
                    reader.problem(at, text);
                }
            }
            Answer::Row(columns)
        }
        Some((_, "optional")) => {
            returns.max_rows = 1;
            Answer::Optional(columns)
        }
        _ => Answer::Rows(columns),
    }
}

/// A parameter that no statement names is a mistake in one of both.
fn unused(reader: &mut Reader, name: &Text, parameters: &Named<Text>, statements: &[Template]) {
    for parameter in parameters.keys() {
        let used = statements
            .iter()
            .any(|statement| statement.names.contains(parameter.get_ref()));
        if !used {
            let text = format!(
                "in `{}`, no statement has the parameter `:{}`",
                name.get_ref(),
                parameter.get_ref()
            );
            reader.problem(parameter, text);
        }
    }
}
