//! Typed wrappers of the configured service, to be written into a program of another language.
//!
//! They are text made from the configuration alone, so no database is needed, and the file can be made
//! and compared in CI. Names are identifiers by the configuration's own rule; documentation is kept from
//! ending the comment that it stands in.

mod python;
mod typescript;

use super::config::{Config, Handler};

/// A language that a wrapper is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// TypeScript, for @restatedev/restate-sdk
    Ts,
    /// Python, for restate-sdk
    Py,
}

/// The wrapper, without a line feed at its end.
pub(super) fn of(config: &Config, language: Language) -> String {
    match language {
        Language::Ts => typescript::of(config),
        Language::Py => python::of(config),
    }
}

/// `take_stock` is `TakeStock`. Where two handlers have one such name, the later one has a number.
fn type_name(config: &Config, handler: &Handler) -> String {
    let pascal = |name: &str| -> String {
        name.split('_')
            .flat_map(|part| {
                let mut chars = part.chars();
                let first = chars.next().map(|char| char.to_ascii_uppercase());
                first.into_iter().chain(chars)
            })
            .collect()
    };
    let name = pascal(&handler.name);
    let before = config
        .handlers
        .iter()
        .take_while(|other| other.name != handler.name)
        .filter(|other| pascal(&other.name) == name)
        .count();
    match before {
        0 => name,
        _ => format!("{name}{}", before + 1),
    }
}

/// The name of the configuration's file, as it stands in a comment.
fn file_name(config: &Config) -> String {
    let name = config.file.file_name().unwrap_or_default();
    name.to_string_lossy()
        .chars()
        .filter(|char| !char.is_control() && !matches!(char, '"' | '*' | '\\'))
        .collect()
}
