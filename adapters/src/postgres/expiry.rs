//! Removes what has expired, the oldest first, in batches.

use exactly_once_core::Result;

use super::{
    driver::{Driver, Reply},
    error::{convert, garbled},
    sqlstate::Stage,
    statements::{NOW, number},
    store::PostgresStore,
};

/// Leaves only one way to find the first rows in the order of an index: to read the index in that
/// order, and no further than to the last of the batch. By statistics that are older than the rows,
/// all of them may look like few, which are read and sorted then: a batch out of a million took half
/// a second.
const IN_ORDER: &str = "SELECT pg_catalog.set_config('enable_sort', 'off', true), \
                        pg_catalog.set_config('enable_seqscan', 'off', true), \
                        pg_catalog.set_config('enable_bitmapscan', 'off', true); ";

/// What is to be removed.
pub(super) struct Over<'a> {
    pub(super) table: &'a str,
    /// When a row expires. There must be an index on `namespace` and this.
    pub(super) moment: &'a str,
    /// How that stands to the clock: `<=` or `<`.
    pub(super) is: &'a str,
    /// What must hold as well.
    pub(super) and: &'a str,
}

impl<D: Driver> PostgresStore<D> {
    /// Removes at most this many rows of this namespace, and says how many. What another call is
    /// removing is skipped, so that two never wait for each other.
    pub(super) async fn remove_over(
        &self,
        operation: &'static str,
        over: &Over<'_>,
        limit: u32,
    ) -> Result<u64> {
        let Over {
            table,
            moment,
            is,
            and,
        } = over;
        // The clock by way of a SELECT: read once, and so a bound of the index. The rows are locked,
        // so their places stay; by them they are removed without a join.
        let sql = format!(
            "{IN_ORDER}WITH gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(\
             SELECT ctid FROM {table} WHERE namespace = {namespace} \
             AND {moment} {is} (SELECT {NOW}) AND {and} ORDER BY {moment} \
             LIMIT {limit} FOR UPDATE SKIP LOCKED)) RETURNING 1) \
             SELECT pg_catalog.count(*) FROM gone",
            namespace = self.namespace_sql()
        );
        let replies: Vec<Reply> = self
            .try_transact(&sql)
            .await
            .map_err(|failed| convert(failed, operation, Stage::Durable))?;
        number(replies.get(1), 0)
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(|| garbled(operation))
    }
}
