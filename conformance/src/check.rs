//! What a failing case says, and the macros that say it.
//!
//! A case ends in a [`CaseFailure`] that says what was expected, what was seen and
//! what mistake in an adapter usually causes it. The runner adds what it knows about the case
//! (goal, contract, seed, how to run it again), so a case states only what it saw.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::panic::Location;

/// The result of a case, or of a helper inside one.
pub type CaseResult<T = ()> = Result<T, CaseFailure>;

/// Why a case failed.
///
/// It is deliberately not a [`std::error::Error`]: that is what lets `?` turn *any* error into
/// one, with its whole chain of sources and the line of the `?`.
#[derive(Clone)]
pub struct CaseFailure {
    expected: Option<String>,
    seen: String,
    mistake: Option<String>,
    notes: Vec<String>,
    ignored: bool,
    too_slow: bool,
    compared: bool,
    at: &'static Location<'static>,
}

impl CaseFailure {
    /// A failure: what the contract asks for, and what happened instead.
    #[track_caller]
    #[must_use]
    pub fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            expected: Some(expected.into()),
            seen: seen.into(),
            mistake: None,
            notes: Vec::new(),
            ignored: false,
            too_slow: false,
            compared: true,
            at: Location::caller(),
        }
    }

    /// A failure where nothing was expected in particular, such as an error in a set-up step.
    #[track_caller]
    #[must_use]
    pub fn unexpected(seen: impl Into<String>) -> Self {
        Self {
            expected: None,
            seen: seen.into(),
            mistake: None,
            notes: Vec::new(),
            ignored: false,
            too_slow: false,
            compared: false,
            at: Location::caller(),
        }
    }

    /// A step came after the moment that it had to come before: the case says nothing about the
    /// store, and is run again with longer times.
    #[track_caller]
    pub(crate) fn too_slow(seen: impl Into<String>) -> Self {
        Self {
            too_slow: true,
            ..Self::new(
                "the machine and the store to be quick enough for the case",
                seen,
            )
        }
    }

    pub(crate) fn is_too_slow(&self) -> bool {
        self.too_slow
    }

    /// Whether a check compared what it saw with the contract, so that the case's usual mistake is a
    /// likely one. An error of a step that was to succeed can have any cause.
    pub(crate) fn is_compared(&self) -> bool {
        self.compared
    }

    /// No failure: the case can't run here, and is reported as ignored with this reason.
    #[track_caller]
    #[must_use]
    pub fn ignored(reason: impl Into<String>) -> Self {
        Self {
            ignored: true,
            ..Self::unexpected(reason)
        }
    }

    /// Whether the case is to be reported as ignored; [`Self::seen`] is the reason.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Replaces what was expected, for a caller that knows better than the step that failed.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Names the likely mistake, where it is more specific than the case's own.
    #[must_use]
    pub fn mistake(mut self, mistake: impl Into<String>) -> Self {
        self.mistake = Some(mistake.into());
        self
    }

    /// Adds a circumstance, such as the crash point or the racer's number.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What was expected, if the failing step said so.
    #[must_use]
    pub fn expected(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// What was seen.
    #[must_use]
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// The likely mistake, if the failing step named one.
    #[must_use]
    pub fn likely_mistake(&self) -> Option<&str> {
        self.mistake.as_deref()
    }

    /// The circumstances, in the order they were added.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where in the suite the failure arose.
    #[must_use]
    pub fn at(&self) -> &'static Location<'static> {
        self.at
    }
}

impl Debug for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(expected) = &self.expected {
            write!(f, "expected {expected}, ")?;
        }
        write!(f, "seen {} (at {})", self.seen, self.at)
    }
}

impl<E: Error> From<E> for CaseFailure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::unexpected(error_chain(&error))
    }
}

/// The error with all its sources: the last one is usually the one that explains.
fn error_chain(error: &dyn Error) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, "\ncaused by: {cause}");
        source = cause.source();
    }
    text
}

