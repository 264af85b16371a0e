//! How much a statement may return.

/// The limits of what a statement returns: rows, and bytes of them as JSON.
///
/// ```
/// # use exactly_once_core::Returning;
/// let one = Returning::rows(1);
/// let some = Returning::default().within_bytes(4_096);
/// assert_eq!((one.max_rows(), some.max_rows()), (1, 100));
/// ```
///
/// By default 100 rows and 64 KiB. The rows are part of the receipt, whose own
/// [limit](crate::Capabilities::max_receipt_bytes) holds as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Returning {
    rows: u32,
    bytes: u32,
}

impl Returning {
    /// The most rows by default.
    pub const DEFAULT_ROWS: u32 = 100;

    /// The most bytes by default: 64 KiB.
    pub const DEFAULT_BYTES: u32 = 64 * 1024;

    /// At most this many rows.
    #[must_use]
    pub const fn rows(rows: u32) -> Self {
        Self {
            rows,
            bytes: Self::DEFAULT_BYTES,
        }
    }

    /// With another limit of bytes, as the rows are written in JSON.
    #[must_use]
    pub const fn within_bytes(mut self, bytes: u32) -> Self {
        self.bytes = bytes;
        self
    }

    /// The most rows.
    #[must_use]
    pub const fn max_rows(self) -> u32 {
        self.rows
    }

    /// The most bytes.
    #[must_use]
    pub const fn max_bytes(self) -> u32 {
        self.bytes
    }
}

impl Default for Returning {
    fn default() -> Self {
        Self::rows(Self::DEFAULT_ROWS)
    }
}
