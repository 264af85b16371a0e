//! What SQLite says of a statement: names, and whether it writes. It has no types of parameters.

use super::{Column, Described};
use crate::{WorkError, sqlite::SqliteTx};

pub(super) async fn describe(tx: &mut SqliteTx, text: String) -> Result<Described, WorkError> {
    let described = tx
        .run(move |db| {
            let statement = db.prepare(&text)?;
            let columns = statement.column_names().into_iter().map(|name| Column {
                name: name.to_owned(),
                of: None,
            });
            Ok(Described {
                parameters: Vec::new(),
                columns: columns.collect(),
                writes: Some(!statement.readonly()),
            })
        })
        .await?;
    Ok(described)
}
