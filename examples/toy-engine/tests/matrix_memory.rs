//! The matrix of engines, on the toy engine, over the store in memory.

#[path = "../../../adapters/tests/support/place_memory.rs"]
mod place;
mod support;

fn main() -> std::process::ExitCode {
    exactly_once_conformance::engines::run(support::Toy::new(), place::Memory)
}
