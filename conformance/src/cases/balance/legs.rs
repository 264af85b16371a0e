//! Several legs: a transfer is applied whole or not at all.

use exactly_once_core::{
    BalanceStore, Error, ErrorKind, IdempotencyKey, Leg, MAX_LEGS, Store, Transfer,
};

use super::support::{
    MAX, adjust, ensure_held, ensure_sound, ensure_unknown, held, needs_transfers, opened, transfer,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, amount, key, race, refused, retry},
    },
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: a transfer keeps the sum. Method: three accounts, three transfers.
async fn b40_sum_is_kept<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    for holder in ["b40/a", "b40/b", "b40/c"] {
        opened(&cx, holder, 100).await?;
    }
    let two = transfer("two", &[("b40/a", -30), ("b40/b", 30)])?;
    cx.store().transfer(&two).await?;
    let three = transfer("three", &[("b40/c", -100), ("b40/a", 1), ("b40/b", 99)])?;
    cx.store().transfer(&three).await?;
    let between = Transfer::between(
        key("between")?,
        account("b40/b")?,
        account("b40/c")?,
        amount(229),
    )?;
    cx.store().transfer(&between).await?;
    for (holder, balance) in [("b40/a", 71), ("b40/b", 0), ("b40/c", 229)] {
        ensure_eq!(
            held(&cx, holder).await?.amount.get(),
            balance,
            "the balance of {holder:?}"
        );
        ensure_sound(cx.store(), holder).await?;
    }
    Ok(())
}

/// Goal: when a leg is refused, no leg is applied. Method: the refused leg as the first, in the
/// middle and last, for each reason; both accounts beside it are untouched.
async fn b41_refused_leg_undoes_all<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    for holder in ["b41/a", "b41/b", "b41/poor"] {
        opened(&cx, holder, 10).await?;
    }
    opened(&cx, "b41/full", MAX).await?;
    let reasons = [
        ("b41/poor", -11, ErrorKind::InsufficientFunds),
        ("b41/full", 1, ErrorKind::Overflow),
        ("b41/nobody", 1, ErrorKind::UnknownAccount),
    ];
    for (holder, delta, reason) in reasons {
        // Whatever the refused leg doesn't balance, the other two do.
        let (one, two) = if delta < 0 {
            (5, -delta - 5)
        } else {
            (-3, 3 - delta)
        };
        for place in 0..3 {
            let mut legs = vec![("b41/a", one), ("b41/b", two)];
            legs.insert(place, (holder, delta));
            let operation = transfer(&format!("{holder}/{place}"), &legs)?;
            let what = format!("a transfer whose leg {place} is refused");
            refused(cx.store().transfer(&operation).await, reason, &what)?;
            for untouched in ["b41/a", "b41/b", "b41/poor"] {
                ensure_held(&cx, untouched, 10, 1).await?;
            }
            ensure_held(&cx, "b41/full", MAX, 1).await?;
        }
    }
    ensure_unknown(&cx, "b41/nobody").await?;
    // With money, the same goes through under a new key.
    cx.store().adjust(&adjust("earn", "b41/poor", 1)?).await?;
    let operation = transfer("b41/anew", &[("b41/poor", -11), ("b41/a", 5), ("b41/b", 6)])?;
    cx.store().transfer(&operation).await?;
    ensure_held(&cx, "b41/poor", 0, 3).await
}

fn invalid(answer: Result<Transfer, Error>, what: &str) -> CaseResult {
    refused(answer, ErrorKind::Invalid, what)
}

/// Goal: an account stands in one leg of a transfer only. Method: from an account to itself.
async fn b42_same_account_twice<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b42", 10).await?;
    let name = |text: &str| -> CaseResult<IdempotencyKey> { Ok(key(text)?) };
    let itself = Transfer::between(name("k")?, account("b42")?, account("b42")?, amount(1));
    invalid(itself, "a transfer from an account to itself")?;
    let legs = [("b42", 5_i64), ("b42", -5)].map(|(holder, delta)| {
        Ok::<_, Error>(Leg {
            account: account(holder)?,
            delta: amount(delta),
        })
    });
    let legs = legs.into_iter().collect::<Result<Vec<_>, _>>()?;
    invalid(Transfer::new(name("k")?, legs), "two legs of one account")?;
    ensure_held(&cx, "b42", 10, 1).await
}

