//! What a participant and the decision register say at every transaction, by named statements: the
//! usual way only, in which no other call has written anything. Whatever else is met is looked at by the
//! statements of `prepared` and `register`.

use std::sync::Arc;

use exactly_once_core::{Decision, Participation, Statement};
use sha2::{Digest, Sha256};

use super::{
    Of, execute,
    named::{self, Message, Named},
    register::Entry,
    text,
};
use crate::postgres::{
    driver::{Driver, DriverError, Reply},
    literal,
    outcome::rows_of_prepared,
    schema::Tables,
    session::Begun,
    statements::{self, NOW, Preamble},
};

/// Of a participant, and of the register.
pub(super) struct Marks {
    /// Settings and identity of a participant's transaction.
    begin: Arc<Named>,
    mark: Arc<Named>,
    mark_waiting: Arc<Named>,
    /// As `mark`, which fails where it was not made or is late.
    mark_surely: Arc<Named>,
    guard: Arc<Named>,
    /// Fails when it is late.
    in_time: Arc<Named>,
    /// The decision *commit* of a participant that holds the register.
    decide_within: Arc<Named>,
    /// Settings of the register's, and of a participant that goes in one message.
    alone: Arc<Named>,
    /// The same for a group.
    together: Arc<Named>,
    /// Settings of a commit that no caller waits for.
    unflushed: Arc<Named>,
    /// The same for a group.
    unflushed_together: Arc<Named>,
    decide: Arc<Named>,
    finish: Arc<Named>,
}

impl Marks {
    /// The preamble, and that of groups.
    pub(super) fn new(tables: &Tables, preamble: &Preamble, group: &Preamble) -> Self {
        let (outcomes, decisions, version) = (&tables.outcomes, &tables.decisions, &tables.version);
        let begin = statements::first(preamble);
        // The clock is read as the row is in: RETURNING comes after the insert and its indexes.
        let marking = |from: &str| {
            format!(
                "INSERT INTO {outcomes} (namespace, transaction, terms, not_after, \
                 forget_after, committed) SELECT pg_catalog.decode($1, 'hex'), \
                 pg_catalog.decode($2, 'hex'), pg_catalog.decode($3, 'hex'), $4, $5, true \
                 {from} ON CONFLICT DO NOTHING RETURNING {NOW}"
            )
        };
        // The holder of the marker holds this lock, also when prepared: so no call has to wait to learn
        // that. To look at all that is prepared, each time, took a tenth of the server's time.
        let mark = marking("WHERE pg_catalog.pg_try_advisory_xact_lock($6)");
        let mark_waiting = marking(&format!(
            "FROM pg_catalog.pg_advisory_xact_lock($6) WHERE NOT EXISTS (SELECT {})",
            rows_of_prepared("$7"),
        ));
        let mark_surely = format!(
            "WITH mine AS ({mark} AS marked_at) SELECT {} FROM mine",
            named::all_or_nothing("pg_catalog.count(*) FILTER (WHERE marked_at <= $4) = 1"),
        );
        let in_time = format!("SELECT 1 / (CASE WHEN {NOW} <= $1 THEN 1 ELSE 0 END)");
        let guard = format!(
            "SELECT 1 / (CASE WHEN {} AND {NOW} <= $2 THEN pg_catalog.count(*) ELSE 0 END) \
             FROM {outcomes} WHERE namespace = pg_catalog.decode($3, 'hex') \
             AND transaction = pg_catalog.decode($4, 'hex') AND committed",
            statements::began_at("$1"),
        );
        let decide_within = format!(
            "WITH mine AS (INSERT INTO {decisions} (namespace, transaction, terms, \
             not_after, forget_after, committed, participants) SELECT \
             pg_catalog.decode($1, 'hex'), pg_catalog.decode($2, 'hex'), \
             pg_catalog.decode($3, 'hex'), $4, $5, true, pg_catalog.decode($6, 'hex') \
             FROM {version} WHERE identity = pg_catalog.decode($7, 'hex') ON CONFLICT DO NOTHING RETURNING 1) SELECT 1 / pg_catalog.count(*) FROM mine"
        );
        // One clock for both comparisons, the register's own, read as the row is written. The identity
        // is that of the data now: the handle may have read it before they were adopted.
        let decide = format!(
            "INSERT INTO {decisions} (namespace, transaction, terms, not_after, \
             forget_after, participants, committed) SELECT pg_catalog.decode($1, 'hex'), \
             pg_catalog.decode($2, 'hex'), pg_catalog.decode($3, 'hex'), $4, $5, \
             pg_catalog.decode($6, 'hex'), $8 AND clock.now <= $4 \
             FROM (SELECT {NOW} AS now) clock, {version} \
             WHERE clock.now <= $5 AND identity = pg_catalog.decode($7, 'hex') \
             ON CONFLICT DO NOTHING RETURNING committed"
        );
        // Many transactions may end at one moment: no index by it can be used for what is not `=`.
        let finish = format!(
            "UPDATE {decisions} SET finished = true WHERE namespace = pg_catalog.decode($1, 'hex') \
             AND transaction = pg_catalog.decode($2, 'hex') \
             AND terms = pg_catalog.decode($3, 'hex') \
             AND not_after IS NOT DISTINCT FROM $4 AND forget_after IS NOT DISTINCT FROM $5 \
             AND committed = $6 AND NOT finished AND disputed IS NULL"
        );
        // A connection that knows one of a family knows all of it: a guard can't meet one
        // without it.
        let family = format!("{begin}\0{mark}\0{mark_waiting}\0{guard}\0{decide_within}");
        Self {
            begin: Named::of_family(&family, "", &begin),
            mark: Named::of_family(&family, "(text, text, text, int8, int8, int8)", &mark),
            mark_waiting: Named::of_family(
                &family,
                "(text, text, text, int8, int8, int8, text)",
                &mark_waiting,
            ),
            mark_surely: Named::new("(text, text, text, int8, int8, int8)", &mark_surely),
            guard: Named::of_family(&family, "(int8, int8, text, text)", &guard),
            in_time: Named::new("(int8)", &in_time),
            decide_within: Named::of_family(
                &family,
                "(text, text, text, int8, int8, text, text)",
                &decide_within,
            ),
            alone: Named::new("", &named::begin(preamble, "")),
            together: Named::new("", &named::begin(group, "")),
            unflushed: Named::new("", &named::begin(preamble, UNFLUSHED)),
            unflushed_together: Named::new("", &named::begin(group, UNFLUSHED)),
            decide: Named::new("(text, text, text, int8, int8, text, text, bool)", &decide),
            finish: Named::new("(text, text, text, int8, int8, bool)", &finish),
        }
    }
}

