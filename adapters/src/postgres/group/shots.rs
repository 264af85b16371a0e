//! One-shot effects of several callers: claims with receipts, their statements, one commit.

use std::sync::Arc;

use exactly_once_core::{Fingerprint, OneShot, Outcome, Receipt, adapter::returned::head};

use super::{
    Of, copy,
    effects::{Effect, Keeping},
    execute::{self, Blames},
    keys::KeyName,
    named::{Message, NOT_ALL, Named, all_or_nothing},
    one_statement::{self, Form},
    parts::{Group, Part},
    queue::{Flush, Queue, ask},
    text,
};
use crate::postgres::{
    driver::{Driver, DriverError, Reply},
    key_row::{Seen, kept},
    literal, returned,
    schema::Tables,
    sqlstate::{self, CANCELED, FEATURE, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION},
    statements::{NOW, Preamble},
};

/// How many batches of effects there may be at once.
const BATCHES: usize = 2;

/// The class of errors in a statement itself: a column has become of another type since.
const SYNTAX: &str = "42";

/// A larger receipt travels alone.
const RECEIPT_MAX: usize = 16 * 1024;

/// Callers with one-shot effects.
pub(super) struct Shots {
    queue: Queue<Shot, Verdict>,
    claim: Arc<Named>,
    /// For a lone caller, without arrays.
    claim_one: Arc<Named>,
    /// The table of keys.
    keys: String,
    /// See [`Preamble::of_statement`].
    settings: String,
}

impl Shots {
    /// A key that has a row already fails the batch: `ON CONFLICT` would cost each of the others half
    /// of a claim more.
    ///
    /// A lone key is claimed under the advisory lock that says which request it is for; see
    /// [`Of::claim_lock`](crate::postgres::store::PostgresStore::claim_lock). A batch takes one lock
    /// for all its keys, which says nothing of the request of each ([`Of::batch_lock`]); where a rival
    /// is just asking, and that lock is not to be had, it takes those of the keys.
    ///
    /// [`Of::batch_lock`]: crate::postgres::store::PostgresStore::batch_lock
    pub(super) fn new(tables: &Tables, preamble: &Preamble) -> Self {
        let mut shots = Self {
            queue: Queue::new(BATCHES),
            claim: Named::new("", ""),
            claim_one: Named::new("", ""),
            keys: tables.keys.clone(),
            settings: preamble.of_statement().to_owned(),
        };
        let types = "(bytea[], bytea[], bytea[], bytea[], int8[], int8[], int8)";
        shots.claim = Named::new(types, &shots.claim_all("", "0"));
        let types = "(bytea, bytea, bytea, bytea, int8, int8)";
        shots.claim_one = Named::new(types, &shots.claim_lone("", "0"));
        shots
    }

    /// `good` has to be 0. `first`: further columns of what is evaluated once and first.
    fn claiming(&self, [namespace, key, print, body, kept]: [&str; 5], first: &str) -> String {
        format!(
            "INSERT INTO {keys} (namespace, key, fingerprint, outcome, body, completed_at, \
             expires_at) SELECT {namespace}, {key}, {print}, 1, {body}, first.now, \
             first.now + {kept} FROM (SELECT {NOW} AS now{first} OFFSET 0) first",
            keys = self.keys,
        )
    }

    fn claim_all(&self, settings: &str, good: &str) -> String {
        let first = format!(
            "{settings}, pg_catalog.pg_try_advisory_xact_lock_shared($7) AS held, {good} AS good"
        );
        format!(
            "{} CROSS JOIN {} a (namespace, key, print, body, kept, lock) \
             WHERE first.good = 0 AND CASE WHEN first.held THEN true ELSE \
             pg_catalog.pg_advisory_xact_lock_shared(a.lock) IS NOT NULL END",
            self.claiming(
                ["a.namespace", "a.key", "a.print", "a.body", "a.kept"],
                &first
            ),
            text::rows(&[1, 2, 3, 4, 5, 6])
        )
    }

    fn claim_lone(&self, settings: &str, good: &str) -> String {
        let first =
            format!("{settings}, pg_catalog.pg_advisory_xact_lock_shared($6), {good} AS good");
        format!(
            "{} WHERE first.good = 0",
            self.claiming(["$1", "$2", "$3", "$4", "$5"], &first)
        )
    }

    /// The claims of a batch by a statement that brings its own setting, and fails with [`NOT_ALL`]
    /// where this does not hold.
    pub(super) fn claim_all_if(&self, good: &str) -> String {
        self.claim_all(&self.settings, &all_or_nothing(good))
    }

    /// The same for a lone caller.
    pub(super) fn claim_one_if(&self, good: &str) -> String {
        self.claim_lone(&self.settings, &all_or_nothing(good))
    }
}

/// A caller's effect.
pub(super) struct Shot {
    pub(super) name: KeyName,
    pub(super) print: Fingerprint,
    /// `None` where statements return rows: then only the answer to them has it.
    pub(super) outcome: Option<Outcome>,
    /// Of the receipt, as hexadecimal: all, or what stands before the rows.
    body: String,
    kept: Option<i64>,
    lock: i64,
    pub(super) effects: Vec<Effect>,
}

