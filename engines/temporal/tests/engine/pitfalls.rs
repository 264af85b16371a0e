//! What goes wrong in practice: a case for each, with what this library does about it. Those of children
//! and of standalone activities are among the cases of [`identity`](crate::identity).

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use exactly_once::IdempotencyStore;
use exactly_once_servers::Temporal;
use temporalio_client::RetryPolicy;

use crate::{
    cases,
    ground::Ground,
    scenario::{NewField, Pay, Plan, Recipe},
    worker::deploy_next,
};

cases![
    local_activities_have_no_stable_number,
    an_explicit_activity_id_may_repeat,
    a_workflow_retry_policy_pays_again,
    a_new_version_makes_another_request,
    a_plain_question_mark_is_retried_for_ever,
    a_bounded_policy_hides_a_payment,
    cancelled_says_nothing_unless_the_workflow_waits,
    zombies_pile_up,
    the_attempt_begins_at_one_again,
    changed_workflow_code_shifts_the_numbers,
    a_key_that_is_forgotten_pays_again,
    two_steps_of_one_name_share_a_key,
];

/// Refused before anything is written, with what to do.
async fn local_activities_have_no_stable_number(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground.run(Plan::pays([Pay::ours().local()])).await?;
    assert!(answers[0].starts_with("refused invalid 400"), "{answers:?}");
    assert!(answers[0].contains("set activity_id"), "{answers:?}");
    assert_eq!(ground.database.seen(Recipe::Ours)?.len(), 1);
    assert_eq!(ground.rows(Recipe::Ours)?, 0);
    Ok(())
}

/// Two equal payments under one id are one; keys made in the workflow are two.
async fn an_explicit_activity_id_may_repeat(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let plan = Plan::pays([
        Pay::ours().activity_id("pay"),
        Pay::ours().activity_id("pay"),
        Pay::ours().activity_id("pay").cents(200),
        Pay::by(Recipe::Keys).activity_id("pay"),
        Pay::by(Recipe::Keys).activity_id("pay"),
    ]);
    let answers = ground.run(plan).await?;
    assert_eq!(answers[0], answers[1]);
    assert!(
        answers[2].starts_with("refused mismatch 409"),
        "{answers:?}"
    );
    assert_eq!(ground.rows(Recipe::Ours)?, 1);
    assert_ne!(answers[3], answers[4]);
    assert_eq!(ground.rows(Recipe::Keys)?, 2);
    Ok(())
}

/// The refusal ends the run, and the policy begins another one: with a key of its own it pays again.
async fn a_workflow_retry_policy_pays_again(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let retries = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(50))
        .maximum_attempts(3)
        .build();
    let declined = Pay::ours().cents(1).faults(|faults| faults.rejects = true);
    let plan = Plan {
        fails: true,
        ..Plan::pays([Pay::ours(), Pay::by(Recipe::Business), declined])
    };
    let workflow = ground
        .start_with(plan, |mut options| {
            options.retry_policy = Some(retries);
            options
        })
        .await?;
    let failed = ground.answers(&workflow).await.unwrap_err();
    assert!(
        format!("{failed:#}").contains("refused rejected 402"),
        "{failed:#}"
    );
    assert_eq!(ground.rows(Recipe::Ours)?, 3);
    assert_eq!(ground.rows(Recipe::Business)?, 1);
    Ok(())
}

/// A field that is skipped where it is absent leaves the request as it was.
async fn a_new_version_makes_another_request(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let next = |cents, field| {
        Pay::ours().cents(cents).faults(|faults| {
            faults.fail_after_commit = 1;
            faults.new_version = Some(field);
        })
    };
    let plan = Plan::pays([next(1, NewField::Null), next(2, NewField::Skipped)]);
    let answers = ground.run(plan).await?;
    assert!(
        answers[0].starts_with("refused mismatch 409"),
        "{answers:?}"
    );
    let paid = ground.database.payments(Recipe::Ours)?;
    assert_eq!(answers[1], format!("paid {}", paid[1].0));
    let cents: Vec<_> = paid.iter().map(|(_, cents)| *cents).collect();
    assert_eq!(cents, [1, 2]);
    Ok(())
}