/// It waits for no disk.
const UNFLUSHED: &str = ", pg_catalog.set_config('synchronous_commit', 'off', true)";

impl Marks {
    /// The settings for so many entries in the register.
    ///
    /// The mark that a decision is carried out waits for no disk: where a crash takes it
    /// back, a sweeper carries the decision out once more, which changes nothing.
    pub(super) fn settings(&self, entry: Entry, entries: usize) -> &Arc<Named> {
        match (entry, entries) {
            (Entry::Decide, 1) => &self.alone,
            (Entry::Decide, _) => &self.together,
            (Entry::Finish, 1) => &self.unflushed,
            (Entry::Finish, _) => &self.unflushed_together,
        }
    }

    /// Writes an entry in a message.
    pub(super) fn enter(&self, message: &mut Message, entry: Entry, parameters: &[String]) {
        let statement = match entry {
            Entry::Decide => &self.decide,
            Entry::Finish => &self.finish,
        };
        message.execute(statement, parameters);
        // Both are prepared on a connection at once.
        message.uses(&self.decide);
        message.uses(&self.finish);
    }
}

/// How a participant's work in one message ends.
#[derive(Clone, Copy)]
pub(in crate::postgres) enum Ending {
    Prepare,
    Commit,
    /// With the decision *commit*.
    CommitDeciding,
}

/// The number of the advisory lock of a transaction whose prepared identifiers start so.
fn marker_lock(prefix: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"exactly-once/postgres/marker/1");
    hash.update(prefix);
    let digest: [u8; 32] = hash.finalize().into();
    i64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

impl<D: Driver> Of<D> {
    /// `namespace, transaction, terms, not_after, forget_after`, as parameters.
    fn parameters(&self, participation: &Participation) -> Vec<String> {
        let hex = |bytes: &[u8]| text::one(literal::hex(bytes));
        vec![
            text::one(self.namespace_hex()),
            hex(participation.transaction().as_bytes()),
            hex(&participation.terms()),
            literal::int(participation.not_after().as_micros()),
            literal::int(participation.forget_after().as_micros()),
        ]
    }

