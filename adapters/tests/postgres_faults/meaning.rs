//! A statement means the same alone and in a batch, also after its table has changed.

use exactly_once::{OneShot, OneShotStore, Statement};

use crate::{Under, at_once, builder, shot, world::world};

on_both!(a_statement_means_the_same_after_its_table_has_changed);

/// A value as it is bound, the column's first type and its second one.
const PAIRS: [(&str, &str, &str); 10] = [
    ("2026-07-01 12:00:00+05", "timestamp", "timestamptz"),
    ("2026-07-01 12:00:00+05", "timestamptz", "timestamp"),
    ("2026-07-01 12:00:00", "date", "timestamp"),
    ("007", "int4", "text"),
    ("1.50", "numeric(9,1)", "numeric(9,2)"),
    ("1.50", "float8", "text"),
    ("t", "bool", "text"),
    ("12:30:00+03", "time", "timetz"),
    (" a ", "char(4)", "text"),
    ("{1, 2}", "int4[]", "text"),
];

async fn a_statement_means_the_same_after_its_table_has_changed<D: Under>() {
    let world = world().await;
    world
        .sql(&format!(
            "ALTER DATABASE {} SET timezone = 'Asia/Tokyo'",
            world.database
        ))
        .await;
    let store = builder::<D>(&world.url())
        .pool_size(2)
        .connect()
        .await
        .unwrap();
    let alone = builder::<D>(&world.url()).share_commits(false);
    let alone = alone.connect().await.unwrap();
    // With its columns named, a plain insert may be prepared with their types.
    let forms = ["", " (name, value)"];
    let pairs = forms
        .into_iter()
        .flat_map(|columns| PAIRS.map(|pair| (columns, pair)));
    for (at, (columns, (value, before, after))) in pairs.enumerate() {
        world
            .sql(&format!("CREATE TABLE t{at} (name text, value {before})"))
            .await;
        let insert = |name: String| -> OneShot {
            let text = format!("INSERT INTO t{at}{columns} VALUES ($1, $2)");
            let statement = Statement::new(text).bind(&*name).bind(value);
            shot(&format!("{at} {name}"), vec![statement])
        };
        for round in 0..6 {
            let effects: Vec<_> = (0..20)
                .map(|number| insert(format!("before {round} {number}")))
                .collect();
            for done in at_once(&store, &effects).await {
                done.unwrap();
            }
        }
        world
            .sql(&format!(
                "DELETE FROM t{at}; ALTER TABLE t{at} ALTER COLUMN value TYPE {after} \
                 USING value::text::{after}"
            ))
            .await;
        let effects: Vec<_> = (0..20)
            .map(|number| insert(format!("after {number}")))
            .collect();
        for done in at_once(&store, &effects).await {
            done.unwrap();
        }
        alone
            .execute_one_shot(&insert("alone".to_owned()))
            .await
            .unwrap();
        let values = format!(
            "SELECT count(*) || ': ' || string_agg(DISTINCT value::text, ' | ') FROM t{at}"
        );
        let values = world.sql(&values).await;
        assert!(
            values.starts_with("21: ") && !values.contains(" | "),
            "{before}→{after}: {values}"
        );
    }
}
