//! Idempotency stores, one-shot form: the effect is known up front, as statements with parameters.

use std::future::Future;

use bytes::Bytes;

use crate::{
    error::Result,
    idempotency::{Claim, IdempotencyStore, Outcome},
    receipt::Receipt,
};

/// A parameter of a [`Statement`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// SQL NULL; the empty string in Redis.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )*};
}

value_from! {
    bool => |value| Value::Bool(value),
    i32 => |value| Value::Integer(value.into()),
    i64 => |value| Value::Integer(value),
    f64 => |value| Value::Float(value),
    &str => |value| Value::Text(value.to_owned()),
    String => |value| Value::Text(value),
    Vec<u8> => |value| Value::Bytes(value.into()),
    Bytes => |value| Value::Bytes(value),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One statement in the backend's own language, with bound parameters: SQL for Postgres (`$1`) and
/// SQLite (`?1`), a command and its arguments for Redis.
///
/// SQLite takes `$1` too, as a name that is numbered where it first appears: statements whose
/// parameters appear in order run on both.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    text: String,
    parameters: Vec<Value>,
    expected_rows: Option<u64>,
    set: bool,
}

impl Statement {
    /// A statement without parameters.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
            expected_rows: None,
            set: false,
        }
    }

    /// A statement for a whole set of callers at once, where the backend can: on Postgres an
    /// `INSERT` each of whose parameters is an *array*, with one element for each caller. Bind the
    /// values of this one caller; the adapter makes the arrays. It is the fastest form under load.
    ///
    /// ```
    /// # use exactly_once_core::Statement;
    /// let payment = Statement::set(
    ///     "INSERT INTO payments (id, amount) SELECT * FROM unnest($1::text[], $2::int8[])",
    /// )
    /// .bind("order-17")
    /// .bind(500);
    /// assert!(payment.is_set());
    /// ```
    ///
    /// To ensure correctness, the text must do for each element what it would do for that one
    /// alone, whatever the other elements are; an `INSERT … SELECT FROM unnest` does. If a row of
    /// another caller is refused, the set is undone and tried again without it. A backend without
    /// arrays runs the statement for each caller, in its own language.
    #[must_use]
    pub fn set(text: impl Into<String>) -> Self {
        Self {
            set: true,
            ..Self::new(text)
        }
    }

    /// With one more parameter.
    #[must_use]
    pub fn bind(mut self, parameter: impl Into<Value>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// Requires that exactly this many rows are changed; otherwise nothing is applied and the answer
    /// is [refused](crate::ErrorKind::Refused), for good. `UPDATE … WHERE stock > 0` needs it.
    #[must_use]
    pub fn expecting_rows(mut self, rows: u64) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// The statement's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its parameters, in order.
    #[must_use]
    pub fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    /// Whether it is for a whole set of callers.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set
    }

    /// How many rows it must change, if that was said.
    #[must_use]
    pub fn expected_rows(&self) -> Option<u64> {
        self.expected_rows
    }
}

/// An effect that is known up front.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShot {
    /// The effect's key, fingerprint and retention.
    pub claim: Claim,
    /// What to do, in order, all or nothing. May be empty: then only the receipt is stored.
    pub statements: Vec<Statement>,
    /// What every attempt is answered with.
    pub receipt: Receipt,
}

/// How a one-shot effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneShotDone {
    /// The outcome, of this attempt or of the first one.
    pub outcome: Outcome,
    /// Whether it is the outcome of an earlier attempt.
    pub replayed: bool,
}

/// Applies effects that are known up front, in one round trip.
///
/// # Contract
/// As [`IdempotencyStore`]. To ensure correctness:
/// - **Each caller's failure stays its own**, where an adapter groups the effects of several callers
///   into one commit: a refused statement of one must neither fail nor undo the effect of another.
/// - **A refusal is final**: it is recorded as the outcome of the key before it is reported. Otherwise a
///   message of an earlier attempt that is still under way is applied after its caller was assured that
///   it never will be. [`settle_one_shot`](crate::adapter::settle_one_shot) does it for adapters.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't apply statements that are known up front",
    label = "this store has no one-shot effects",
    note = "use `execute_once`, whose work may run any statement; a generic `S` needs the bound \
            `S: OneShotStore`"
)]
pub trait OneShotStore: IdempotencyStore {
    /// Claims the key, applies the statements, stores the receipt and commits; or answers with
    /// what was stored before.
    ///
    /// # Errors
    /// - [Mismatch](crate::ErrorKind::Mismatch), [in progress](crate::ErrorKind::InProgress).
    /// - [Refused](crate::ErrorKind::Refused): a statement was refused for good, or changed another
    ///   number of rows than it must. Nothing was applied, and the key keeps the refusal: every call
    ///   gets the same.
    /// - [Ambiguous](crate::ErrorKind::Ambiguous) and the other retryable kinds.
    fn execute_one_shot(
        &self,
        effect: &OneShot,
    ) -> impl Future<Output = Result<OneShotDone>> + Send;
}
