//! The matrix of engines, on the scripted journal, over the store in memory.

#[path = "support/place_memory.rs"]
mod place;
#[path = "support/scripted.rs"]
mod scripted;

fn main() -> std::process::ExitCode {
    exactly_once_conformance::engines::run(scripted::Scripts::default(), place::Memory)
}