    /// The same of a decision, with its participants and the register's own identity.
    fn decision_parameters(&self, participation: &Participation) -> Vec<String> {
        let mut parameters = self.parameters(participation);
        let members = participation.participants().to_bytes();
        parameters.push(text::one(literal::hex(&members)));
        let identity = self.known_identity().map(|known| known.to_string());
        parameters.push(text::one(identity.unwrap_or_default()));
        parameters
    }

    /// Begins a transaction with the marker *committed* in it, unless something is known of it. The
    /// first reply holds the clock if the marker is in, and no row if it is not. `waiting` is for
    /// another attempt that is in its work; otherwise there is no row either.
    pub(in crate::postgres) async fn open_marked(
        &self,
        participation: &Participation,
        waiting: bool,
    ) -> Result<Begun<D::Connection>, DriverError> {
        let marks = &self.groups().marks;
        let mut message = Message::begin(&marks.begin);
        let prefix = self.prefix().of(participation.transaction());
        let mut values = self.parameters(participation);
        values.push(literal::int(marker_lock(&prefix)));
        if waiting {
            values.push(text::one(prefix));
            message.execute(&marks.mark_waiting, &values);
        } else {
            message.execute(&marks.mark, &values);
        }
        for one in [
            &marks.mark,
            &marks.mark_waiting,
            &marks.guard,
            &marks.decide_within,
        ] {
            message.uses(one);
        }
        self.open_named(&message).await
    }

    /// Writes the decision *commit* into this transaction; fails, with 22012, where one stands.
    pub(in crate::postgres) fn decide_within(&self, participation: &Participation) -> String {
        let decide = &self.groups().marks.decide_within;
        decide.call(&self.decision_parameters(participation))
    }

    /// Fails, with 22012, unless this is the very transaction that we began, its marker is in, and
    /// the deadline has not passed. It is the probe as well.
    pub(in crate::postgres) fn guard(
        &self,
        identity: i64,
        participation: &Participation,
    ) -> String {
        self.groups().marks.guard.call(&[
            literal::int(identity),
            literal::int(participation.not_after().as_micros()),
            text::one(self.namespace_hex()),
            text::one(literal::hex(participation.transaction().as_bytes())),
        ])
    }

    /// A participant's whole work, from its marker to its end, in one message. `None` where the
    /// statements can't go so: what they do must differ from what the message itself does.
    ///
    /// An error with a code has left nothing, whatever it was that failed.
    pub(in crate::postgres) async fn participate(
        &self,
        participation: &Participation,
        statements: &[Statement],
        ending: Ending,
    ) -> Option<Result<(), DriverError>> {
        let marks = &self.groups().marks;
        let effects = self.groups().effects.of(statements, None)?;
        let mut message = Message::begin(&marks.alone);
        let prefix = self.prefix().of(participation.transaction());
        let mut values = self.parameters(participation);
        values.push(literal::int(marker_lock(&prefix)));
        message.execute(&marks.mark_surely, &values);
        let guard = &self.groups().effects.guard;
        execute::execute(
            &mut message,
            guard,
            std::iter::once(effects.as_slice()),
            true,
        );
        if let Ending::CommitDeciding = ending {
            message.execute(
                &marks.decide_within,
                &self.decision_parameters(participation),
            );
        }
        // The statements may have waited.
        let deadline = literal::int(participation.not_after().as_micros());
        message.execute(&marks.in_time, &[deadline]);
        let message = match ending {
            Ending::Prepare => message.prepare(&self.prefix().gid(participation)),
            Ending::Commit | Ending::CommitDeciding => message.commit(),
        };
        Some(self.send(&message).await.map(drop))
    }

    /// Writes the first decision. Its row says what it is; there is none where a
    /// decision stands already, or the transaction's deadline has passed.
    pub(in crate::postgres) async fn decide_first(
        &self,
        participation: &Participation,
        proposal: Decision,
    ) -> Result<Option<Reply>, DriverError> {
        let mut parameters = self.decision_parameters(participation);
        parameters.push((proposal == Decision::Commit).to_string());
        self.enter(Entry::Decide, parameters).await
    }

    /// Marks this decision as carried out; counts 0 where it is already, there is no such decision,
    /// or a participant disputes it.
    pub(in crate::postgres) async fn finish_first(
        &self,
        participation: &Participation,
        decision: Decision,
    ) -> Result<Option<Reply>, DriverError> {
        let mut parameters = self.parameters(participation);
        parameters.push((decision == Decision::Commit).to_string());
        self.enter(Entry::Finish, parameters).await
    }
}
