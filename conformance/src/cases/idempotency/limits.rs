//! Limits: what is a name, what is a receipt, and that both come back as they were given.

use exactly_once_core::{
    Claim, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, IdempotencyStore, MAX_NAME_BYTES,
    Namespace, Outcome, Receipt, Store, Transactional,
};

use super::support::{claimed, completed, ensure_recorded, fresh, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, key, race, receipt, refused},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Each name is a key of its own: completes all of them, each with its own receipt, and then reads
/// all of them back.
async fn ensure_distinct<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    names: &[String],
) -> CaseResult {
    let own = |number: usize, name: &str| receipt(&format!("{number}: {name}"));
    for (number, name) in names.iter().enumerate() {
        let id = format!("distinct/{number}");
        completed(cx, cx.store(), &claim(name)?, &id, &own(number, name)).await?;
    }
    for (number, name) in names.iter().enumerate() {
        let outcome = replayed(cx.store(), &claim(name)?).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(own(number, name)),
            "the outcome of {name:?}"
        );
    }
    Ok(())
}

/// Goal: what is no name is refused before any I/O. Method: empty, NUL, no UTF-8, one byte too long.
async fn i70_no_name<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    for odd in [
        &b""[..],
        b"a\0b",
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        &[b'k'; MAX_NAME_BYTES + 1],
    ] {
        ensure!(IdempotencyKey::from_bytes(odd).is_err(), seen: odd, "no key of these bytes");
        ensure!(Namespace::from_bytes(odd).is_err(), seen: odd, "no namespace of these bytes");
    }
    ensure_distinct(&cx, &[" ".into(), "\u{1}".into(), "0".into()]).await
}

/// Goal: the longest key is kept whole, whatever is in it. Method: keys of 255 bytes that differ in
/// the last byte only; of one letter, and of random bytes that don't compress.
async fn i71_longest_key<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let limit = cx.store().capabilities().max_name_bytes;
    ensure!(limit >= MAX_NAME_BYTES, seen: limit, "names of at least {MAX_NAME_BYTES} bytes");
    let mut rng = cx.case().rng();
    let random: String = (1..MAX_NAME_BYTES)
        .map(|_| char::from(u8::try_from(rng.within(33..=126)).unwrap_or(b'x')))
        .collect();
    let compressible = "a".repeat(MAX_NAME_BYTES - 1);
    let mut names = vec![compressible.clone(), random.clone()];
    for last in ["a", "b", "z"] {
        names.push(compressible.clone() + last);
        names.push(random.clone() + last);
    }
    ensure_distinct(&cx, &names).await
}

/// Goal: the limit counts bytes, not characters, and nothing is cut at either. Method: the longest
/// keys of two-, three- and four-byte characters, which differ in the last character only.
async fn i72_bytes_are_counted<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let mut names = Vec::new();
    for (letter, other) in [('é', 'è'), ('語', '誌'), ('🦀', '🦞')] {
        let bytes = letter.len_utf8();
        let most = MAX_NAME_BYTES / bytes;
        let stem: String = std::iter::repeat_n(letter, most - 1).collect();
        names.extend([
            format!("{stem}{letter}"),
            format!("{stem}{other}"),
            stem.clone(),
        ]);
        let over: String = std::iter::repeat_n(letter, most + 1).collect();
        ensure!(
            IdempotencyKey::new(over).is_err(),
            "one character more than fits to be refused"
        );
    }
    ensure_distinct(&cx, &names).await
}

/// Goal: names are compared byte by byte. Method: one word composed and decomposed.
async fn i74_no_normalisation<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let names = [
        "caf\u{e9}",
        "cafe\u{301}",
        "cafe",
        "\u{212b}",
        "\u{c5}",
        "A\u{30a}",
        "ﬁ",
        "fi",
    ];
    ensure_distinct(&cx, &names.map(String::from)).await
}

