//! The key of a step: journaled as the result of a step of its own **before it is used**.
//!
//! # Why it is made like this
//! The key is the invocation id, the step's name, and an ordinal that differs for each step of the
//! invocation (two steps of one name never collide, in a loop say).
//!
//! - **Every attempt uses one key.** The SDK gives the result of a step only once the server has
//!   journaled it. An attempt that crashed before has used no key; one that comes after reads the
//!   same one. So does an invocation that is *restarted as new* from a later step: it has another
//!   id, but it keeps the journal's prefix, and with it the key. Computed again, the key would be
//!   another one, and the effect would happen twice.
//! - **It is made from the invocation id, not at random.** An ingress key that is sent again after
//!   Restate has forgotten it (a day by default) leads to the same invocation id, so to the same
//!   key, and the store still remembers the effect. With another request, it is a mismatch.
//! - **The ordinal comes from the SDK**, which counts awakeables per invocation. Contexts have no
//!   place for a counter of ours, and one beside them would not know when an attempt begins.

use crate::{engine::key::digest, names::MAX_NAME_BYTES};

/// The key of a step: the invocation and the ordinal have no slash, the name may. A digest stands for a name that does not fit, or that no key may hold.
///
/// The journals of running handlers hold such keys, so the format stays.
pub(super) fn derive(invocation: &str, name: &str, ordinal: &str) -> String {
    let key = format!("{invocation}/{name}/{ordinal}");
    if key.len() <= MAX_NAME_BYTES && !name.contains('\0') {
        return key;
    }
    format!("{invocation}/{}/{ordinal}", digest(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::IdempotencyKey;

    const INVOCATION: &str = "inv_1aUuoNzlA7fE5EbE7ctiVJuHVx1fpDvzjn";
    const ORDINAL: &str = "sign_1AZuKpX9o2rwPzKnv3QHuZ-7a1b2c3d4eAAAAEQ";

    #[test]
    fn every_name_gives_a_key_and_no_two_the_same() {
        let long = "n".repeat(10_000);
        let names = [
            "",
            "charge",
            "charge/key",
            "a\0b",
            "a\0c",
            "é",
            &long,
            &long[1..],
        ];
        let keys: std::collections::HashSet<_> = names
            .iter()
            .map(|name| IdempotencyKey::new(derive(INVOCATION, name, ORDINAL)).unwrap())
            .collect();
        assert_eq!(keys.len(), names.len());
    }

    #[test]
    fn a_readable_name_stays_readable() {
        assert_eq!(
            derive(INVOCATION, "charge", ORDINAL),
            format!("{INVOCATION}/charge/{ORDINAL}")
        );
    }
}