/// States what a fallible step was expected to do: `step.expecting("the retry replays")?`.
pub trait Expecting<T> {
    /// Turns a failure of this step into one that says what was expected of it.
    ///
    /// # Errors
    /// The step's own failure, with `expected` filled in.
    fn expecting(self, expected: &str) -> CaseResult<T>;
}

impl<T, E: Into<CaseFailure>> Expecting<T> for Result<T, E> {
    #[track_caller]
    fn expecting(self, expected: &str) -> CaseResult<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => {
                let mut failure: CaseFailure = error.into();
                // `into` reports its own line; the caller's is the one worth reading.
                failure.at = Location::caller();
                Err(failure.expecting(expected))
            }
        }
    }
}

impl<T> Expecting<T> for Option<T> {
    #[track_caller]
    fn expecting(self, expected: &str) -> CaseResult<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(CaseFailure::new(expected, "nothing (None)")),
        }
    }
}

/// Longest value shown in a failure. Receipts go up to a mebibyte; a page of one is enough.
const SHOWN_CHARS_MAX: usize = 2_000;

/// The value as a failure shows it: its `Debug` form, cut to a page.
#[doc(hidden)]
#[must_use]
pub fn shown(value: &dyn Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text,
        Some((cut, _)) => {
            let more = text.len() - cut;
            format!("{}… ({more} more bytes)", &text[..cut])
        }
    }
}

/// Fails the case unless the condition holds.
///
/// `ensure!(balance >= 0, "a balance that is never negative")`, or with the value that explains
/// it: `ensure!(balance >= 0, seen: balance, "a balance that is never negative")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, seen: $seen:expr, $($expected:tt)+) => {
        if !$condition {
            return ::core::result::Result::Err($crate::check::CaseFailure::new(
                ::std::format!($($expected)+),
                $crate::check::shown(&$seen),
            ));
        }
    };
    ($condition:expr, $($expected:tt)+) => {
        if !$condition {
            return ::core::result::Result::Err($crate::check::CaseFailure::new(
                ::std::format!($($expected)+),
                ::core::concat!("not so: ", ::core::stringify!($condition)),
            ));
        }
    };
}

/// Fails the case unless what was seen (first) equals what was expected (second). The text names
/// the thing compared: `ensure_eq!(replayed, receipt, "the receipt of attempt {attempt}")`.
#[macro_export]
macro_rules! ensure_eq {
    ($seen:expr, $expected:expr, $($what:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => {
                if !(*seen == *expected) {
                    return ::core::result::Result::Err($crate::check::CaseFailure::new(
                        ::std::format!(
                            "{} to be {}",
                            ::std::format!($($what)+),
                            $crate::check::shown(expected),
                        ),
                        $crate::check::shown(seen),
                    ));
                }
            }
        }
    };
}

/// Fails the case unless the value matches the pattern; evaluates to what the arm yields.
///
/// `ensure_matches!(answer, Begin::Fresh(_), "a fresh key")`, or to take something out of it:
/// `let tx = ensure_matches!(answer, Begin::Fresh(tx) => tx, "a fresh key");`
#[macro_export]
macro_rules! ensure_matches {
    ($value:expr, $pattern:pat $(if $guard:expr)? => $taken:expr, $($expected:tt)+) => {
        match $value {
            $pattern $(if $guard)? => $taken,
            #[allow(unreachable_patterns)]
            other => {
                return ::core::result::Result::Err($crate::check::CaseFailure::new(
                    ::std::format!($($expected)+),
                    $crate::check::shown(&other),
                ));
            }
        }
    };
    ($value:expr, $pattern:pat $(if $guard:expr)?, $($expected:tt)+) => {
        match &$value {
            $pattern $(if $guard)? => {}
            #[allow(unreachable_patterns)]
            other => {
                return ::core::result::Result::Err($crate::check::CaseFailure::new(
                    ::std::format!($($expected)+),
                    $crate::check::shown(other),
                ));
            }
        }
    };
}
