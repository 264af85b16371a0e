//! What a participant and the register keep of a transaction, and how both are read.

use exactly_once_core::{
    Dispute, Participation, Result, Settlement, Timestamp, TransactionDigest,
    adapter::{
        refusals,
        rules::participants::{Asked, Known, Stage},
    },
};

use super::{
    STORE,
    driver::{Driver, Reply},
    error::garbled,
    literal,
    statements::NOW,
    store::PostgresStore,
};

/// What the server knows of a transaction at one moment.
#[derive(Debug)]
pub(super) struct Found {
    /// Identifiers of this transaction that are prepared, of whatever request.
    pub(super) prepared: Vec<String>,
    /// The outcome, if one is committed.
    pub(super) outcome: Option<Outcome>,
    /// The server's clock.
    pub(super) now: Timestamp,
}

/// A row of outcomes or decisions.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) participation: Participation,
    pub(super) committed: bool,
    /// Of decisions only.
    pub(super) finished: bool,
    /// Of decisions only.
    pub(super) settled: Option<Settlement>,
    /// Of decisions only.
    pub(super) disputes: Vec<Dispute>,
}

impl Outcome {
    /// Columns as [`COLUMNS`] says, and those of [`DECISION`] where they are asked for.
    pub(super) fn parse(row: &[Option<String>]) -> Option<Self> {
        let text = |column: usize| row.get(column)?.as_deref();
        let bytes = |column: usize| literal::unhex(text(column)?);
        let moment = |column: usize| -> Option<Timestamp> {
            Some(Timestamp::from_micros(text(column)?.parse().ok()?))
        };
        Some(Self {
            participation: Participation::from_terms(
                TransactionDigest::from_bytes(bytes(0)?.try_into().ok()?),
                &bytes(1)?,
                moment(3)?,
                moment(4)?,
            )
            .ok()?
            .with_named(&bytes(6).unwrap_or_default()),
            committed: text(2)? == "t",
            finished: text(5).is_some_and(|finished| finished == "t"),
            settled: match text(7) {
                None => None,
                Some(settled) => Some(Settlement::parse(settled)?),
            },
            disputes: Dispute::parse_all(text(8).unwrap_or_default())?,
        })
    }

    /// The first row, if there is one.
    pub(super) fn read(reply: Option<&Reply>, operation: &'static str) -> Result<Option<Self>> {
        match reply.and_then(|reply| reply.rows.first()) {
            None => Ok(None),
            Some(row) => Self::parse(row).map(Some).ok_or_else(|| garbled(operation)),
        }
    }

    /// The same name with other terms or other deadlines is another transaction.
    pub(super) fn check(
        &self,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        if self.participation == *participation {
            Ok(())
        } else {
            Err(refusals::another_transaction(operation, STORE))
        }
    }
}

/// What [`Outcome::parse`] reads.
pub(super) const COLUMNS: &str = "pg_catalog.encode(transaction, 'hex'), \
     pg_catalog.encode(terms, 'hex'), committed, not_after, forget_after";

/// What a decision has beside them.
pub(super) const DECISION: &str =
    "finished, pg_catalog.encode(participants, 'hex'), settled, disputed";

/// What is prepared in this database by an identifier that starts so; the start is SQL.
pub(super) fn rows_of_prepared(start: &str) -> String {
    format!(
        "FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() \
         AND pg_catalog.starts_with(gid, {start})"
    )
}

impl<D: Driver> PostgresStore<D> {
    /// `namespace = … AND transaction = …`
    pub(super) fn transaction_is(&self, participation: &Participation) -> String {
        format!(
            "namespace = {} AND transaction = {}",
            self.namespace_sql(),
            literal::bytes(participation.transaction().as_bytes())
        )
    }

    /// `namespace, transaction, terms, not_after, forget_after`, as values.
    pub(super) fn participation_values(&self, participation: &Participation) -> String {
        format!(
            "{}, {}, {}, {}, {}",
            self.namespace_sql(),
            literal::bytes(participation.transaction().as_bytes()),
            literal::bytes(&participation.terms()),
            literal::int(participation.not_after().as_micros()),
            literal::int(participation.forget_after().as_micros()),
        )
    }

    /// The list of the transaction's prepared identifiers, of whatever request.
    pub(super) fn prepared_with_prefix(prefix: &str) -> String {
        rows_of_prepared(&format!("'{prefix}'"))
    }

    /// First "is it prepared?", **then, in a new statement,** the outcome. The other way round, or
    /// in one statement, a commit in between would read as nothing at all.
    pub(super) fn select_known(&self, participation: &Participation) -> String {
        format!(
            "SELECT gid {}; SELECT {COLUMNS} FROM {} WHERE {}; SELECT {NOW}",
            Self::prepared_with_prefix(&self.prefix().of(participation.transaction())),
            self.tables().outcomes,
            self.transaction_is(participation),
        )
    }

    /// Reads the three answers to [`Self::select_known`].
    pub(super) fn read_known(replies: &[Reply], operation: &'static str) -> Result<Found> {
        let prepared = replies.first().map_or(&[][..], |reply| &reply.rows);
        let now = super::statements::number(replies.get(2), 0).ok_or_else(|| garbled(operation))?;
        Ok(Found {
            prepared: prepared
                .iter()
                .filter_map(|row| row.first()?.clone())
                .collect(),
            outcome: Outcome::read(replies.get(1), operation)?,
            now: Timestamp::from_micros(now),
        })
    }

    /// What is known of the transaction.
    pub(super) async fn look_at(
        &self,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<Found> {
        let replies = self
            .read(operation, &self.select_known(participation))
            .await?;
        Self::read_known(&replies, operation)
    }

    /// What is known, for the rules. An outcome is final, also where "is it prepared?" was asked a
    /// moment before.
    pub(super) fn known(&self, found: &Found, participation: &Participation) -> Known {
        let gid = self.prefix().gid(participation);
        if found.prepared.iter().any(|other| *other != gid) {
            return Known::Another;
        }
        match &found.outcome {
            Some(outcome) => {
                let stage = if outcome.committed {
                    Stage::Committed
                } else {
                    Stage::RolledBack
                };
                Known::of(Some((&outcome.participation, stage)), participation)
            }
            None if found.prepared.is_empty() => Known::Nothing,
            None => Known::At(Stage::Prepared),
        }
    }

    pub(super) fn asked<'a>(
        participation: &'a Participation,
        now: Timestamp,
        operation: &'static str,
    ) -> Asked<'a> {
        Asked {
            participation,
            now,
            operation,
            store: STORE,
        }
    }
}
