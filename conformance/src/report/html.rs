//! One page for all adapters: a matrix of cases, with nothing to fetch from anywhere.

use super::Report;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const PAGE: &str = include_str!("page.html");

/// The reports as one self-contained page.
#[must_use]
pub fn to_page(reports: &[Report]) -> String {
    let data = serde_json::to_string(reports).unwrap_or_default();
    // Inside a script element only `<` can end it or start a comment; JSON may escape it freely.
    let data = data.replace('<', "\\u003c");
    // The data goes in last: it may hold any text, also one that looks like a placeholder.
    PAGE.replacen("/*STYLE*/", STYLE, 1)
        .replacen("/*SCRIPT*/", SCRIPT, 1)
        .replacen("/*DATA*/", &data, 1)
}
