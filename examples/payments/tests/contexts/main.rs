//! The five contexts on the real Restate server: what a handler gets when replies are lost, steps
//! are retried, invocations cancelled, restarted and purged.

// The SDK generates clients without documentation.
#![allow(missing_docs)]

mod bench;
mod handlers;

use std::time::Duration;

use anyhow::{Context as _, Result};
use exactly_once::ErrorKind;
use exactly_once_servers::restate::Action;

use bench::Bench;

/// Goal: in each context, a reply that is lost after the commit leads to one effect and the right
/// answer. Method: the store's first answer to each effect is thrown away after its commit.
#[tokio::test(flavor = "multi_thread")]
async fn every_context_survives_lost_replies() -> Result<()> {
    let bench = Bench::start().await?;
    for (number, path) in [
        "TestService/once",
        "TestObject/key/exclusive",
        "TestObject/key/shared",
        "TestWorkflow/id/run",
        "TestWorkflow/id/look",
    ]
    .into_iter()
    .enumerate()
    {
        bench.faults.lose_replies(3);
        let (status, body) = bench.call(path, "", &format!("effect-{number}")).await?;
        assert_eq!((status, body.as_str()), (200, "1"), "{path}");
        assert_eq!(bench.faults.left(), 0, "{path}: no reply was lost");
        assert_eq!(bench.rows(&format!("effect-{number}")).await?, 1, "{path}");
        assert_eq!(bench.balance("counter").await?, number as i64 + 1, "{path}");
    }
    Ok(())
}

/// Goal: steps of one name do not collide. Method: three in a loop, with one request.
#[tokio::test(flavor = "multi_thread")]
async fn steps_of_one_name_are_effects_of_their_own() -> Result<()> {
    let bench = Bench::start().await?;
    bench.faults.lose_replies(2);
    let (status, body) = bench.call("TestService/thrice", "", "same").await?;
    assert_eq!((status, body.as_str()), (200, "[1,2,3]"));
    assert_eq!(bench.rows("same").await?, 3);
    Ok(())
}

/// Goal: a retry sees the refusal that was journaled, though it would be decided otherwise by now.
/// Method: the handler fails once after a refused debit, and money comes in before its retry.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_stays_the_same_on_a_retry() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/refused", "", "poor").await?;
    assert_eq!(status, 402, "{body}");
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    assert_eq!(refusal.kind(), ErrorKind::InsufficientFunds);
    assert!(bench.faults.attempts() > 1, "the handler was not retried");
    assert_eq!(bench.balance("poor").await?, 1_000, "the debit was refused");
    Ok(())
}

/// Goal: the work's own rejection is reported with its status and words, and recorded: it is the answer
/// to every invocation with that key.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_final() -> Result<()> {
    let bench = Bench::start().await?;
    for _ in 0..2 {
        let (status, body) = bench.call("TestService/rejected", "", "never").await?;
        let refusal = bench::refusal(status, &body).context("it is a refusal")?;
        assert_eq!(refusal.kind(), ErrorKind::Rejected { status: 451 });
        assert_eq!(refusal.message(), "not: here");
    }
    assert_eq!(
        bench.faults.attempts(),
        1,
        "a recorded rejection runs no work"
    );
    assert_eq!(bench.rows("never").await?, 0);
    Ok(())
}

/// Goal: any other error of the work is undone and tried again. Method: it fails twice, after it has
/// written.
#[tokio::test(flavor = "multi_thread")]
async fn other_errors_of_the_work_are_retried() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/flaky", "", "later").await?;
    assert_eq!((status, body.as_str()), (200, "1"));
    assert_eq!(bench.rows("later").await?, 1);
    assert_eq!(bench.faults.attempts(), 3);
    Ok(())
}

/// Goal: a conflict differs from a cancellation, which has the same status.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_no_cancellation() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/conflict", "", "account").await?;
    assert_eq!(status, 409, "{body}");
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    let ErrorKind::Conflict {
        current: Some(version),
    } = refusal.kind()
    else {
        panic!("{refusal}");
    };
    assert_eq!(version.get(), 2);

    let id = bench.send("TestService/sleep", "to cancel").await?;
    bench.cancel(&id).await?;
    let (status, body) = bench.attach(&id).await?;
    assert_eq!(status, 409, "{body}");
    assert_eq!(bench::refusal(status, &body), None, "{body}");
    Ok(())
}

/// Goal: a key of the caller's own makes two invocations one effect, and with another request it is
/// a mismatch.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_callers_own_spans_invocations() -> Result<()> {
    let bench = Bench::start().await?;
    for _ in 0..2 {
        let (status, body) = bench.call("TestService/keyed", "", "first").await?;
        assert_eq!((status, body.as_str()), (200, "1"));
    }
    let (status, body) = bench.call("TestService/keyed", "", "other request").await?;
    assert_eq!(status, 409, "{body}");
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    assert_eq!(refusal.kind(), ErrorKind::Mismatch);
    assert_eq!(bench.rows("other request").await?, 0);
    Ok(())
}

