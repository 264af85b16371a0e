//! Each form of effect, in an activity that fails after it and is called once more.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use exactly_once::{
    AccountId, BalanceStore, Claim, Fingerprint, IdempotencyKey, LeaseStore, Leased,
};
use exactly_once_servers::Temporal;
use serde_json::Value;

use crate::{
    cases,
    forms::{Form, Job, Shared},
    ground::Ground,
};

cases![
    balances,
    one_shot,
    a_lease_that_is_held_is_waited_for,
    reads,
    failed_work_is_retried_and_keeps_its_type,
    outcomes,
    a_two_phase_commit_with_the_workflows_identity,
    a_two_phase_commit_with_a_recorded_identity,
    a_two_phase_commit_without_an_identity,
    a_cancelled_activity_begins_no_step,
    an_attempt_that_an_operator_resets_begins_no_step,
    an_attempt_that_an_operator_pauses_begins_no_step,
    two_steps_that_would_share_a_key_are_refused,
    steps_that_share_no_key_may_have_one_name,
    without_a_heartbeat_timeout_there_are_no_heartbeats,
    heartbeats_keep_the_details,
];

async fn balances(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let (alice, bob) = (AccountId::new("alice")?, AccountId::new("bob")?);
    let jobs = [
        Form::Open(alice.clone(), 100),
        Form::Open(bob.clone(), 0),
        Form::Adjust(alice.clone(), -30),
        Form::Transfer(alice.clone(), bob.clone(), 20),
        Form::CompareAndSet(bob.clone(), 2, 0),
        Form::CompareAndSet(bob.clone(), 2, 5),
        Form::Adjust(alice.clone(), -51),
        Form::Close(bob.clone()),
    ];
    let jobs = jobs.into_iter().enumerate();
    let jobs = jobs.map(|(number, form)| Job::new(&number.to_string(), form).failing(1));
    let answers = ground.fill_in(jobs).await?;
    assert_eq!(
        answers[..5],
        [
            "version 1",
            "version 1",
            "version 2",
            "2 changes",
            "version 3"
        ]
        .map(paid)
    );
    assert!(
        answers[5].starts_with("refused conflict 409"),
        "{answers:?}"
    );
    assert!(answers[5].contains("[current 3]"), "{answers:?}");
    assert!(
        answers[6].starts_with("refused insufficient_funds 402"),
        "{answers:?}"
    );
    assert_eq!(answers[7], paid("version 4"));
    let store = ground.post.store().await?;
    let left = store
        .balance(&alice)
        .await?
        .context("alice has an account")?;
    assert_eq!((left.amount.get(), left.version.get()), (50, 3));
    Ok(())
}

fn paid(text: &str) -> String {
    format!("paid {text:?}")
}

async fn one_shot(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground
        .fill_in([Job::new("pay", Form::OneShot).failing(2)])
        .await?;
    assert_eq!(answers, [paid("7")]);
    assert_eq!(ground.database.rows_of("OneShot")?, 1);
    assert_eq!(ground.database.calls("pay")?, 3);
    Ok(())
}

/// *In progress* says when to come back: few attempts, though the policy's interval is short.
async fn a_lease_that_is_held_is_waited_for(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let key = IdempotencyKey::new("mail-17")?;
    // An attempt that has died with the lease.
    let claim = Claim::new(key.clone(), Fingerprint::of("mail", &1)?);
    let store = ground.post.store().await?;
    let leased = store.lease(&claim, Duration::from_secs(6)).await?;
    ensure!(matches!(leased, Leased::Granted(_)), "{leased:?}");
    let answers = ground
        .fill_in([Job::new("mail", Form::Lease(key)).failing(2)])
        .await?;
    assert_eq!(answers, [paid("sent")]);
    let calls = ground.database.calls("mail")?;
    assert!((3..8).contains(&calls), "{calls}");
    let outbox = std::fs::read_to_string(ground.database.folder().join("outbox"))?;
    assert_eq!(outbox, "mail\n");
    Ok(())
}

