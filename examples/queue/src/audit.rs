//! Each message once: read from the database, past the store.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use rusqlite::{Connection, OpenFlags};

use crate::queue::Message;

/// What was sent and what is there, where they differ.
///
/// # Errors
/// Where the file can't be read.
pub fn anomalies(database: &Path, sent: &[Message]) -> Result<Vec<String>> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = db.prepare("SELECT message, account, cents FROM payment")?;
    let rows = rows.query_map([], |row| {
        Ok(Message {
            id: row.get(0)?,
            account: row.get(1)?,
            cents: row.get(2)?,
        })
    })?;
    let mut found: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for row in rows {
        let row = row?;
        found.entry(row.id.clone()).or_default().push(row);
    }
    let mut anomalies = Vec::new();
    for message in sent {
        let there = found.remove(&message.id).unwrap_or_default();
        // What can't be applied must not be.
        let expected = usize::from(message.cents > 0);
        if there.len() != expected || there.iter().any(|there| there != message) {
            anomalies.push(format!(
                "{}: expected {expected} times, found {there:?}",
                message.id
            ));
        }
    }
    anomalies.extend(found.into_keys().map(|id| format!("{id}: nobody sent it")));
    Ok(anomalies)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the audit sees what it is there for. Method: a message twice, one missing, one changed,
    /// one that was not sent.
    #[test]
    fn each_anomaly_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.db");
        let db = Connection::open(&file).unwrap();
        db.execute_batch(
            "CREATE TABLE payment (message TEXT, account TEXT, cents INTEGER) STRICT; \
             INSERT INTO payment VALUES ('a', 'x', 1), ('twice', 'x', 1), ('twice', 'x', 1), \
             ('changed', 'x', 2), ('foreign', 'x', 1)",
        )
        .unwrap();
        let message = |id: &str, cents| Message {
            id: id.to_owned(),
            account: "x".to_owned(),
            cents,
        };
        let sent = [
            message("a", 1),
            message("refused", 0),
            message("twice", 1),
            message("changed", 1),
            message("missing", 1),
        ];
        let seen = anomalies(&file, &sent).unwrap();
        let about: Vec<_> = seen
            .iter()
            .filter_map(|text| text.split(':').next())
            .collect();
        assert_eq!(about, ["twice", "changed", "missing", "foreign"]);
    }
}