/// Goal: transfers against one another never deadlock towards the caller. Method: 64 at once, half
/// each way, over two accounts and then round a ring of eight; each retries what says *retry*.
async fn b43_opposing_transfers<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    let racers = cx.case().scaled(64, 16);
    for ring in [2, 8] {
        let holder = |number: usize| format!("b43/{ring}/{}", number % ring);
        for number in 0..ring {
            opened(&cx, &holder(number), 1_000).await?;
        }
        let tasks = (0..racers)
            .map(|number| {
                // Three in line, so that locks are taken in more than one place of the order.
                let step = if number % 2 == 0 { 1 } else { ring - 1 };
                let from = holder(number);
                let to = holder(number + step);
                let legs = [(from.as_str(), -1), (to.as_str(), 1)];
                let operation = transfer(&format!("{ring}/{number}"), &legs)?;
                let store = cx.store().clone();
                Ok(async move { retry(|| store.transfer(&operation)).await })
            })
            .collect::<CaseResult<Vec<_>>>()?;
        for answer in race(tasks).await? {
            ensure_matches!(answer, Ok(_), "every transfer to go through in the end");
        }
        let mut sum = 0;
        for number in 0..ring {
            sum += ensure_sound(cx.store(), &holder(number))
                .await?
                .0
                .amount
                .get();
        }
        ensure_eq!(sum, 1_000 * ring as i64, "the sum over a ring of {ring}");
    }
    Ok(())
}

/// Goal: a transfer may have many legs. Method: 100 legs, applied, replayed, and refused by its
/// last one.
async fn b44_hundred_legs<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    let holders: Vec<String> = (0..100).map(|number| format!("b44/{number}")).collect();
    for holder in &holders {
        opened(&cx, holder, 50).await?;
    }
    let legs: Vec<(&str, i64)> = holders
        .iter()
        .enumerate()
        .map(|(number, holder)| (holder.as_str(), if number % 2 == 0 { -50 } else { 50 }))
        .collect();
    let operation = transfer("all", &legs)?;
    let first = cx.store().transfer(&operation).await?;
    ensure_eq!(first.changes.len(), 100, "changes");
    let replay = cx.store().transfer(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.changes),
        (true, first.changes),
        "the replay"
    );
    let mut back: Vec<(&str, i64)> = legs
        .iter()
        .map(|(holder, delta)| (*holder, -delta))
        .collect();
    if let [.., before_last, last] = back.as_mut_slice() {
        (before_last.1, last.1) = (before_last.1 + 51, last.1 - 51);
    }
    let answer = cx.store().transfer(&transfer("back", &back)?).await;
    refused(
        answer,
        ErrorKind::InsufficientFunds,
        "100 legs of which the last is refused",
    )?;
    for (number, holder) in holders.iter().enumerate() {
        ensure_held(&cx, holder, if number % 2 == 0 { 0 } else { 100 }, 2).await?;
    }
    Ok(())
}

/// Goal: a transfer of the largest number of legs is applied whole and replayed whole. Method: as many legs
/// as a transfer may have; one leg more is refused when it is made.
async fn b68_the_most_legs<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    let holders: Vec<String> = (0..MAX_LEGS)
        .map(|number| format!("b68/{number}"))
        .collect();
    for holder in &holders {
        opened(&cx, holder, 1).await?;
    }
    let mut legs: Vec<(&str, i64)> = holders
        .iter()
        .enumerate()
        .map(|(number, holder)| (holder.as_str(), if number % 2 == 0 { -1 } else { 1 }))
        .collect();
    let operation = transfer("all", &legs)?;
    let store = cx.store();
    let first = retry(|| store.transfer(&operation)).await?;
    ensure_eq!(first.changes.len(), MAX_LEGS, "changes");
    let replay = cx.store().transfer(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.changes),
        (true, first.changes),
        "the replay"
    );
    for (number, holder) in holders.iter().enumerate() {
        ensure_held(&cx, holder, if number % 2 == 0 { 0 } else { 2 }, 2).await?;
    }
    legs.push(("b68/more", 0));
    ensure!(
        transfer("more", &legs).is_err(),
        "one leg more to be refused"
    );
    Ok(())
}

