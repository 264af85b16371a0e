//! The matrix of engines, on the toy engine, over SQLite.

#[path = "../../../adapters/tests/support/place_sqlite.rs"]
mod place;
mod support;

fn main() -> std::process::ExitCode {
    exactly_once_conformance::engines::run(support::Toy::new(), place::Sqlite)
}
