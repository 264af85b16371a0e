//! The conformance suite of exactly-once: every case an adapter must pass, as named tests.
//!
//! A case is a [`Trial`](runner::Trial): a stable id, a name, a goal, the place in the contract
//! that it checks, and an async body. [`runner::run`] runs them from a `harness = false` test
//! target, with the listing, filters and exit codes of `cargo test`, one named result per case.
//!
//! ```no_run
//! use exactly_once_conformance::runner::{CaseInfo, Trial, Variant, run};
//! use exactly_once_conformance::ensure_eq;
//!
//! const ADDS: CaseInfo = CaseInfo::new("X01", "arithmetic::basic::x01_one_and_one")
//!     .goal("one and one is two")
//!     .contract("design §0, Arithmetic")
//!     .mistake("the adder drops the carry");
//!
//! fn main() -> std::process::ExitCode {
//!     let trials = [Variant::Typed, Variant::Erased].map(|variant| {
//!         Trial::new(ADDS, variant, |_case| async {
//!             ensure_eq!(1 + 1, 2, "the sum");
//!             Ok(())
//!         })
//!     });
//!     run("pocket-calculator", trials)
//! }
//! ```
//!
//! # Layout
//!
//! * [`guide`]: write your own adapter, step by step.
//! * [`runner`]: runs trials: filters, parallelism, time limits, panics, exit codes.
//! * [`options`]: what the environment asks for (report folder, quick run, seed, time limit).
//! * [`check`]: [`CaseFailure`] and the macros [`ensure!`], [`ensure_eq!`], [`ensure_matches!`].
//! * [`report`]: results as a terminal table, JSON, JUnit and one self-contained HTML page.
//! * [`faults`]: what goes wrong on purpose: a TCP fault proxy, crash points at every poll of a
//!   future, and barriers that hold a zombie where the script wants it.
//! * [`history`]: records concurrent histories and checks that they are linearizable.
//! * [`process`]: the same test target, started again to act as another process.
//! * [`engines`]: the matrix of engines: every form of effect on an engine, under every fault.
//! * [`seed`]: deterministic randomness, and [`shrink`]: shorter schedules for what failed.

mod cases;
pub mod check;
pub mod context;
pub mod engines;
mod erased;
pub mod faults;
#[doc = include_str!("../WRITE-AN-ADAPTER.md")]
pub mod guide {}
pub mod harness;
pub mod history;
pub mod options;
pub mod process;
pub mod report;
pub mod runner;
pub mod seed;
pub mod shrink;
mod suite;

pub use check::{CaseFailure, CaseResult};
pub use harness::Harness;
pub use suite::{Suite, run};
