//! The guide shows code of this crate: each of its fences that names a file is in that file, word
//! for word.

#![allow(clippy::expect_used)]

use std::{fs, path::Path};

const GUIDE: &str = include_str!("../../../conformance/WRITE-AN-ADAPTER.md");

/// The fences that name a file: the file, and what they show of it.
fn snippets() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let mut rest = GUIDE;
    while let Some((_, fence)) = rest.split_once("\n```") {
        let (info, body) = fence.split_once('\n').expect("a fence with a first line");
        let (text, after) = body.split_once("\n```").expect("a fence that ends");
        match info.split_once(' ') {
            Some((_, file)) => found.push((file, text)),
            None => assert!(matches!(info, "text"), "code without a file's name: {info}"),
        }
        rest = after;
    }
    found
}

#[test]
fn every_snippet_is_in_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, text) in snippets() {
        let code = fs::read_to_string(root.join(file)).unwrap_or_else(|error| {
            panic!("the guide names {file}: {error}");
        });
        assert!(!text.trim().is_empty(), "an empty snippet of {file}");
        assert!(code.contains(text), "{file} does not hold this:\n{text}");
    }
}

#[test]
fn the_guide_shows_every_source_file_of_importance() {
    let shown: Vec<_> = snippets().into_iter().map(|(file, _)| file).collect();
    for file in [
        "transaction",
        "store",
        "error",
        "schema",
        "key_row",
        "idempotency",
        "lease",
        "balance",
    ] {
        let path = format!("examples/custom-adapter/src/{file}.rs");
        assert!(
            shown.contains(&path.as_str()),
            "the guide shows nothing of {path}"
        );
    }
}
