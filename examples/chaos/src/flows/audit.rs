//! What must hold after all has come to rest, read by plain drivers.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use redis::AsyncCommands;
use rusqlite::OpenFlags;

use super::{
    clients::{Answer, Case},
    load::Members,
    stores::{NAMES, World},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Committed in one store and not in the other.
    Torn,
    /// Committed more than once in a store, or with two sets of participants.
    Doubled,
    /// The client was answered otherwise than it ended.
    WrongAnswer,
    /// An answer that must not be.
    Failed,
    /// A heuristic outcome or a loss.
    Alarm,
    /// What a right sweeper could not end.
    Sweep,
    /// In doubt, or decided and not finished.
    LeftBehind,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What is wrong.
    pub kind: Kind,
    /// Where, in detail.
    pub what: String,
}

impl Anomaly {
    /// Of this kind, with details.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// What the stores hold.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// For each store, how often the work of a transaction is there, by its participants.
    pub work: [BTreeMap<(String, String), usize>; 3],
    /// What is in doubt, or decided and not finished.
    pub left_behind: Vec<String>,
}

impl Evidence {
    fn row(&mut self, store: usize, name: String, members: String) {
        *self.work[store].entry((name, members)).or_default() += 1;
    }

    fn left(&mut self, what: &str, count: i64) {
        if count > 0 {
            self.left_behind.push(format!("{count} {what}"));
        }
    }

    fn times(&self, store: usize, name: &str, members: Members) -> usize {
        let key = (name.to_owned(), members.word().to_owned());
        self.work[store].get(&key).copied().unwrap_or_default()
    }
}

/// Reads everything.
///
/// # Errors
/// Where a store can't be read.
pub async fn read(world: &World) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    read_orders(world, &mut evidence)?;
    read_stock(world, &mut evidence).await?;
    read_shipping(world, &mut evidence).await?;
    Ok(evidence)
}

fn read_orders(world: &World, evidence: &mut Evidence) -> Result<()> {
    let file =
        rusqlite::Connection::open_with_flags(&world.sqlite, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = file.prepare("SELECT name, members FROM work")?;
    for row in rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (name, members) = row?;
        evidence.row(0, name, members);
    }
    for (what, sql) in [
        (
            "in doubt in orders",
            "SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared'",
        ),
        (
            "reserved in orders",
            "SELECT count(*) FROM exactly_once_reservation",
        ),
        (
            "not finished in the register of orders",
            "SELECT count(*) FROM exactly_once_decision WHERE NOT finished",
        ),
    ] {
        evidence.left(what, file.query_row(sql, [], |row| row.get(0))?);
    }
    Ok(())
}

async fn read_stock(world: &World, evidence: &mut Evidence) -> Result<()> {
    let read = |sql: &'static str| world.postgres.sql("stock", sql);
    for line in read("SELECT name || ' ' || members FROM work")
        .await?
        .lines()
    {
        if let Some((name, members)) = line.trim().split_once(' ') {
            evidence.row(1, name.to_owned(), members.to_owned());
        }
    }
    for (what, sql) in [
        (
            "in doubt in the stock",
            "SELECT count(*) FROM pg_prepared_xacts",
        ),
        (
            "locks of nobody in the stock",
            "SELECT count(*) FROM pg_locks WHERE pid IS NULL",
        ),
    ] {
        evidence.left(what, read(sql).await?.trim().parse()?);
    }
    Ok(())
}