/// And so is a panic; a refusal through the context is not.
async fn a_plain_question_mark_is_retried_for_ever(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let bounded = |pay: Pay| pay.call(|call| call.attempts = 5);
    let rejects = |cents| {
        Pay::ours()
            .cents(cents)
            .faults(|faults| faults.rejects = true)
    };
    let plan = Plan::pays([
        bounded(rejects(1)).faults(|faults| faults.question_mark = true),
        bounded(Pay::ours().cents(2)).faults(|faults| faults.panics = 9),
        bounded(rejects(3)),
    ]);
    let answers = ground.run(plan).await?;
    assert!(answers[0].starts_with("failed []"), "{answers:?}");
    assert!(answers[1].starts_with("failed []"), "{answers:?}");
    assert_eq!(answers[2], "refused rejected 402: card declined");
    let seen = ground.database.seen(Recipe::Ours)?;
    let calls = [1, 2, 3].map(|cents| seen.iter().filter(|call| call.cents == cents).count());
    assert_eq!(calls, [5, 5, 1]);
    assert_eq!(ground.rows(Recipe::Ours)?, 0);
    Ok(())
}

/// The workflow sees a timeout, and the payment is made. Under the same key it can ask again.
async fn a_bounded_policy_hides_a_payment(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let hangs = Pay::by(Recipe::Business)
        .faults(|faults| faults.hang_after_commit = 1)
        .call(|call| (call.attempts, call.timeout) = (1, Some(Duration::from_secs(2))));
    let answers = ground.run(Plan::pays([hangs.clone(), hangs])).await?;
    assert_eq!(answers[0], "timeout StartToClose");
    let paid = ground.database.payments(Recipe::Business)?;
    assert_eq!(paid.len(), 1);
    assert_eq!(answers[1], format!("paid {}", paid[0].0));
    Ok(())
}

/// `WaitCancellationCompleted` makes it wait for the receipt.
async fn cancelled_says_nothing_unless_the_workflow_waits(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    for waits in [false, true] {
        let pay = Pay::ours()
            .cents(i64::from(waits))
            .faults(|faults| faults.asleep_inside = (1, Duration::from_secs(3)))
            .call(|call| call.waits_for_cancellation = waits);
        let workflow = ground.start(Plan::pays([pay])).await?;
        ground.begun(Recipe::Ours, 1 + usize::from(waits)).await?;
        let before = ground.rows(Recipe::Ours)?;
        ground.cancel(&workflow).await?;
        let answers = ground.answers(&workflow).await?;
        if waits {
            let paid = ground.database.payments(Recipe::Ours)?;
            assert_eq!(answers, [format!("paid {}", paid[before].0)]);
        } else {
            assert_eq!(answers, ["cancelled"]);
            assert_eq!(ground.rows(Recipe::Ours)?, before);
            ground.paid(Recipe::Ours, before + 1).await?;
        }
    }
    assert_eq!(ground.rows(Recipe::Ours)?, 2);
    Ok(())
}

/// Attempts that were taken for dead: each gets the one receipt. Heartbeats keep the first one alive.
async fn zombies_pile_up(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let heartbeat = Some(Duration::from_secs(1));
    let waits = |pay: Pay| {
        pay.faults(|faults| faults.asleep_inside = (1, Duration::from_secs(4)))
            .call(|call| call.heartbeat = heartbeat)
    };
    let answers = ground.run(Plan::pays([waits(Pay::ours())])).await?;
    let attempts = ground.database.seen(Recipe::Ours)?.len();
    assert!(attempts >= 2, "{attempts}");
    ground.one_receipt(Recipe::Ours, attempts).await?;
    assert_eq!(answers.len(), 1);

    let beats = waits(Pay::by(Recipe::Keys));
    let beats = beats.faults(|faults| faults.heartbeats = Some("half way".to_owned()));
    ground.run(Plan::pays([beats])).await?;
    assert_eq!(ground.database.seen(Recipe::Keys)?.len(), 1);
    ground.one_receipt(Recipe::Keys, 1).await?;

    // Asleep before the effect, two attempts do it at once.
    let late = |recipe| {
        Pay::by(recipe)
            .faults(|faults| faults.asleep_before = (1, Duration::from_secs(3)))
            .call(|call| call.heartbeat = heartbeat)
    };
    ground
        .run(Plan::pays([late(Recipe::Bare), late(Recipe::Business)]))
        .await?;
    ground.paid(Recipe::Bare, 2).await?;
    ground.one_receipt(Recipe::Business, 2).await
}