/// Goal: nothing is trimmed, folded or taken for a pattern. Method: keys that are alike to a sloppy
/// eye, or special to some language.
async fn i75_odd_characters<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let names = [
        "a",
        "a ",
        " a",
        "a\t",
        "a\n",
        "a\r\n",
        "A",
        "aa",
        "a%",
        "%",
        "_",
        "a_",
        "*",
        "?",
        "[a]",
        "a:b",
        "a::b",
        "a/b",
        "{a}",
        "a{b}",
        "\\",
        "\\\\",
        "\\0",
        "'",
        "''",
        "\"",
        "`",
        ";",
        "--",
        "NULL",
        "null",
        "0",
        "00",
        "1e1",
        "10",
        "true",
        "🦀",
        "👩‍👩‍👧",
        "\u{202e}a",
        "\u{200f}a",
        "\u{200b}a",
        "a\u{200b}",
        "\u{feff}a",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{fffd}",
        "ß",
        "SS",
        "ss",
        "I",
        "i",
        "ı",
        "İ",
        "\u{10ffff}",
    ];
    ensure_distinct(&cx, &names.map(String::from)).await
}

/// Goal: a receipt comes back byte for byte. Method: of no byte, of each byte value, of all of
/// them, of bytes that are no UTF-8, and of the largest size.
async fn i76_receipts_are_bytes<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let largest = cx.store().capabilities().max_receipt_bytes;
    let mut receipts = vec![
        Vec::new(),
        vec![0],
        (0..=255).collect(),
        b"\xff\xfe\xed\xa0\x80\xc0\x80".to_vec(),
        b"\\x00 '); --".to_vec(),
        cx.case().rng().bytes(4096),
        cx.case().rng().bytes(largest),
        vec![b'a'; largest],
        vec![0; largest],
    ];
    receipts.extend((0..=255).step_by(15).map(|byte| vec![byte]));
    for (number, bytes) in receipts.into_iter().enumerate() {
        let (claim, receipt) = (claim(&format!("i76/{number}"))?, Receipt::from_bytes(bytes));
        completed(&cx, cx.store(), &claim, "i76", &receipt).await?;
        let outcome = replayed(cx.store(), &claim).await?;
        let same = outcome == Outcome::Applied(receipt.clone());
        ensure!(same, seen: outcome, "receipt {number}, of {} bytes, as it was", receipt.len());
    }
    Ok(())
}

/// Goal: too large a receipt is refused, and the effect with it. Method: one byte over; by
/// `complete`, and by `execute_once`; then a small one.
async fn i77_too_large_a_receipt<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let largest = cx.store().capabilities().max_receipt_bytes;
    let claim = claim("i77")?;
    let store = cx.store();
    let mut tx = fresh(store, &claim).await?;
    cx.write(&mut tx, "i77").await?;
    let huge = Receipt::from_bytes(vec![0; largest + 1]);
    refused(
        store.complete(tx, &claim, &huge).await,
        ErrorKind::TooLarge,
        "one byte over",
    )?;
    // In JSON the quotes alone are over the limit.
    let text = "x".repeat(largest - 1);
    let answer = cx
        .store()
        .execute_once(&claim, async |tx| {
            cx.write(tx, "i77").await?;
            Ok(text)
        })
        .await;
    refused(
        answer.map(|_| "done"),
        ErrorKind::TooLarge,
        "a value over the limit",
    )?;
    ensure_eq!(
        cx.effects("i77").await?,
        0,
        "effects whose receipt was refused"
    );
    // What `execute_once` got is final; under a new key a small one is fine.
    let anew = crate::cases::support::claim("i77/anew")?;
    completed(&cx, cx.store(), &anew, "i77", &receipt("small")).await?;
    ensure_eq!(cx.effects("i77").await?, 1, "effects");
    Ok(())
}

/// Goal: many keys that begin alike are many keys. Method: hundreds of them, written by several
/// at a time, each read back. (Ten thousand are in the one-shot topic.)
async fn i78_common_prefix<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (keys, cx) = (cx.case().scaled(400, 100), std::sync::Arc::new(cx));
    const WRITERS: usize = 16;
    let name = |number: usize| format!("{}/{number}", "prefix".repeat(30));
    let ended = race((0..WRITERS).map(|writer| {
        let cx = std::sync::Arc::clone(&cx);
        async move {
            for number in (writer..keys).step_by(WRITERS) {
                let (claim, receipt) = (claim(&name(number))?, receipt(&number.to_string()));
                let store = cx.store();
                let tx = fresh(store, &claim).await?;
                ensure_recorded(store.complete(tx, &claim, &receipt).await)?;
            }
            Ok(())
        }
    }))
    .await?;
    ended.into_iter().collect::<CaseResult<()>>()?;
    for number in 0..keys {
        let outcome = replayed(cx.store(), &claim(&name(number))?).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(receipt(&number.to_string())),
            "key {number}"
        );
    }
    Ok(())
}

