//! What the environment asks of a run.
//!
//! These are environment variables and not arguments because a test runner such as nextest
//! starts one process per case with arguments of its own, and passes the environment through.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::seed::Seed;

/// The folder that reports are written to.
pub const REPORT_DIR: &str = "EXACTLY_ONCE_REPORT_DIR";
/// `1` asks for a run that ends in seconds.
pub const QUICK: &str = "EXACTLY_ONCE_QUICK";
/// The seed of everything random in the run.
pub const SEED: &str = "EXACTLY_ONCE_SEED";
/// The time limit of a case, in seconds.
pub const TIMEOUT: &str = "EXACTLY_ONCE_CASE_TIMEOUT";

/// Of a quick run, and of a full one: ten thousand operations on a real server take a busy machine
/// their time, and that is no failure.
const TIMEOUT_QUICK: Duration = Duration::from_secs(60);
const TIMEOUT_FULL: Duration = Duration::from_secs(180);

/// The options of this process, read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where JSON, JUnit and HTML go; without it none is written.
    pub report_dir: Option<PathBuf>,
    /// Fewer rounds, racers and crash points, and the erased twins only where a filter names them:
    /// still every case, in a fraction of the time.
    pub quick: bool,
    /// The seed of the run; drawn at random when none was given, and printed with each failure.
    pub seed: Seed,
    /// The time limit of a case that doesn't have its own: 180 seconds, or 60 in a quick run, unless
    /// it was asked for.
    pub timeout: Duration,
}

/// A variable whose value can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?} is not {wanted}")]
pub struct BadOption {
    variable: &'static str,
    value: String,
    wanted: &'static str,
}

impl Options {
    /// Reads the environment, once per process: the seed must not change between two reads.
    ///
    /// # Errors
    /// A variable holds a value that can't be used. Running on with a default instead would
    /// quietly replay another seed than the one asked for.
    pub fn from_env() -> Result<&'static Self, &'static BadOption> {
        static OPTIONS: OnceLock<Result<Options, BadOption>> = OnceLock::new();
        OPTIONS
            .get_or_init(|| Self::read(|name| env::var(name).ok()))
            .as_ref()
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadOption> {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let quick = match get(QUICK).as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => return Err(BadOption::new(QUICK, other, "0 or 1")),
        };
        let seed = match get(SEED) {
            None => Seed::random(),
            Some(text) => text
                .parse()
                .map(Seed::new)
                .map_err(|_| BadOption::new(SEED, &text, "a whole number from 0 to 2^64-1"))?,
        };
        let timeout = match get(TIMEOUT) {
            None if quick => TIMEOUT_QUICK,
            None => TIMEOUT_FULL,
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| BadOption::new(TIMEOUT, &text, "a number of seconds over 0"))?,
        };
        Ok(Self {
            report_dir: get(REPORT_DIR).map(PathBuf::from),
            quick,
            seed,
            timeout,
        })
    }
}

impl BadOption {
    fn new(variable: &'static str, value: &str, wanted: &'static str) -> Self {
        Self {
            variable,
            value: value.to_owned(),
            wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Options, BadOption> {
        Options::read(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let options = Options::read(|_| None).unwrap();
        assert_eq!(options.timeout, TIMEOUT_FULL);
        assert!(!options.quick);
        assert!(options.report_dir.is_none());
    }

    #[test]
    fn given_values_are_taken() {
        assert_eq!(read(SEED, "42").unwrap().seed, Seed::new(42));
        let quick = read(QUICK, "1").unwrap();
        assert!(quick.quick);
        assert_eq!(quick.timeout, TIMEOUT_QUICK);
        assert_eq!(
            read(TIMEOUT, "1.5").unwrap().timeout,
            Duration::from_millis(1_500)
        );
        assert_eq!(
            read(REPORT_DIR, "out").unwrap().report_dir,
            Some("out".into())
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (name, value) in [
            (SEED, "-1"),
            (QUICK, "yes"),
            (TIMEOUT, "0"),
            (TIMEOUT, "soon"),
        ] {
            let error = read(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