/// "The first attempt needs no look-up" pays twice; this library never looks at the attempt.
async fn the_attempt_begins_at_one_again(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let mut ground = Ground::with_process(&server, queue).await?;
    let recipes = [Recipe::FirstAttempt, Recipe::Ours];
    let pays = recipes.map(|recipe| {
        Pay::by(recipe)
            .local()
            .activity_id(format!("pay-{recipe:?}"))
            .faults(|faults| faults.kill_after_commit = 1)
    });
    let answers = ground.run(Plan::pays(pays)).await?;
    ground.deaths();
    assert!(ground.rows(Recipe::FirstAttempt)? >= 2);
    let paid = ground.database.payments(Recipe::Ours)?;
    assert_eq!(paid.len(), 1);
    assert_eq!(answers[1], format!("paid {}", paid[0].0));
    Ok(())
}

/// A call more before it, and the payment has another number: reset, it is made again. Keys count by
/// name.
async fn changed_workflow_code_shifts_the_numbers(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let plan = Plan::pays([
        Pay::ours(),
        Pay::by(Recipe::Keys),
        Pay::ours().activity_id("pay"),
    ]);
    let workflow = ground.start(plan).await?;
    let first = ground.answers(&workflow).await?;
    assert_eq!(ground.rows(Recipe::Ours)?, 2);
    deploy_next(queue);
    ground.reset_to_first(&workflow).await?;
    let answers = ground.answers(&workflow).await?;
    assert_ne!(answers[0], first[0]);
    assert_eq!(answers[1..], first[1..]);
    assert_eq!(ground.rows(Recipe::Ours)?, 3);
    assert_eq!(ground.rows(Recipe::Keys)?, 1);
    Ok(())
}

/// A workflow can be reset until its namespace forgets it; the key has to live as long.
async fn a_key_that_is_forgotten_pays_again(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let short = Pay::ours()
        .cents(1)
        .faults(|faults| faults.retention = Some(Duration::from_secs(1)));
    let workflow = ground
        .start(Plan::pays([short, Pay::ours().cents(2)]))
        .await?;
    let first = ground.answers(&workflow).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.post.store().await?.expire(100).await?;
    ground.reset_to_first(&workflow).await?;
    let answers = ground.answers(&workflow).await?;
    assert_ne!(answers[0], first[0]);
    assert_eq!(answers[1], first[1]);
    let cents: Vec<_> = ground
        .database
        .payments(Recipe::Ours)?
        .into_iter()
        .map(|(_, cents)| cents)
        .collect();
    assert_eq!(cents, [1, 2, 1]);
    Ok(())
}

/// The second one is refused: it would get the first one's receipt.
async fn two_steps_of_one_name_share_a_key(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground
        .run(Plan::pays([
            Pay::ours().faults(|faults| faults.twice = true)
        ]))
        .await?;
    assert!(answers[0].starts_with("refused invalid 400"), "{answers:?}");
    assert!(
        answers[0].contains("two steps named \"charge\""),
        "{answers:?}"
    );
    assert_eq!(ground.rows(Recipe::Ours)?, 1);
    assert_eq!(ground.database.seen(Recipe::Ours)?.len(), 1);
    Ok(())
}