/// Goal: what was read durably stays as it was read. Method: the handler reads, fails once, and the
/// balance changes in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_read_is_read_once() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/read", "", "poor").await?;
    assert_eq!((status, body.as_str()), (200, "0"));
    assert_eq!(bench.balance("poor").await?, 1_000);
    assert!(bench.faults.attempts() > 1, "the handler was not retried");
    Ok(())
}

/// Goal: an invocation that is restarted as new after its key was journaled keeps the key, though
/// it has another id; restarted from its beginning, it is a new effect by intention.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_as_new_it_keeps_the_journaled_key() -> Result<()> {
    let bench = Bench::start().await?;
    let id = bench.send("TestService/once", "again").await?;
    assert_eq!(bench.attach(&id).await?, (200, "1".to_owned()));
    let calls = bench.faults.calls();
    // The entry that is named is the last one that is kept.
    let effect = bench.entry(&id, "insert").await?;
    let new = bench.restate.restart_as_new(&id, effect - 1).await?;
    assert_eq!(bench.attach(&new).await?, (200, "1".to_owned()));
    assert_eq!(bench.rows("again").await?, 1);
    assert_eq!(
        bench.faults.calls(),
        calls * 2,
        "the effect was not asked for again"
    );
    let anew = bench.restate.restart_as_new(&id, 0).await?;
    assert_eq!(bench.attach(&anew).await?, (200, "2".to_owned()));
    Ok(())
}

/// Goal: an ingress key that comes again after Restate has forgotten it is still the same effect.
#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_key_is_known_after_a_purge() -> Result<()> {
    let bench = Bench::start().await?;
    let first = bench.call("TestService/once", "order-17", "paid").await?;
    assert_eq!(first, (200, "1".to_owned()));
    let rows = bench
        .restate
        .query("SELECT id FROM sys_invocation WHERE idempotency_key = 'order-17'")
        .await?;
    let id = rows
        .first()
        .and_then(|row| row["id"].as_str())
        .context("it is there")?;
    bench.purge(id).await?;
    let again = bench.call("TestService/once", "order-17", "paid").await?;
    assert_eq!(again, first);
    assert_eq!(bench.rows("paid").await?, 1);
    // The same key for something else is refused instead of answered with the wrong receipt.
    let rows = bench
        .restate
        .query("SELECT id FROM sys_invocation WHERE idempotency_key = 'order-17'")
        .await?;
    let id = rows
        .first()
        .and_then(|row| row["id"].as_str())
        .context("it is there")?;
    bench.purge(id).await?;
    let (status, body) = bench
        .call("TestService/once", "order-17", "something else")
        .await?;
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    assert_eq!(refusal.kind(), ErrorKind::Mismatch);
    Ok(())
}

/// Goal: shutdown ends what is in flight in order. Method: it is asked for while a call runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_listener_ends_in_order() -> Result<()> {
    let mut bench = Bench::start().await?;
    let call = bench.call("TestService/slow", "", "last").await;
    assert_eq!(call?, (200, "1".to_owned()));
    tokio::time::timeout(Duration::from_secs(15), bench.shut_down()).await?;
    assert!(
        bench.call_service_directly().await.is_err(),
        "it still listens"
    );
    Ok(())
}

/// Goal: statements known up front are applied once, whichever call comes under their key.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_effect_is_applied_once() -> Result<()> {
    let bench = Bench::start().await?;
    for _ in 0..3 {
        let answer = bench.call("TestForms/one_shot", "", "one").await?;
        assert_eq!(answer, (200, "7".to_owned()));
    }
    assert_eq!(bench.rows("one").await?, 1);
    Ok(())
}

/// Goal: an outside effect happens once for all who ask, is retried after a failure, its lease is
/// renewed while it lasts, and its outcome is recorded. Method: two callers at once and one later.
#[tokio::test(flavor = "multi_thread")]
async fn a_leased_effect_goes_out_once() -> Result<()> {
    let bench = Bench::start().await?;
    let call = || bench.call("TestForms/outside", "", "mail");
    let (one, two) = tokio::try_join!(call(), call())?;
    let three = call().await?;
    assert_eq!(one.0, 200, "{one:?}");
    assert_eq!((&one, &two), (&two, &three));
    assert_eq!(bench.faults.outside(), 1);
    assert_eq!(
        bench.faults.attempts(),
        2,
        "one that failed, and one that did it"
    );

    for _ in 0..2 {
        let (status, body) = bench.call("TestForms/declined", "", "card").await?;
        let refusal = bench::refusal(status, &body).context("it is a refusal")?;
        assert_eq!(refusal.kind(), ErrorKind::Rejected { status: 402 });
    }
    assert_eq!(
        bench.faults.outside(),
        2,
        "a recorded rejection does not go out again"
    );
    Ok(())
}

