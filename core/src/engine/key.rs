//! The rules of keys: a key is the same on every attempt of a step, and another one for each other
//! step.
//!
//! Which identity is stable belongs to the engine ([`Engine::identity`](super::Engine::identity)).
//! How a key is written belongs here, so that two names can't become one key.

use sha2::{Digest, Sha256};

use crate::names::{IdempotencyKey, InvalidName};

/// A longer part becomes its digest. Three parts of this size fit into a key.
const MAX_PART_BYTES: usize = 64;

/// The key `a/b/c` of the parts `a`, `b` and `c`: no two lists of parts have one key.
///
/// A part that has a slash, a NUL or more than 64 bytes, that is empty, or that looks like a digest,
/// is replaced by its SHA-256, so `["a/b", "c"]` and `["a", "b/c"]` differ.
///
/// # Errors
/// Too many parts: the key would be longer than 255 bytes.
///
/// ```
/// # use exactly_once_core::engine::key_of;
/// let run = "0192f5c4-6a9e-7d31-b1d2-6f6c2b0c8a11";
/// assert_eq!(key_of(&[run, "5", "charge"])?.as_str(), format!("{run}/5/charge"));
/// # Ok::<(), exactly_once_core::InvalidName>(())
/// ```
pub fn key_of(parts: &[&str]) -> Result<IdempotencyKey, InvalidName> {
    let parts: Vec<String> = parts.iter().map(|part| readable(part)).collect();
    IdempotencyKey::new(parts.join("/"))
}

fn readable(part: &str) -> String {
    let plain = !part.is_empty()
        && part.len() < MAX_PART_BYTES
        && !part.contains(['/', '\0'])
        && !part.chars().any(char::is_control);
    match plain {
        true => part.to_owned(),
        false => digest(part),
    }
}

/// A digest in place of a text that no key may hold.
pub(crate) fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_have_one_key() {
        let long = "n".repeat(1_000);
        let hex = digest("a/b");
        let lists: [&[&str]; 12] = [
            &["a", "b", "c"],
            &["a/b", "c"],
            &["a", "b/c"],
            &["a/b/c"],
            &["a", "", "c"],
            &["a", "c"],
            &["a", "c", ""],
            &[&hex, "c"],
            &[&long, "c"],
            &[&long[1..], "c"],
            &["a\0", "c"],
            &["a\n", "c"],
        ];
        let keys: std::collections::HashSet<_> =
            lists.iter().map(|parts| key_of(parts).unwrap()).collect();
        assert_eq!(keys.len(), lists.len());
        // Each part is at its largest, and the key has a place still.
        assert!(key_of(&[&long, &long, &long]).is_ok());
        assert!(key_of(&[&long, &long, &long, &long]).is_err());
    }
}
