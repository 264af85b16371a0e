//! Which identity each attempt is given: a case for each thing that makes another attempt.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Result;
use exactly_once_servers::Temporal;
use temporalio_client::{ActivityStartOptions, RetryPolicy};

use crate::{
    cases,
    ground::Ground,
    scenario::{Do, Pay, Plan, Recipe, Seen},
    worker::{Till, business_key},
};

cases![
    retry_of_a_remote_activity,
    retry_after_a_kill,
    retry_after_a_heartbeat_timeout,
    reset_of_an_activity_by_an_operator,
    next_activity_of_the_run,
    reset_of_a_workflow_to_its_first_task_and_again,
    reset_of_a_workflow_to_a_later_task,
    reset_of_a_workflow_while_the_activity_is_pending,
    continue_as_new,
    retry_of_a_workflow,
    cron_tick,
    workflow_id_used_again,
    local_activity_retried_at_once,
    local_activity_retried_by_a_timer,
    local_activity_after_a_kill,
    child_of_a_parent_that_was_reset,
    standalone_activity,
];

/// What an activity is given stays the same, but for the attempt.
fn same_but_for_attempts(seen: &[Seen], attempts: &[i64]) {
    let told = |call: &Seen| {
        (
            call.workflow.clone(),
            call.run.clone(),
            call.activity.clone(),
        )
    };
    assert!(
        seen.iter().all(|call| told(call) == told(&seen[0])),
        "{seen:?}"
    );
    let counted: Vec<_> = seen.iter().map(|call| call.attempt).collect();
    assert_eq!(counted, attempts, "{seen:?}");
}

/// How many different ones there are.
fn different<T: Ord>(seen: &[Seen], of: impl Fn(&Seen) -> T) -> usize {
    seen.iter().map(of).collect::<BTreeSet<_>>().len()
}

fn activities(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|call| call.activity.as_str()).collect()
}

/// The workflow saw the payment that is in the table.
fn saw_the_payment(ground: &Ground, recipe: Recipe, answer: &str) -> Result<()> {
    let paid = ground.database.payments(recipe)?;
    assert_eq!(paid.len(), 1, "{recipe:?}: {paid:?}");
    assert_eq!(answer, format!("paid {}", paid[0].0), "{recipe:?}");
    Ok(())
}

const BOTH: [Recipe; 2] = [Recipe::Bare, Recipe::Ours];

async fn retry_of_a_remote_activity(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let fails = |recipe| Pay::by(recipe).faults(|faults| faults.fail_after_commit = 2);
    let answers = ground.run(Plan::pays(BOTH.map(fails))).await?;
    for recipe in BOTH {
        same_but_for_attempts(&ground.database.seen(recipe)?, &[1, 2, 3]);
    }
    assert_eq!(ground.rows(Recipe::Bare)?, 3);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])
}

async fn retry_after_a_kill(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let mut ground = Ground::with_process(&server, queue).await?;
    let killed = |recipe| {
        Pay::by(recipe)
            .faults(|faults| faults.kill_after_commit = 1)
            .call(|call| call.timeout = Some(Duration::from_secs(5)))
    };
    let answers = ground.run(Plan::pays(BOTH.map(killed))).await?;
    for recipe in BOTH {
        same_but_for_attempts(&ground.database.seen(recipe)?, &[1, 2]);
    }
    assert_eq!(ground.rows(Recipe::Bare)?, 2);
    assert_eq!(ground.deaths(), 2);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])
}

async fn retry_after_a_heartbeat_timeout(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let silent = |recipe| {
        Pay::by(recipe)
            .faults(|faults| faults.hang_after_commit = 1)
            .call(|call| call.heartbeat = Some(Duration::from_secs(1)))
    };
    let answers = ground.run(Plan::pays(BOTH.map(silent))).await?;
    for recipe in BOTH {
        same_but_for_attempts(&ground.database.seen(recipe)?, &[1, 2]);
    }
    assert_eq!(ground.rows(Recipe::Bare)?, 2);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])
}

