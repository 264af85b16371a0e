//! What is in doubt, and what was decided and not carried out: one page of it, and a verdict over all.

use std::collections::BTreeMap;

use super::find::{PAGE, parse};
use crate::{
    DecisionRegister, InDoubt, Participation, PreparedTransactions, RegisterEntry, Result, Store,
    Timestamp, TransactionDigest,
    adapter::check_limit,
    cli::{
        output::{Answer, Cell},
        stores::{Given, Stores, about},
    },
};

const COLUMNS: [&str; 7] = [
    "transaction",
    "store",
    "state",
    "prepared at",
    "deadline",
    "late",
    "register",
];

pub(super) async fn list(stores: &Stores, after: Option<String>, limit: u32) -> Result<Answer> {
    let limit = check_limit(limit, "in-doubt", "cli")? as usize;
    let after = after.as_deref().map(parse).transpose()?;
    let mut page = Page {
        after,
        limit,
        ..Page::default()
    };
    let (mut failed, mut asked) = (Vec::new(), 0);
    for (index, given) in stores.given.iter().enumerate() {
        match page.read(stores, given, index).await {
            Ok(()) => asked += 1,
            Err(error) if error.is_retryable() => failed.push(about(&given.name, error)),
            Err(error) => return Err(about(&given.name, error)),
        }
    }
    if asked == 0
        && let Some(error) = failed.pop()
    {
        return Err(error);
    }
    let incomplete = !failed.is_empty() || !stores.away.is_empty();
    let mut answer = page
        .answer()
        .needs_attention(incomplete)
        .note(format!("asked: {}", stores.named()));
    for error in failed {
        answer = answer.note(error.to_string());
    }
    for note in stores.notes() {
        answer = answer.note(note);
    }
    Ok(answer)
}

/// In the order of the transactions, whatever store they are at.
type Place = (TransactionDigest, usize, bool);

#[derive(Default)]
struct Page {
    after: Option<TransactionDigest>,
    limit: usize,
    rows: BTreeMap<Place, Vec<Cell>>,
    /// Over everything, shown or not.
    all: usize,
    late: usize,
    /// How many stand behind the page.
    behind: usize,
}

impl Page {
    async fn read(&mut self, stores: &Stores, given: &Given, index: usize) -> Result<()> {
        let (store, mut after) = (&given.store, None);
        loop {
            let page = store.in_doubt(after.as_ref(), PAGE).await?;
            let now = store.now().await?;
            for entry in page.entries {
                let InDoubt {
                    participation,
                    prepared_at,
                    ..
                } = entry;
                let state = ("in doubt".into(), prepared_at.into());
                self.add((index, false), now, stores, &participation, state, given);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        loop {
            let page = store.unfinished(after.as_ref(), PAGE).await?;
            let now = store.now().await?;
            for entry in page.entries {
                let RegisterEntry {
                    participation,
                    decision,
                    disputes,
                    ..
                } = entry;
                let what = match disputes.is_empty() {
                    true => "not carried out",
                    false => "disputed by a participant",
                };
                let state = format!("decided {}, {what}", decision.as_str());
                let state = (state.into(), Cell::Nothing);
                self.add((index, true), now, stores, &participation, state, given);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn add(
        &mut self,
        (index, is_decision): (usize, bool),
        now: Timestamp,
        stores: &Stores,
        participation: &Participation,
        (state, prepared_at): (Cell, Cell),
        given: &Given,
    ) {
        let late = now > participation.not_after();
        self.all += 1;
        self.late += usize::from(late);
        let transaction = *participation.transaction();
        if self.after.is_some_and(|after| transaction <= after) {
            return;
        }
        let row = vec![
            transaction.to_string().into(),
            given.name.as_str().into(),
            state,
            prepared_at,
            participation.not_after().into(),
            late.into(),
            stores.register(participation.register()),
        ];
        self.rows.insert((transaction, index, is_decision), row);
        // All lines of one transaction are on one page, so that the next one can begin behind it.
        while self.transactions_over_limit() {
            let last = self.rows.last_key_value().map(|((digest, ..), _)| *digest);
            let before = self.rows.len();
            self.rows.retain(|(digest, ..), _| Some(*digest) != last);
            self.behind += before - self.rows.len();
        }
    }

    fn transactions_over_limit(&self) -> bool {
        let first = self.rows.first_key_value().map(|((digest, ..), _)| digest);
        let last = self.rows.last_key_value().map(|((digest, ..), _)| digest);
        self.rows.len() > self.limit && first != last
    }

    fn answer(self) -> Answer {
        let last = self.rows.last_key_value().map(|((digest, ..), _)| *digest);
        let next = last
            .filter(|_| self.behind > 0)
            .map(|next| next.to_string());
        let answer = Answer::new()
            .fact("all", self.all)
            .fact("late", self.late)
            .fact("shown", self.rows.len())
            .fact("next", Cell::or_nothing(next.clone()))
            .with_table(&COLUMNS, self.rows.into_values().collect())
            .needs_attention(self.late > 0);
        match next {
            None => answer,
            Some(next) => answer.note(format!(
                "cut here: {} more lines follow. Continue with --after {next}, or raise --limit",
                self.behind
            )),
        }
    }
}
