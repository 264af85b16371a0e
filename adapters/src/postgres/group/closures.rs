//! What a closure's claim and completion say, by named statements: they are the same for all, and
//! parsing them each time costs more than executing them.

use std::{sync::Arc, time::Duration};

use exactly_once_core::{Claim, Outcome};

use super::{
    Of,
    named::{Message, Named},
};
use crate::postgres::{
    driver::{Driver, DriverError},
    key_row::{columns_of, kept},
    literal,
    schema::Tables,
    session::Begun,
    statements::{self, Preamble, RECEIVED},
};

/// The statements of a claim and of its completion. Their names depend on all of them, so a
/// connection that knows one knows the others: a completion can't meet one without it.
pub(super) struct Closures {
    begin: Arc<Named>,
    claim: Arc<Named>,
    settle: Arc<Named>,
}

impl Closures {
    pub(super) fn new(tables: &Tables, preamble: &Preamble) -> Self {
        let keys = &tables.keys;
        let begin = statements::first(preamble);
        let claim = format!(
            "INSERT INTO {keys} (namespace, key, fingerprint) \
             SELECT pg_catalog.decode($1, 'hex'), pg_catalog.decode($2, 'hex'), \
             pg_catalog.decode($3, 'hex') FROM pg_catalog.pg_advisory_xact_lock_shared($4) \
             ON CONFLICT DO NOTHING"
        );
        // The division is guard and probe in one; see `settle_sql`. Both moments are read from one
        // clock, which stands still for the length of this message.
        let settle = format!(
            "WITH done AS (UPDATE {keys} SET outcome = $3, body = pg_catalog.decode($4, 'hex'), \
             status = $5, completed_at = {RECEIVED}, expires_at = {RECEIVED} + $6, \
             token = 0, lease_until = 0 \
             WHERE namespace = pg_catalog.decode($1, 'hex') \
             AND key = pg_catalog.decode($2, 'hex') \
             AND fingerprint = pg_catalog.decode($8, 'hex') \
             AND outcome IS NULL AND {here} RETURNING 1) \
             SELECT 1 / pg_catalog.count(*) FROM done",
            here = statements::began_at("$7"),
        );
        let family = format!("{begin}\0{claim}\0{settle}");
        Self {
            begin: Named::of_family(&family, "", &begin),
            claim: Named::of_family(&family, "(text, text, text, int8)", &claim),
            settle: Named::of_family(
                &family,
                "(text, text, int2, text, int4, int8, int8, text)",
                &settle,
            ),
        }
    }
}

/// How long a claim that does not wait gives a rival that is about to commit.
const BRIEFLY: Duration = Duration::from_millis(25);

fn lock_timeout(time: Duration) -> String {
    format!("SET LOCAL lock_timeout = {}", time.as_millis().max(1))
}

impl<D: Driver> Of<D> {
    /// Begins a transaction and claims the key's row in it, if it is free. The first reply
    /// counts 1 if it was claimed; then comes the savepoint's.
    pub(in crate::postgres) async fn open_claim(
        &self,
        claim: &Claim,
        savepoint: &str,
    ) -> Result<Begun<D::Connection>, DriverError> {
        let closures = &self.groups().closures;
        let mut message = Message::begin(&closures.begin);
        if !claim.waits() {
            message.plain(&lock_timeout(BRIEFLY.min(self.timeouts().lock)));
        }
        let values = [
            format!("'{}'", self.namespace_hex()),
            format!("'{}'", literal::hex(claim.key().as_str().as_bytes())),
            format!("'{}'", literal::hex(claim.fingerprint().as_bytes())),
            format!("'{}'", self.claim_lock(claim)),
        ];
        message.execute(&closures.claim, &values);
        if !claim.waits() {
            // For the user's own statements.
            message.plain(&lock_timeout(self.timeouts().lock));
        }
        message.plain(savepoint);
        message.uses(&closures.settle);
        let mut begun = self.open_named(&message).await?;
        if !claim.waits() {
            begun.replies.drain(..1.min(begun.replies.len()));
        }
        Ok(begun)
    }

    /// Records an outcome on the row that [`Self::open_claim`] has claimed.
    pub(in crate::postgres) fn settle_by_name(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        identity: i64,
    ) -> String {
        let (number, body, status) = columns_of(outcome);
        let null = |number: Option<i64>| {
            number.map_or_else(|| "NULL".to_owned(), |number| format!("'{number}'"))
        };
        self.groups().closures.settle.call(&[
            format!("'{}'", self.namespace_hex()),
            format!("'{}'", literal::hex(claim.key().as_str().as_bytes())),
            format!("'{number}'"),
            format!("'{}'", literal::hex(body)),
            null(status),
            null(kept(claim.retention())),
            format!("'{identity}'"),
            format!("'{}'", literal::hex(claim.fingerprint().as_bytes())),
        ])
    }
}
