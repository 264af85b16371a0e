//! The harness of the benchmarks: every case beside its floor, in one process.
//!
//! A figure of a benchmark says little on another machine, and not much on the same machine an
//! hour later. So each case runs in slices between two slices of its *floor*, the bare write
//! without any protection, in the order A B B A, and what is reported is the ratio of the two. The
//! cases take turns in rounds; the median and the quartiles of the rounds are the result. A case
//! *floor against itself* shows how much of a difference is noise.
//!
//! # Layout
//! | module | what it knows |
//! |---|---|
//! | [`options`] | the command line |
//! | [`case`] | what is measured: floors, cases and their targets |
//! | [`cases`], [`two_phase`] | the cases that are the same for every adapter |
//! | [`mod@slice`] | callers that call for a while |
//! | [`load`] | what else ran on the machine meanwhile |
//! | [`processor`] | processor time of an operation, of this process and of its servers |
//! | [`rounds`] | pairs of slices, and rounds of pairs |
//! | [`relay`], [`counts`] | round trips and syncs of an operation, in runs that are not timed |
//! | [`statistics`] | medians, quartiles, percentiles |
//! | [`results`] | what was measured, as it is written to a file |
//! | [`report`] | the tables, the page, the plot |
//! | [`scale`] | the cost of an operation by how much is stored |

pub mod case;
pub mod cases;
pub mod counts;
pub mod load;
pub mod options;
pub mod processor;
pub mod relay;
pub mod report;
pub mod results;
pub mod rounds;
pub mod scale;
pub mod slice;
pub mod statistics;
pub mod two_phase;

pub use case::{Bench, Case, Operation, Turn, operation};
pub use options::Options;