async fn read_shipping(world: &World, evidence: &mut Evidence) -> Result<()> {
    let client = redis::Client::open(world.redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let entries: Vec<String> = connection.lrange("work", 0, -1).await?;
    for entry in entries {
        if let Some((name, members)) = entry.split_once(' ') {
            evidence.row(2, name.to_owned(), members.to_owned());
        }
    }
    let keys: Vec<String> = connection.keys("*").await?;
    let (mut in_doubt, mut reserved) = (0, 0);
    for key in keys {
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await?;
        if kind != "hash" {
            continue;
        }
        if key.ends_with(":reserved") {
            reserved += connection.hlen::<_, i64>(&key).await?;
        } else if connection.hget::<_, _, Option<String>>(&key, "s").await? == Some("P".into()) {
            in_doubt += 1;
        }
    }
    evidence.left("in doubt in shipping", in_doubt);
    evidence.left("reserved in shipping", reserved);
    Ok(())
}

/// Everything that is wrong; empty is what the flows must show.
#[must_use]
pub fn anomalies(cases: &[Case], evidence: &Evidence) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for case in cases {
        judge(case, evidence, &mut found);
    }
    let left = evidence.left_behind.iter();
    found.extend(left.map(|what| Anomaly::new(Kind::LeftBehind, what)));
    found
}

fn judge(case: &Case, evidence: &Evidence, found: &mut Vec<Anomaly>) {
    let Case { planned, answer } = case;
    let mut complain =
        |kind, what: String| found.push(Anomaly::new(kind, format!("{what}: {case:?}")));
    let mut committed = Vec::new();
    for members in [Members::Usual, Members::Crossed] {
        let stores = members.of(planned.flow);
        let times = stores.map(|store| evidence.times(store, &planned.name, members));
        if times.iter().any(|times| *times > 1) {
            complain(
                Kind::Doubled,
                format!("{times:?} in {:?}", stores.map(|at| NAMES[at])),
            );
        }
        if times[0] != times[1] {
            complain(
                Kind::Torn,
                format!("{times:?} in {:?}", stores.map(|at| NAMES[at])),
            );
        }
        if times.iter().any(|times| *times > 0) {
            committed.push(members);
        }
    }
    if committed.len() > 1 || (planned.refused && !committed.is_empty()) {
        complain(Kind::Doubled, format!("committed with {committed:?}"));
    }
    let as_answered = match answer {
        Answer::Committed(members) => committed == [*members],
        Answer::RolledBack => committed.is_empty(),
        Answer::Dropped => true,
        Answer::Failed(_) => {
            complain(Kind::Failed, "an answer that must not be".to_owned());
            true
        }
    };
    if !as_answered {
        complain(Kind::WrongAnswer, format!("committed with {committed:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::load::{Flow, Planned},
        *,
    };

    fn case(answer: Answer) -> Case {
        let planned = Planned {
            name: "t".to_owned(),
            flow: Flow::Orders,
            refused: false,
            crossed: true,
        };
        Case { planned, answer }
    }

    fn kinds(answer: Answer, rows: &[(usize, Members)]) -> Vec<Kind> {
        let mut evidence = Evidence::default();
        for (store, members) in rows {
            evidence.row(*store, "t".to_owned(), members.word().to_owned());
        }
        let found = anomalies(&[case(answer)], &evidence);
        found.into_iter().map(|anomaly| anomaly.kind).collect()
    }

    #[test]
    fn each_anomaly_is_seen() {
        use Members::{Crossed, Usual};
        let committed = || Answer::Committed(Usual);
        let both = [(0, Usual), (1, Usual)];
        assert_eq!(kinds(committed(), &both), []);
        assert_eq!(kinds(Answer::RolledBack, &[]), []);
        assert_eq!(kinds(Answer::Dropped, &[(0, Usual)]), [Kind::Torn]);
        assert_eq!(kinds(committed(), &[]), [Kind::WrongAnswer]);
        assert_eq!(kinds(Answer::RolledBack, &both), [Kind::WrongAnswer]);
        let twice = [both, both].concat();
        assert_eq!(kinds(committed(), &twice), [Kind::Doubled]);
        let sets = [(0, Usual), (1, Usual), (0, Crossed), (2, Crossed)];
        assert!(kinds(committed(), &sets).contains(&Kind::Doubled));
        let failed = Answer::Failed("lost".to_owned());
        assert_eq!(kinds(failed, &[]), [Kind::Failed]);
    }
}