/// What the batch answers a caller.
pub(in crate::postgres) enum Verdict {
    /// Done, now; with the receipt, where statements return rows.
    Applied(Option<Receipt>),
    /// Done by another caller of this very group.
    Replayed(Outcome),
    /// The key has a row.
    Known(Seen),
    /// It failed with the group, and may have been done.
    Failed(DriverError),
    /// Not by the group: take the careful path.
    Alone,
}

struct Shooting<D: Driver>(Of<D>);

impl<D: Driver> Clone for Shooting<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Driver> Flush for Shooting<D> {
    type Job = Shot;
    type Answer = Verdict;

    fn queue(&self) -> &Queue<Shot, Verdict> {
        &self.0.groups().shots.queue
    }

    async fn flush(&self, shots: Vec<Shot>) -> Vec<Verdict> {
        let mut group = Group::new(&shots);
        while let Some(mut part) = group.parts.pop() {
            group.without_slow(&mut part);
            if !part.members.is_empty() {
                self.0.shoot(&mut group, part).await;
            }
        }
        group.verdicts()
    }
}

pub(super) fn claims_of<'a>(
    shots: impl Iterator<Item = &'a Shot> + Clone,
    batch_lock: i64,
) -> [String; 7] {
    let each = || shots.clone();
    [
        text::bytes(each().map(|shot| &shot.name.namespace)),
        text::bytes(each().map(|shot| &shot.name.key)),
        text::bytes(each().map(|shot| literal::hex(shot.print.as_bytes()))),
        text::bytes(each().map(|shot| &shot.body)),
        text::numbers(each().map(|shot| shot.kept)),
        text::numbers(each().map(|shot| Some(shot.lock))),
        text::number(Some(batch_lock)),
    ]
}

/// The same for one, as single values.
pub(super) fn claim_of(shot: &Shot) -> [String; 6] {
    [
        text::one_bytea(&shot.name.namespace),
        text::one_bytea(&shot.name.key),
        text::one_bytea(literal::hex(shot.print.as_bytes())),
        text::one_bytea(&shot.body),
        text::number(shot.kept),
        text::number(Some(shot.lock)),
    ]
}

/// A part is committed: each caller is answered, with its own receipt where statements returned rows.
fn applied(group: &mut Group<'_>, part: &Part, blames: &Blames, replies: &[Reply]) {
    let mut receipts: Vec<Option<Receipt>> = vec![None; part.members.len()];
    // The last one of a caller has all its rows.
    for (caller, position) in blames.receipts() {
        if let Some(receipt) = receipts.get_mut(caller) {
            *receipt = replies.get(position).and_then(returned::receipt);
        }
    }
    for (at, receipt) in part.members.iter().zip(receipts) {
        let verdict = match receipt {
            // The reply is none of ours: the stored receipt is looked up.
            None if group.returns_rows(*at) => Verdict::Alone,
            receipt => Verdict::Applied(receipt),
        };
        group.answer(*at, verdict);
    }
}

impl<D: Driver> Of<D> {
    async fn shoot(&self, group: &mut Group<'_>, part: Part) {
        match self.as_one(group, &part).await {
            Some(form) => self.shoot_one(group, part, &form).await,
            None => self.shoot_separately(group, part).await,
        }
    }

    /// The one statement that can do the work of these callers.
    async fn as_one(&self, group: &Group<'_>, part: &Part) -> Option<Arc<Form>> {
        let text = one_statement::common(group.members(part)).filter(|_| part.one)?;
        self.form_of(&text).await
    }

    async fn shoot_one(&self, group: &mut Group<'_>, part: Part, form: &Form) {
        let groups = self.groups();
        let message = form.message(group.members(&part), &groups.limits, self.batch_lock());
        let failed = match self.send(&message).await {
            Ok(replies) => {
                let rows = replies.last().map(|reply| reply.affected);
                if rows == u64::try_from(part.members.len()).ok() {
                    return group.answer_all(&part, || Verdict::Applied(None));
                }
                // A rule has taken its place, perhaps that of the claims in it too: each looks.
                self.no_form(group, &part);
                return group.answer_all(&part, || Verdict::Alone);
            }
            Err(failed) => failed,
        };
        tracing::debug!(
            ?failed,
            callers = part.members.len(),
            "one statement for several effects failed"
        );
        match failed.code() {
            Some(code) if sqlstate::surely_nothing(code) => {
                // Something is not as it was, or it can't be prepared.
                if code == NOT_ALL
                    || code == FEATURE
                    || code.starts_with(SYNTAX)
                    || failed.after == 0
                {
                    self.no_form(group, &part);
                }
                match code {
                    UNIQUE_VIOLATION if !part.looked => self.look_again(group, part).await,
                    CANCELED => {
                        for text in group.members(&part).flat_map(|shot| &shot.effects) {
                            text.text().was_slow();
                        }
                        group.answer_all(&part, || Verdict::Alone);
                    }
                    // Separate statements tell whose fault it is.
                    _ => group.parts.push(Part { one: false, ..part }),
                }
            }
            _ => group.answer_all(&part, || Verdict::Failed(copy(&failed))),
        }
    }

