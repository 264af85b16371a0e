//! JSON in and out, and the merge of a folder of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Report, ReportError};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "exactly-once-conformance/1";

pub(super) fn to_json(report: &Report) -> String {
    // Strings and numbers only: there is no value in a report that JSON can't hold.
    serde_json::to_string_pretty(report).unwrap_or_default()
}

/// Reads all `*.json` of a folder: one report per adapter, sorted by name.
///
/// Several files of one adapter become one report: of a case that is in more than one, the latest
/// result counts. That is how the pieces of a nextest run, or a case run again, come together.
///
/// # Errors
/// The folder can't be read, or one of the files is not a report of this version.
pub fn merge(dir: &Path) -> Result<Vec<Report>, ReportError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| ReportError::io(dir, source))? {
        let path = entry.map_err(|source| ReportError::io(dir, source))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(read(&path)?);
        }
    }
    found.sort_by_key(|report| report.started_at_unix_ms);
    let mut adapters: BTreeMap<String, Report> = BTreeMap::new();
    for report in found {
        match adapters.get_mut(&report.adapter) {
            None => {
                adapters.insert(report.adapter.clone(), report);
            }
            Some(merged) => absorb(merged, report),
        }
    }
    Ok(adapters.into_values().collect())
}

fn read(path: &Path) -> Result<Report, ReportError> {
    #[derive(serde::Deserialize)]
    struct Tag {
        schema: String,
    }
    let text = fs::read_to_string(path).map_err(|source| ReportError::io(path, source))?;
    let json = |source| ReportError::Json {
        path: path.to_owned(),
        source,
    };
    // The tag first: a report of a newer version should say so, not miss some field.
    let Tag { schema } = serde_json::from_str(&text).map_err(json)?;
    if schema != SCHEMA {
        return Err(ReportError::Schema {
            path: path.to_owned(),
            schema,
        });
    }
    serde_json::from_str(&text).map_err(json)
}

/// Puts a later report over an earlier one of the same adapter.
fn absorb(merged: &mut Report, later: Report) {
    let mut at: BTreeMap<String, usize> = merged
        .cases
        .iter()
        .enumerate()
        .map(|(at, case)| (case.name.clone(), at))
        .collect();
    for case in later.cases {
        match at.get(&case.name) {
            Some(at) => merged.cases[*at] = case,
            None => {
                at.insert(case.name.clone(), merged.cases.len());
                merged.cases.push(case);
            }
        }
    }
    merged.started_at_unix_ms = later.started_at_unix_ms;
    merged.seed = later.seed;
    merged.quick |= later.quick;
    merged.filtered_out = 0;
    merged.duration_ms += later.duration_ms;
    sort_cases(merged);
}

/// A whole run is in the order of the catalogue. Pieces arrive in any order: there the topics
/// stay together, and cases follow their ids.
fn sort_cases(report: &mut Report) {
    report.cases.sort_by_cached_key(|case| {
        let topic = case
            .topic()
            .split("::")
            .next()
            .unwrap_or_default()
            .to_owned();
        (
            topic,
            case.id.clone(),
            case.path.clone(),
            Reverse(case.variant.clone()),
        )
    });
}
