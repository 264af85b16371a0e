//! Which tables have the triggers that log staged work, and what is known of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rusqlite::Connection;

use super::{Guard, Mode};
use crate::sqlite::staging::{
    capture::Captures,
    table::{Marks, Table},
};

/// How many statements are remembered whose tables are known.
const TEXTS: usize = 1_000;

impl Guard {
    /// Names the tables that have triggers now and those whose shapes have changed, at a version of
    /// the schema; `None` for texts stands for all tables.
    pub(in crate::sqlite) fn set_schema(
        &self,
        version: i64,
        captures: Captures,
        texts: Option<&[&str]>,
    ) {
        let Captures { marks, shapes } = captures;
        self.with(|state| {
            let tables = Arc::make_mut(&mut state.tables);
            tables.retain(|name, _| marks.contains_key(name));
            for (name, shape) in shapes {
                let folded = name.to_ascii_lowercase();
                state.unstageable.remove(&folded);
                tables.remove(&name);
                match shape {
                    Ok(table) => {
                        tables.insert(name, table);
                    }
                    Err(reason) => {
                        state.unstageable.insert(folded, reason);
                    }
                }
            }
            state.triggered = tables
                .values()
                .filter(|table| table.is_triggered())
                .map(|table| table.name().to_ascii_lowercase())
                .collect();
            state.marks = marks;
            if state.captured != Some(version) || state.texts.len() > TEXTS {
                state.texts.clear();
            }
            state.captured = Some(version);
            match texts {
                Some(texts) => state.texts.extend(texts.iter().copied().map(str::to_owned)),
                None => state.captures_all = true,
            }
        });
    }

    /// What the catalogue said of the tables that have triggers, when it was looked at last.
    pub(in crate::sqlite) fn marks(&self) -> Marks {
        self.with(|state| state.marks.clone())
    }

    /// The version of the schema that was looked at last.
    pub(in crate::sqlite) fn captured(&self) -> Option<i64> {
        self.with(|state| state.captured)
    }

    /// Whether all tables have triggers.
    pub(in crate::sqlite) fn captures_all(&self) -> bool {
        self.with(|state| state.captures_all)
    }

    /// Whether, at this version of the schema, what these statements write has its triggers; `None`
    /// stands for all tables.
    pub(in crate::sqlite) fn captures(&self, version: i64, texts: Option<&[&str]>) -> bool {
        self.with(|state| {
            let known = |texts: &[&str]| texts.iter().all(|text| state.texts.contains(*text));
            state.captured == Some(version) && (state.captures_all || texts.is_some_and(known))
        })
    }

    /// The tables that a statement writes, by itself and through triggers; none for one that does not
    /// compile, which fails where it is run.
    pub(in crate::sqlite) fn written_by(
        &self,
        connection: &Connection,
        text: &str,
    ) -> BTreeSet<String> {
        self.with(|state| state.mode = Mode::Survey);
        // Not from the driver's cache: the authorizer is asked only when a statement is compiled.
        let _ = connection.prepare(text);
        self.with(|state| {
            state.mode = Mode::Store;
            std::mem::take(&mut state.written)
        })
    }

    /// The tables that can be staged, as the schema was when the transaction began: staged work can't
    /// change it.
    pub(in crate::sqlite) fn tables(&self) -> Arc<HashMap<String, Table>> {
        self.with(|state| Arc::clone(&state.tables))
    }
}
