//! Mutants that store something else than they were given, or elsewhere.

use exactly_once::{
    Claim, Claimed, Error, ErrorKind, IdempotencyKey, IdempotencyStore, Namespace, Receipt, Result,
    Settled,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

macro_rules! key_mutant {
    ($(#[$doc:meta])* $name:ident: $change:expr; $test:ident => $($case:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Default)]
        struct $name;

        impl $name {
            fn change(claim: &Claim) -> Claim {
                let change: fn(&str) -> String = $change;
                let changed = change(claim.key().as_str());
                let key = IdempotencyKey::new(changed).unwrap_or_else(|_| claim.key().clone());
                Claim::new(key, *claim.fingerprint()).with_retention(claim.retention())
            }
        }

        impl Patch for $name {
            async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
                right.claim(&Self::change(claim)).await
            }
            async fn complete(
                &self,
                right: &MemoryStore,
                tx: MemoryTx,
                claim: &Claim,
                receipt: &Receipt,
            ) -> Result<Settled> {
                right.complete(tx, &Self::change(claim), receipt).await
            }
        }

        #[test]
        fn $test() {
            $(assert_killed::<$name>($case);)+
        }
    };
}

/// As many characters as fit.
fn first(key: &str, characters: usize) -> String {
    key.chars().take(characters).collect()
}

key_mutant! {
    /// Cuts keys, as a short column of a lax database does.
    CutKey: |key| first(key, 254);
    key_cut_at_some_length => "idempotency::limits::i71_longest_key"
}

key_mutant! {
    /// Cuts keys at 100 characters.
    CutKeyShort: |key| first(key, 100);
    key_cut_at_a_short_length =>
        "idempotency::limits::i78_common_prefix", "idempotency::limits::i72_bytes_are_counted"
}

key_mutant! {
    /// Cuts keys at the first control character, as one at NUL would be.
    CutAtControl: |key| key.split(char::is_control).next().unwrap_or(key).to_owned();
    key_cut_at_a_control_character => "idempotency::limits::i75_odd_characters"
}

key_mutant! {
    /// Folds case.
    FoldedKey: str::to_lowercase;
    key_folded => "idempotency::limits::i75_odd_characters"
}

key_mutant! {
    /// Trims.
    TrimmedKey: |key| key.trim().to_owned();
    key_trimmed => "idempotency::limits::i75_odd_characters"
}

key_mutant! {
    /// Drops accents that stand alone, as a normalising collation does.
    NormalisedKey: |key| key.replace('\u{301}', "").replace("\u{e9}", "e");
    key_normalised => "idempotency::limits::i74_no_normalisation"
}

/// Takes receipts for text.
#[derive(Clone, Default)]
struct LossyReceipt;

impl Patch for LossyReceipt {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        let text = String::from_utf8_lossy(receipt.as_bytes()).into_owned();
        right.complete(tx, claim, &Receipt::from_bytes(text)).await
    }
}

#[test]
fn receipt_as_lossy_utf8() {
    assert_killed::<LossyReceipt>("idempotency::limits::i76_receipts_are_bytes");
}

/// Commits first, and then finds that the receipt is too large.
#[derive(Clone, Default)]
struct ChecksSizeLate;

impl Patch for ChecksSizeLate {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        let kept = receipt
            .as_bytes()
            .get(..1024 * 1024)
            .unwrap_or(receipt.as_bytes());
        let kept = Receipt::from_bytes(kept.to_vec());
        let settled = right.complete(tx, claim, &kept).await?;
        receipt.check_size(1024 * 1024, "complete", "mutant")?;
        Ok(settled)
    }
}

#[test]
fn receipt_size_checked_after_the_commit() {
    assert_killed::<ChecksSizeLate>("idempotency::limits::i77_too_large_a_receipt");
}

/// Puts the key between quotes and hopes.
#[derive(Clone, Default)]
struct BuildsSql;

impl Patch for BuildsSql {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let odd = claim.key().as_str().matches('\'').count() % 2 == 1;
        if odd {
            return Err(Error::new(ErrorKind::Refused, "claim", "mutant")
                .with_message("syntax error: unterminated quoted string"));
        }
        right.claim(claim).await
    }
}

#[test]
fn sql_built_from_strings() {
    assert_killed::<BuildsSql>("idempotency::limits::i79_injections");
}

/// Binds every handle to one namespace.
#[derive(Clone, Default)]
struct OneNamespace;

impl Patch for OneNamespace {
    fn namespace(&self, _asked: Namespace) -> Namespace {
        Namespace::new("default").expect("a name")
    }
}

#[test]
fn namespace_ignored() {
    assert_killed::<OneNamespace>("idempotency::life::i80_namespaces_are_apart");
    assert_killed::<OneNamespace>("idempotency::life::i82_clearing_one");
}

/// Joins namespace and key with a colon.
#[derive(Clone, Default)]
struct JoinsWithAColon;

fn joined(right: &MemoryStore, claim: &Claim) -> (MemoryStore, Claim) {
    use exactly_once::Store;
    let key = format!("{}:{}", right.namespace(), claim.key());
    let key = IdempotencyKey::new(key).unwrap_or_else(|_| claim.key().clone());
    let one = right.with_namespace(Namespace::new("one").expect("a name"));
    (
        one,
        Claim::new(key, *claim.fingerprint()).with_retention(claim.retention()),
    )
}

impl Patch for JoinsWithAColon {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let (one, claim) = joined(right, claim);
        one.claim(&claim).await
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        let (one, claim) = joined(right, claim);
        one.complete(tx, &claim, receipt).await
    }
}

#[test]
fn namespace_and_key_joined() {
    assert_killed::<JoinsWithAColon>("idempotency::life::i81_separators");
}
