//! Schemas that are used again. Making one, and removing it in the end, is 33 files, which takes
//! longer than most cases; emptying it is some deletions.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::runtime::Handle;

use super::ground::{Look, failed};
use exactly_once_conformance::CaseResult;

/// The store's tables, but for the one that says which version they have.
const TABLES: [&str; 6] = [
    "keys",
    "accounts",
    "operations",
    "history",
    "outcomes",
    "decisions",
];

/// Schemas with all tables and nothing in them.
pub struct Schemas {
    free: Mutex<Vec<String>>,
    /// Not that of the cases: emptying waits for what it has ended.
    look: Look,
}

impl Schemas {
    pub fn new(look: Look) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::default(),
            look,
        })
    }

    /// A schema that is empty, or not there yet, for the user of this name.
    pub fn lend(self: &Arc<Self>, name: &str) -> Lent {
        let free = self.free().pop();
        Lent {
            schema: free.unwrap_or_else(|| name.to_owned()),
            lender: Some((Arc::clone(self), name.to_owned())),
            spoilt: AtomicBool::new(false),
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what the user of this name has left open, and empties the schema. A user that still holds a
    /// lock there, as a prepared transaction does, keeps the schema from being used again.
    async fn take_back(&self, name: &str, schema: String) -> CaseResult {
        let tables = TABLES.map(|table| format!("{schema}.{table}"));
        let deletions = tables
            .each_ref()
            .map(|table| format!("DELETE FROM {table}"));
        let sql = format!(
            "BEGIN; SET LOCAL lock_timeout = 200; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = '{name}'; \
             LOCK TABLE {}; {}; COMMIT",
            tables.join(", "),
            deletions.join("; ")
        );
        let client = self.look.client().await.map_err(failed)?;
        if let Err(error) = client.batch_execute(&sql).await {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return Err(failed(error));
        }
        self.free().push(schema);
        Ok(())
    }
}

/// A schema that a case has to itself; where it was lent, it is given back in the end.
pub struct Lent {
    schema: String,
    lender: Option<(Arc<Schemas>, String)>,
    spoilt: AtomicBool,
}

impl Lent {
    /// One that no other will use.
    pub fn forever(schema: String) -> Self {
        Self {
            schema,
            lender: None,
            spoilt: AtomicBool::new(false),
        }
    }

    pub fn name(&self) -> &str {
        &self.schema
    }

    /// More was changed than what is in the tables: it should not be used again.
    pub fn spoil(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some((schemas, name)), false) = (self.lender.take(), *self.spoilt.get_mut()) else {
            return;
        };
        let schema = std::mem::take(&mut self.schema);
        if let Ok(runtime) = Handle::try_current() {
            // Where it fails the next case makes one: nothing is lost but time.
            runtime.spawn(async move { schemas.take_back(&name, schema).await.ok() });
        }
    }
}
