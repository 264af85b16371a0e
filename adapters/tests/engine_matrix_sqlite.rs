//! The matrix of engines, on the scripted journal, over SQLite.

#[path = "support/place_sqlite.rs"]
mod place;
#[path = "support/scripted.rs"]
mod scripted;

fn main() -> std::process::ExitCode {
    exactly_once_conformance::engines::run(scripted::Scripts::default(), place::Sqlite)
}