/// The attempt is back at 1.
async fn reset_of_an_activity_by_an_operator(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    for recipe in BOTH {
        let pay = Pay::by(recipe)
            .faults(|faults| faults.fail_after_commit = 1)
            .call(|call| call.first_retry = Some(Duration::from_secs(600)));
        let workflow = ground.start(Plan::pays([pay])).await?;
        ground.paid(recipe, 1).await?;
        // Not before the server knows that the attempt has failed.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let words = ["activity", "reset", "--activity-id", "1"];
        ground.operate(&words, &workflow).await?;
        let answers = ground.answers(&workflow).await?;
        same_but_for_attempts(&ground.database.seen(recipe)?, &[1, 1]);
        if recipe == Recipe::Ours {
            saw_the_payment(&ground, recipe, &answers[0])?;
        }
    }
    assert_eq!(ground.rows(Recipe::Bare)?, 2);
    Ok(())
}

/// Remote and local ones share a counter.
async fn next_activity_of_the_run(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let plan = Plan::pays([Pay::ours(), Pay::by(Recipe::Bare).local(), Pay::ours()]);
    let answers = ground.run(plan).await?;
    assert_eq!(activities(&ground.database.seen(Recipe::Ours)?), ["1", "3"]);
    assert_eq!(activities(&ground.database.seen(Recipe::Bare)?), ["2"]);
    // Two equal payments are two.
    assert_eq!(ground.rows(Recipe::Ours)?, 2);
    assert_ne!(answers[0], answers[2]);
    Ok(())
}

async fn reset_of_a_workflow_to_its_first_task_and_again(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [
        Recipe::Bare,
        Recipe::RunId,
        Recipe::Uuid,
        Recipe::WorkflowId,
        Recipe::Ours,
        Recipe::Keys,
    ];
    let workflow = ground.start(Plan::pays(recipes.map(Pay::by))).await?;
    let first = ground.answers(&workflow).await?;
    for _ in 0..2 {
        ground.reset_to_first(&workflow).await?;
        let answers = ground.answers(&workflow).await?;
        assert_eq!(answers[3..], first[3..]);
        assert_ne!(answers[..3], first[..3]);
    }
    for recipe in recipes {
        let seen = ground.database.seen(recipe)?;
        assert_eq!(different(&seen, |call| call.run.clone()), 3, "{seen:?}");
        assert_eq!(
            different(&seen, |call| call.activity.clone()),
            1,
            "{seen:?}"
        );
        assert!(seen.iter().all(|call| call.attempt == 1), "{seen:?}");
    }
    let rows = recipes.map(|recipe| ground.rows(recipe).unwrap());
    assert_eq!((rows[0], rows[1]), (3, 3));
    // Drawn afresh, though not by each reset.
    assert!(rows[2] > 1, "{rows:?}");
    assert_eq!(rows[3..], [1, 1, 1]);
    Ok(())
}

async fn reset_of_a_workflow_to_a_later_task(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [Recipe::Ours, Recipe::RunId, Recipe::Keys];
    let workflow = ground.start(Plan::pays(recipes.map(Pay::by))).await?;
    let first = ground.answers(&workflow).await?;
    // The second task has called the second activity.
    let tasks = ground
        .events(&workflow, "EVENT_TYPE_WORKFLOW_TASK_COMPLETED", 4)
        .await?;
    ground.reset_to(&workflow, tasks[1]).await?;
    let answers = ground.answers(&workflow).await?;
    let calls = recipes.map(|recipe| ground.database.seen(recipe).unwrap().len());
    assert_eq!(calls, [1, 2, 2]);
    assert_eq!(
        recipes.map(|recipe| ground.rows(recipe).unwrap()),
        [1, 2, 1]
    );
    assert_eq!((&answers[0], &answers[2]), (&first[0], &first[2]));
    assert_ne!(answers[1], first[1]);
    Ok(())
}

/// The new run begins an attempt of its own, beside the old one, which runs on.
async fn reset_of_a_workflow_while_the_activity_is_pending(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    for recipe in [Recipe::RunId, Recipe::Ours] {
        let asleep = |faults: &mut crate::scenario::Faults| {
            faults.asleep_before = (1, Duration::from_secs(5));
        };
        let workflow = ground
            .start(Plan::pays([Pay::by(recipe).faults(asleep)]))
            .await?;
        ground.begun(recipe, 1).await?;
        // One more task, in whose history the activity is pending.
        ground.go(&workflow).await?;
        ground
            .events(&workflow, "EVENT_TYPE_WORKFLOW_TASK_COMPLETED", 2)
            .await?;
        ground.reset_to_last(&workflow).await?;
        let answers = ground.answers(&workflow).await?;
        let seen = ground.begun(recipe, 2).await?;
        assert_eq!(different(&seen, |call| call.run.clone()), 2, "{seen:?}");
        assert_eq!(activities(&seen), ["1", "1"]);
        assert!(seen.iter().all(|call| call.attempt == 1), "{seen:?}");
        if recipe == Recipe::Ours {
            ground.one_receipt(recipe, 2).await?;
            saw_the_payment(&ground, recipe, &answers[0])?;
        }
    }
    ground.paid(Recipe::RunId, 2).await
}