/// Goal: what is stored is data, never text of a statement. Method: a list of injections as key,
/// namespace, fingerprint, receipt and rejection.
async fn i79_injections<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let injections = [
        "'; DROP TABLE effects; --",
        "\\'; DROP TABLE effects; --",
        "$1",
        "$$; ROLLBACK; $$",
        "?1",
        "' OR '1'='1",
        "\"; --",
        "x'); DELETE FROM idempotency_keys WHERE ('1'='1",
        "\u{2019}; DROP TABLE effects",
        "KEYS[1]",
        "\r\nFLUSHALL\r\n",
        "]]; return redis.call('FLUSHALL') --[[",
        "%s%n",
        "${jndi:ldap://x}",
        "../../etc/passwd",
    ];
    completed(
        &cx,
        cx.store(),
        &claim("i79/witness")?,
        "i79",
        &receipt("witness"),
    )
    .await?;
    for text in injections {
        let store = cx.store().with_namespace(Namespace::new(text)?);
        let mut print = [b' '; 32];
        let cut = text.len().min(32);
        print[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        let claim = Claim::new(key(text)?, Fingerprint::from_bytes(print));
        let tx = fresh(&store, &claim).await?;
        ensure_recorded(store.complete(tx, &claim, &receipt(text)).await)?;
        ensure_eq!(
            replayed(&store, &claim).await?,
            Outcome::Applied(receipt(text)),
            "its outcome"
        );
        let no = exactly_once_core::Rejection::new(400, text);
        let rejected = Claim::new(key(&format!("no {text}"))?, Fingerprint::from_bytes(print));
        let tx = fresh(&store, &rejected).await?;
        ensure_recorded(store.reject(tx, &rejected, &no).await)?;
        ensure_eq!(
            replayed(&store, &rejected).await?,
            Outcome::Rejected(no),
            "its rejection"
        );
        let own = cx.store();
        // Nothing of it is seen from the case's own namespace.
        let answer = claimed(own, &claim).await?;
        if let exactly_once_core::Claimed::Fresh(tx) = answer {
            own.rollback(tx).await?;
        } else {
            ensure!(false, seen: answer, "the key {text:?} to be fresh in another namespace");
        }
    }
    replayed(cx.store(), &claim("i79/witness")?).await?;
    ensure_eq!(cx.effects("i79").await?, 1, "the effects of before");
    Ok(())
}

cases! { "idempotency::limits" for IdempotencyStore, "core::names, core::Receipt";
    I70 i70_no_name: "what is no name is refused before any I/O",
        "names are made without their check";
    I71 i71_longest_key: "the longest key is kept whole",
        "the column cuts keys at some length, or the index refuses them";
    I72 i72_bytes_are_counted: "bytes are counted, not characters, and nothing is cut",
        "a column of n characters, or a cut in the middle of a character";
    I74 i74_no_normalisation: "composed and decomposed are two keys",
        "a collation or a client library normalises";
    I75 i75_odd_characters: "keys that look alike are distinct",
        "a collation folds case, an index trims, a pattern match is used instead of equality";
    I76 i76_receipts_are_bytes: "a receipt comes back byte for byte",
        "receipts are stored as text, or cut at the first NUL";
    I77 i77_too_large_a_receipt: "too large a receipt is refused together with the effect",
        "the size is checked after the commit, or by the database only";
    I78 i78_common_prefix: "many keys that begin alike are many keys",
        "keys are cut, hashed to few bits, or matched by prefix";
    I79 i79_injections: "what is stored is data, never part of a statement",
        "SQL, Lua or key names are built from strings";
}