/// Goal: where transfers between any accounts are not declared, one that can't be had is refused as
/// unsupported and changes nothing. Method: transfers between many pairs; each whole, or refused.
async fn b46_undeclared_transfers<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    if cx.store().capabilities().transfers_across_shards {
        return cx.ignore("the store declares transfers between any two accounts");
    }
    for pair in 0..8 {
        let (payer, payee) = (format!("b46/{pair}/a"), format!("b46/{pair}/b"));
        opened(&cx, &payer, 10).await?;
        opened(&cx, &payee, 10).await?;
        let operation = transfer(&format!("move/{pair}"), &[(&payer, -4), (&payee, 4)])?;
        let moved = match cx.store().transfer(&operation).await {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::Unsupported => false,
            Err(error) => return Err(error.into()),
        };
        let (paid, version) = if moved { (4, 2) } else { (0, 1) };
        ensure_held(&cx, &payer, 10 - paid, version).await?;
        ensure_held(&cx, &payee, 10 + paid, version).await?;
    }
    Ok(())
}

/// Goal: what is no transfer is refused before any I/O. Method: one account twice among three legs,
/// a sum that is not zero, one leg, too many legs, a negative amount.
async fn b45_no_transfer<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b45/a", 10).await?;
    let leg = |holder: &str, delta| -> CaseResult<Leg> {
        Ok(Leg {
            account: account(holder)?,
            delta: amount(delta),
        })
    };
    let thrice = vec![leg("b45/a", 1)?, leg("b45/b", -2)?, leg("b45/a", 1)?];
    invalid(
        Transfer::new(key("k")?, thrice),
        "an account twice among three legs",
    )?;
    let open_sum = vec![leg("b45/a", 1)?, leg("b45/b", -2)?];
    invalid(
        Transfer::new(key("k")?, open_sum),
        "legs that don't add up to zero",
    )?;
    // Adds up to zero in 64 bits only if it wraps.
    let wrapping = vec![leg("b45/a", MAX)?, leg("b45/b", MAX)?, leg("b45/c", 2)?];
    invalid(
        Transfer::new(key("k")?, wrapping),
        "legs whose sum wraps to zero",
    )?;
    invalid(
        Transfer::new(key("k")?, vec![leg("b45/a", 0)?]),
        "a single leg",
    )?;
    let many = (0..257).map(|number| leg(&format!("b45/{number}"), 0));
    let many = many.collect::<CaseResult<Vec<_>>>()?;
    invalid(Transfer::new(key("k")?, many), "257 legs")?;
    let negative = Transfer::between(key("k")?, account("b45/a")?, account("b45/b")?, amount(-1));
    invalid(negative, "a negative amount")?;
    ensure_held(&cx, "b45/a", 10, 1).await
}

cases! { "balance::legs" for BalanceStore, "core::BalanceStore::transfer";
    B40 b40_sum_is_kept: "a transfer keeps the sum",
        "a leg is applied twice or to another account";
    B41 b41_refused_leg_undoes_all: "when a leg is refused, no leg is applied",
        "the script writes before it has validated all legs";
    B42 b42_same_account_twice: "an account stands in one leg only",
        "the second leg of an account is computed from the state before the first";
    B43 b43_opposing_transfers: "transfers against one another all go through",
        "locks are taken in the order of the legs: a deadlock reaches the caller as terminal";
    B44 b44_hundred_legs: "a transfer of 100 legs is applied and replayed whole",
        "legs are stored one by one, or in a column that is too short";
    B68 b68_the_most_legs: "a transfer of the most legs is applied and replayed whole",
        "the number of legs is stored in a byte, or a statement takes fewer parameters";
    B46 b46_undeclared_transfers: "a transfer that is not declared is whole, or unsupported",
        "the legs of one shard are applied, or the refusal is told as transient";
    B45 b45_no_transfer: "what is no transfer is refused when it is made",
        "the sum of the legs is computed in 64 bits";
}