/// The payments of three runs are three; a key made of the workflow id loses two.
async fn continue_as_new(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [Recipe::WorkflowId, Recipe::Ours, Recipe::Keys];
    let plan = Plan {
        continued: 2,
        ..Plan::pays(recipes.map(Pay::by))
    };
    let workflow = ground.start(plan).await?;
    ground.begun(Recipe::Keys, 3).await?;
    ground.answers(&workflow).await?;
    for recipe in recipes {
        let seen = ground.database.seen(recipe)?;
        assert_eq!(different(&seen, |call| call.run.clone()), 3, "{seen:?}");
        assert_eq!(
            different(&seen, |call| call.activity.clone()),
            1,
            "{seen:?}"
        );
    }
    assert_eq!(
        recipes.map(|recipe| ground.rows(recipe).unwrap()),
        [1, 3, 3]
    );
    // A reset of the last run is no fourth one.
    ground.reset_to_first(&workflow).await?;
    ground.answers(&workflow).await?;
    assert_eq!(
        recipes.map(|recipe| ground.rows(recipe).unwrap()),
        [1, 3, 3]
    );
    assert_eq!(ground.database.seen(Recipe::Ours)?.len(), 4);
    Ok(())
}

/// Each attempt of a workflow is a run of its own, with payments of its own.
async fn retry_of_a_workflow(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [Recipe::Ours, Recipe::Business];
    let plan = Plan {
        fails: true,
        ..Plan::pays(recipes.map(Pay::by))
    };
    let retries = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(50))
        .maximum_attempts(3)
        .build();
    let workflow = ground
        .start_with(plan, |mut options| {
            options.retry_policy = Some(retries);
            options
        })
        .await?;
    let failed = ground.answers(&workflow).await.unwrap_err();
    let seen = ground.begun(Recipe::Business, 3).await?;
    assert_eq!(different(&seen, |call| call.run.clone()), 3, "{seen:?}");
    assert_eq!(
        different(&seen, |call| call.activity.clone()),
        1,
        "{seen:?}"
    );
    assert_eq!(
        recipes.map(|recipe| ground.rows(recipe).unwrap()),
        [3, 1],
        "{failed:#}"
    );
    Ok(())
}

async fn cron_tick(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let workflow = ground
        .start_with(Plan::pays([Pay::ours()]), |mut options| {
            options.cron_schedule = Some("@every 1s".to_owned());
            options
        })
        .await?;
    ground.paid(Recipe::Ours, 2).await?;
    ground
        .operate(&["workflow", "terminate"], &workflow)
        .await?;
    let seen = ground.database.seen(Recipe::Ours)?;
    assert_eq!(
        different(&seen, |call| call.run.clone()),
        seen.len(),
        "{seen:?}"
    );
    assert_eq!(
        different(&seen, |call| call.activity.clone()),
        1,
        "{seen:?}"
    );
    Ok(())
}

async fn workflow_id_used_again(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [Recipe::WorkflowId, Recipe::Ours, Recipe::Keys];
    for _ in 0..2 {
        ground
            .start_with(Plan::pays(recipes.map(Pay::by)), |mut options| {
                options.workflow_id = "again".to_owned();
                options
            })
            .await?;
        ground.answers("again").await?;
    }
    for recipe in recipes {
        let seen = ground.database.seen(recipe)?;
        assert_eq!(different(&seen, |call| call.run.clone()), 2, "{seen:?}");
        assert_eq!(
            different(&seen, |call| call.workflow.clone()),
            1,
            "{seen:?}"
        );
    }
    assert_eq!(
        recipes.map(|recipe| ground.rows(recipe).unwrap()),
        [1, 2, 2]
    );
    Ok(())
}

async fn local_activity_retried_at_once(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let pays = BOTH.map(|recipe| {
        Pay::by(recipe)
            .local()
            .activity_id(format!("pay-{recipe:?}"))
            .faults(|faults| faults.fail_after_commit = 2)
    });
    let answers = ground.run(Plan::pays(pays)).await?;
    for recipe in BOTH {
        same_but_for_attempts(&ground.database.seen(recipe)?, &[1, 2, 3]);
    }
    assert_eq!(ground.rows(Recipe::Bare)?, 3);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])
}