/// Goal: an attempt that died with the lease is followed by another one, with a higher token.
/// Method: an invocation hangs in its effect and is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_killed_invocation_ends() -> Result<()> {
    let bench = Bench::start().await?;
    let id = bench.send("TestForms/hangs", "mail").await?;
    while bench.faults.attempts() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.restate.act(Action::Kill, &id).await?;
    let (status, token) = bench.call("TestForms/outside", "", "mail").await?;
    assert_eq!(status, 200, "{token}");
    assert!(token.parse::<i64>()? > 1, "{token}");
    assert_eq!(bench.faults.outside(), 1);
    Ok(())
}

/// Goal: a transaction over two databases is in both or in none, and a restart at its step finds the
/// same transaction, by its journaled name and deadlines.
#[tokio::test(flavor = "multi_thread")]
async fn two_databases_agree() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestPair/both", "", "refused").await?;
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    assert_eq!(refusal.kind(), ErrorKind::Rejected { status: 418 });
    assert_eq!(
        (
            bench.rows("refused").await?,
            bench.second_rows("refused").await?
        ),
        (0, 0)
    );

    let id = bench.send("TestPair/both", "taken").await?;
    assert_eq!(bench.attach(&id).await?, (200, "2".to_owned()));
    assert_eq!(
        (
            bench.rows("taken").await?,
            bench.second_rows("taken").await?
        ),
        (1, 1)
    );

    let commit = bench.entry(&id, "both").await?;
    let new = bench.restate.restart_as_new(&id, commit - 1).await?;
    assert_eq!(bench.attach(&new).await?, (200, "2".to_owned()));
    assert_eq!(
        (
            bench.rows("taken").await?,
            bench.second_rows("taken").await?
        ),
        (1, 1)
    );
    assert_eq!(bench.in_doubt().await?, 0);
    Ok(())
}

/// Goal: a retry by a version of the handler that builds another request is the same effect. Method:
/// the first attempt commits under a key of its own and under a made one, and fails; the second one
/// has another request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_grew_between_two_attempts_is_no_mismatch() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/grown", "", "grown").await?;
    assert_eq!((status, body.as_str()), (200, "3"));
    assert!(bench.faults.attempts() > 1, "the handler was not retried");
    assert_eq!(bench.rows("grown").await?, 2);
    Ok(())
}

/// Goal: the second of two steps that are joined is refused at once, by name, and each attempt gives
/// the same. Method: join two, with a lost reply for the first.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_joined_steps_is_refused_by_name() -> Result<()> {
    let bench = Bench::start().await?;
    for lost in [0, 1] {
        bench.faults.lose_replies(lost);
        let name = format!("joined-{lost}");
        let (status, body) = bench.call("TestService/joined", "", &name).await?;
        assert_eq!(status, 501, "{body}");
        let refusal = bench::refusal(status, &body).context("it is a refusal")?;
        for word in ["`left`", "`right`"] {
            assert!(refusal.message().contains(word), "{refusal}");
        }
        assert_eq!(bench.rows(&name).await?, 1, "the first step is done");
    }
    Ok(())
}

/// Goal: a value that can't be stored is refused with nothing applied, and poisons no journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_survive_is_refused() -> Result<()> {
    let bench = Bench::start().await?;
    let (status, body) = bench.call("TestService/nan", "", "nan").await?;
    let refusal = bench::refusal(status, &body).context("it is a refusal")?;
    assert_eq!(refusal.kind(), ErrorKind::Invalid, "{refusal}");
    assert_eq!(bench.rows("nan").await?, 0);
    Ok(())
}

/// Goal: an effect outside whose value can't be stored happens once, and each call gets the same answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_outside_effect_without_a_storable_value_is_recorded() -> Result<()> {
    let bench = Bench::start().await?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (status, body) = bench.call("TestForms/valueless", "", "valueless").await?;
        let refusal = bench::refusal(status, &body).context("it is a refusal")?;
        assert_eq!(refusal.kind(), ErrorKind::Forgotten, "{refusal}");
        assert!(refusal.message().contains("was applied"), "{refusal}");
        answers.push(refusal);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(bench.faults.outside(), 1, "effects outside");
    Ok(())
}

/// Goal: a cancelled handler learns what became of its effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_handler_asks_for_the_outcome() -> Result<()> {
    let bench = Bench::start().await?;
    let id = bench.send("TestService/asks", "asks").await?;
    while bench.faults.attempts() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.cancel(&id).await?;
    let (status, body) = bench.attach(&id).await?;
    assert_eq!((status, body.as_str()), (200, "[null,1,409]"));
    Ok(())
}