async fn reads(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let jobs = [
        Job::new("read", Form::Read),
        Job::new("rejects", Form::ReadRejects),
    ];
    let answers = ground.fill_in(jobs).await?;
    assert_eq!(answers[0], paid("read"));
    assert_eq!(answers[1], "refused rejected 404: no such order");
    assert_eq!(ground.database.calls("rejects")?, 1);
    Ok(())
}

/// A bounded policy makes it final, and the workflow still learns what it was.
async fn failed_work_is_retried_and_keeps_its_type(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let mut job = Job::new("print", Form::WorkFails);
    job.attempts = 3;
    let answers = ground.fill_in([job]).await?;
    assert!(
        answers[0].starts_with("failed [exactly-once/work_failed]"),
        "{answers:?}"
    );
    assert_eq!(ground.database.calls("print")?, 3);
    Ok(())
}

async fn outcomes(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground.fill_in([Job::new("ask", Form::Ask)]).await?;
    assert_eq!(answers, [paid("None Some(Ok(7))")]);
    let answers = ground
        .fill_in([Job::new("again", Form::Ask).failing(1)])
        .await?;
    assert_eq!(answers, [paid("Some(Ok(7)) Some(Ok(7))")]);
    Ok(())
}

/// After a reset to before it was made the deadlines are others: refused, and nothing is done twice.
async fn a_two_phase_commit_with_the_workflows_identity(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground
        .begin([Job::new("order", Form::Order(None)).failing(2)])
        .await?;
    assert_eq!(ground.filled_in(&workflow).await?, [paid("ordered")]);
    assert_eq!(ground.database.calls("order")?, 3);
    ground.reset_to_first(&workflow).await?;
    let answers = ground.filled_in(&workflow).await?;
    assert!(
        answers[0].starts_with("refused mismatch 409"),
        "{answers:?}"
    );
    ordered_once(&ground).await
}

async fn a_two_phase_commit_with_a_recorded_identity(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground
        .begin([Job::new("order", Form::RecordedOrder).failing(2)])
        .await?;
    assert_eq!(ground.filled_in(&workflow).await?, [paid("ordered")]);
    assert_eq!(ground.database.calls("order")?, 3);
    ground.reset_to_first(&workflow).await?;
    assert_eq!(ground.filled_in(&workflow).await?, [paid("ordered")]);
    ordered_once(&ground).await
}

/// In both databases, and nothing is in doubt.
async fn ordered_once(ground: &Ground) -> Result<()> {
    assert_eq!(ground.database.rows_of("Order")?, 1);
    assert_eq!(ground.database.stock()?, 9);
    Ok(())
}

async fn a_two_phase_commit_without_an_identity(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground.fill_in([Job::new("order", Form::BareOrder)]).await?;
    assert!(
        answers[0].starts_with("refused unsupported 501"),
        "{answers:?}"
    );
    assert!(answers[0].contains("two_phase_as"), "{answers:?}");
    Ok(())
}

async fn a_cancelled_activity_begins_no_step(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let mut job = Job::new("wait", Form::AfterCancellation);
    job.heartbeat = Some(Duration::from_secs(2));
    let workflow = ground.begin([job]).await?;
    ground.called("wait", 1).await?;
    ground.cancel(&workflow).await?;
    assert_eq!(ground.filled_in(&workflow).await?, ["cancelled"]);
    assert_eq!(ground.database.rows_of("OneShot")?, 0);
    Ok(())
}

/// The attempt ends by a failure, and the next one pays. Answered as *cancelled*, the server refuses the
/// answer, and waits for the attempt until its timeout.
async fn an_attempt_that_an_operator_resets_begins_no_step(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground.begin([waits_for_its_end()]).await?;
    ground.called("wait", 1).await?;
    let words = ["activity", "reset", "--activity-id", "1"];
    ground.operate(&words, &workflow).await?;
    made_way_and_paid(&ground, &workflow).await
}