/// Each retry has another number, unless the id is given.
async fn local_activity_retried_by_a_timer(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let by_timer = |pay: Pay| {
        pay.local()
            .faults(|faults| faults.fail_after_commit = 2)
            .call(|call| call.timer_threshold = Some(Duration::from_millis(1)))
    };
    let plan = Plan::pays([
        by_timer(Pay::by(Recipe::RunId)),
        by_timer(Pay::ours()).activity_id("pay"),
        by_timer(Pay::by(Recipe::Keys)),
    ]);
    let answers = ground.run(plan).await?;
    let seen = ground.database.seen(Recipe::RunId)?;
    assert_eq!(activities(&seen), ["1", "2", "3"]);
    assert_eq!(ground.rows(Recipe::RunId)?, 3);
    same_but_for_attempts(&ground.database.seen(Recipe::Ours)?, &[1, 2, 3]);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])?;
    let seen = ground.database.seen(Recipe::Keys)?;
    assert_eq!(
        different(&seen, |call| call.activity.clone()),
        3,
        "{seen:?}"
    );
    saw_the_payment(&ground, Recipe::Keys, &answers[2])
}

/// Between its commit and its marker: the attempt is 1 each time.
async fn local_activity_after_a_kill(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let mut ground = Ground::with_process(&server, queue).await?;
    let pays = BOTH.map(|recipe| {
        Pay::by(recipe)
            .local()
            .activity_id(format!("pay-{recipe:?}"))
            .faults(|faults| faults.kill_after_commit = 2)
    });
    let answers = ground.run(Plan::pays(pays)).await?;
    for recipe in BOTH {
        let seen = ground.database.seen(recipe)?;
        same_but_for_attempts(&seen[..3], &[1, 1, 1]);
    }
    // The one that came first runs once more: its marker was lost as well.
    assert!(ground.rows(Recipe::Bare)? >= 3);
    assert_eq!(ground.deaths(), 4);
    saw_the_payment(&ground, Recipe::Ours, &answers[1])
}

/// It has another id, and another original run: only the order's own number holds.
async fn child_of_a_parent_that_was_reset(
    server: Arc<Temporal>,
    queue: &'static str,
) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let recipes = [Recipe::Ours, Recipe::Business];
    let child = Do::Child(Plan::pays(recipes.map(Pay::by)));
    let workflow = ground.start(Plan::of([child])).await?;
    let first = ground.answers(&workflow).await?;
    ground.reset_to_first(&workflow).await?;
    let answers = ground.answers(&workflow).await?;
    let seen = ground.database.seen(Recipe::Ours)?;
    assert_eq!(
        different(&seen, |call| call.workflow.clone()),
        2,
        "{seen:?}"
    );
    assert_eq!(activities(&seen), ["1", "1"]);
    assert_eq!(recipes.map(|recipe| ground.rows(recipe).unwrap()), [2, 1]);
    assert_eq!(answers[1], first[1]);
    Ok(())
}

/// No workflow, so no key: one has to be given.
async fn standalone_activity(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    let retries = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(50))
        .build();
    let start = async |pay: Pay| {
        let id = format!("{queue}-{:?}", pay.recipe);
        let options =
            ActivityStartOptions::with_start_to_close_timeout(queue, &id, Duration::from_secs(20))
                .retry_policy(retries.clone())
                .build();
        ground.client.start_activity(Till::pay, pay, options).await
    };
    let refused = start(Pay::ours()).await?.result().await.unwrap_err();
    let refused = format!("{:#}", anyhow::Error::from(refused));
    assert!(refused.contains("standalone activity"), "{refused}");
    assert_eq!(ground.rows(Recipe::Ours)?, 0);
    let seen = ground.database.seen(Recipe::Ours)?;
    assert_eq!(
        (seen.len(), seen[0].workflow.as_str(), seen[0].run.as_str()),
        (1, "", "")
    );

    let mut pay = Pay::by(Recipe::Business).faults(|faults| faults.fail_after_commit = 2);
    pay.key = business_key(&pay);
    let receipt = start(pay).await?.result().await?;
    same_but_for_attempts(&ground.database.seen(Recipe::Business)?, &[1, 2, 3]);
    saw_the_payment(&ground, Recipe::Business, &format!("paid {receipt}"))
}