    fn no_form(&self, group: &Group<'_>, part: &Part) {
        if let Some(text) = one_statement::common(group.members(part)) {
            self.groups().forms.unsuited(&text.body);
        }
    }

    async fn shoot_separately(&self, group: &mut Group<'_>, part: Part) {
        let (message, blames) = self.shots_message(group, &part);
        let failed = match self.send(&message).await {
            Ok(replies) => return applied(group, &part, &blames, &replies),
            Err(failed) => failed,
        };
        tracing::debug!(
            ?failed,
            callers = part.members.len(),
            "a group of effects failed"
        );
        match failed.code() {
            Some(code) if sqlstate::surely_nothing(code) => match blames.at(failed.after) {
                Some(blame) => group.failed_at(part, blame, code),
                // A key that is taken.
                None if code == UNIQUE_VIOLATION && !part.looked => {
                    self.look_again(group, part).await;
                }
                // A key that another transaction holds for long: each caller waits for itself.
                None if code == LOCK_NOT_AVAILABLE || code == CANCELED => {
                    group.answer_all(&part, || Verdict::Alone);
                }
                // At the commit, by a deferred constraint of one of them.
                None => group.split(part),
            },
            _ => group.answer_all(&part, || Verdict::Failed(copy(&failed))),
        }
    }

    /// Some keys are taken: their callers get the row, the others try again. Where none is, it was
    /// a statement of one of them.
    async fn look_again(&self, group: &mut Group<'_>, part: Part) {
        let names: Vec<&KeyName> = group.members(&part).map(|shot| &shot.name).collect();
        let Ok(rows) = self.look_at_all(&names).await else {
            return group.answer_all(&part, || Verdict::Alone);
        };
        let (asked, one) = (part.members.len(), part.one);
        let mut members = Vec::new();
        for (at, row) in part.members.iter().copied().zip(rows) {
            match row {
                Some(row) => group.answer(at, Verdict::Known(row)),
                None => members.push(at),
            }
        }
        let no_key_was_taken = members.len() == asked;
        let rest = Part {
            members,
            looked: true,
            // It was one of the users' own.
            one: one && !no_key_was_taken,
            each: part.each,
        };
        if no_key_was_taken && !one {
            group.split(rest);
        } else if !rest.members.is_empty() {
            group.parts.push(rest);
        }
    }

    fn shots_message(&self, group: &Group<'_>, part: &Part) -> (Message, Blames) {
        let groups = self.groups();
        let members = group.members(part);
        let mut message = Message::begin(&groups.begin);
        let mut lone = members.clone();
        match (lone.next(), lone.next()) {
            (Some(shot), None) => message.execute(&groups.shots.claim_one, &claim_of(shot)),
            _ => message.execute(
                &groups.shots.claim,
                &claims_of(members.clone(), self.batch_lock()),
            ),
        }
        // Both are prepared on a connection at once.
        message.uses(&groups.shots.claim_one);
        message.uses(&groups.shots.claim);
        let effects = members.map(|shot| shot.effects.as_slice());
        let blames = execute::execute(&mut message, &groups.effects.guard, effects, part.each);
        (message.commit(), blames)
    }

    /// Executes an effect together with those of others who come now.
    pub(in crate::postgres) async fn shoot_together(&self, effect: &OneShot) -> Verdict {
        let body = effect.receipt.as_bytes();
        if body.len() > RECEIPT_MAX {
            return Verdict::Alone;
        }
        let returns = effect.returns_rows();
        let body = match (returns, head(&effect.receipt)) {
            (false, _) => literal::hex(body),
            (true, Ok(head)) => literal::hex(head.as_bytes()),
            (true, Err(_)) => return Verdict::Alone,
        };
        let name = self.key_name(&effect.claim);
        let keeping = Keeping {
            name: &name,
            keys: &self.tables().keys,
            limit: self.max_receipt_bytes(),
            escapes: self.server().escapes,
        };
        let effects = self.groups().effects.of(&effect.statements, Some(&keeping));
        let Some(effects) = effects else {
            return Verdict::Alone;
        };
        let shot = Shot {
            name,
            print: *effect.claim.fingerprint(),
            outcome: (!returns).then(|| Outcome::Applied(effect.receipt.clone())),
            body,
            kept: kept(effect.claim.retention()),
            lock: self.claim_lock(&effect.claim),
            effects,
        };
        let verdict = ask(Shooting(self.clone()), shot).await;
        match verdict {
            Some(Verdict::Applied(_)) => self.key_was(false),
            Some(Verdict::Known(_) | Verdict::Replayed(_)) => self.key_was(true),
            _ => {}
        }
        verdict.unwrap_or(Verdict::Alone)
    }

    /// Whether keys are found completed often, so that looking first is worth its trip.
    pub(in crate::postgres) fn replays_expected(&self) -> bool {
        self.groups().replays.expected()
    }

    /// A key was found completed, or it was new.
    pub(in crate::postgres) fn key_was(&self, completed: bool) {
        if completed {
            self.groups().replays.found();
        } else {
            self.groups().replays.fresh();
        }
    }
}