async fn an_attempt_that_an_operator_pauses_begins_no_step(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground.begin([waits_for_its_end()]).await?;
    ground.called("wait", 1).await?;
    let words = ["activity", "pause", "--activity-id", "1"];
    ground.operate(&words, &workflow).await?;
    let paused = |activity: &Value| activity["state"] == "PENDING_ACTIVITY_STATE_PAUSED";
    let activity = ground.pending(&workflow, "paused", paused).await?;
    assert!(ended_by_us(&activity["lastFailure"]), "{activity}");
    assert_eq!(ground.database.calls("wait")?, 1);
    let words = ["activity", "unpause", "--activity-id", "1"];
    ground.operate(&words, &workflow).await?;
    made_way_and_paid(&ground, &workflow).await
}

/// Its heartbeats are what the server answers with an end.
fn waits_for_its_end() -> Job {
    let mut job = Job::new("wait", Form::AfterCancellation);
    job.heartbeat = Some(Duration::from_secs(2));
    job
}

/// The second attempt pays, and no timeout ended the first one.
async fn made_way_and_paid(ground: &Ground, workflow: &str) -> Result<()> {
    assert_eq!(ground.filled_in(workflow).await?, [paid("7")]);
    assert_eq!(ground.database.calls("wait")?, 2);
    assert_eq!(ground.database.rows_of("OneShot")?, 1);
    let history = ground.history(workflow).await?;
    let failures: Vec<_> = history
        .iter()
        .map(|event| &event["activityTaskStartedEventAttributes"]["lastFailure"])
        .filter(|failure| !failure.is_null())
        .collect();
    assert!(
        failures.iter().all(|failure| ended_by_us(failure)),
        "{failures:?}"
    );
    Ok(())
}

fn ended_by_us(failure: &Value) -> bool {
    failure["applicationFailureInfo"]["type"] == "exactly-once/unavailable"
}

/// The server's word for *no timeout* is zero seconds.
async fn without_a_heartbeat_timeout_there_are_no_heartbeats(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground.begin([Job::new("read", Form::NoBeats)]).await?;
    ground.called("read", 1).await?;
    // A first heartbeat is sent at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let activity = ground.pending(&workflow, "pending", |_| true).await?;
    std::fs::write(ground.database.folder().join("go"), "")?;
    assert!(activity["lastHeartbeatTime"].is_null(), "{activity}");
    assert_eq!(ground.filled_in(&workflow).await?, [paid("read")]);
    Ok(())
}

/// A key that was handed out is used, as one of an effect is.
async fn two_steps_that_would_share_a_key_are_refused(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let shared = [
        Shared::FixedKeys,
        Shared::FixedKeyAndEffect,
        Shared::Identities,
        Shared::IdentityAndEffect,
        Shared::EffectAndIdentity,
    ];
    let jobs = shared.map(|shared| Job::new(&format!("{shared:?}"), Form::Shared(shared)));
    let answers = ground.fill_in(jobs).await?;
    for (shared, answer) in shared.iter().zip(answers) {
        assert!(
            answer.starts_with("refused invalid 400"),
            "{shared:?}: {answer}"
        );
        assert!(answer.contains("two steps named"), "{shared:?}: {answer}");
    }
    Ok(())
}

async fn steps_that_share_no_key_may_have_one_name(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let answers = ground.fill_in([Job::new("side", Form::SideBySide)]).await?;
    assert_eq!(answers, [paid("side by side")]);
    Ok(())
}

/// Steps that wait for longer than the timeout keep the attempt alive, and pass on what was recorded:
/// in this attempt or, until it records any, in the one before.
async fn heartbeats_keep_the_details(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let mut job = Job::new("beats", Form::Beats).failing(2);
    job.heartbeat = Some(Duration::from_secs(1));
    let answers = ground.fill_in([job]).await?;
    assert_eq!(answers, [paid("Some(\"half way\")")]);
    assert_eq!(ground.database.calls("beats")?, 3);
    Ok(())
}
