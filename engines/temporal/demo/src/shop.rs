//! The workflow: what a user of this library writes in workflow code.

use std::time::Duration;

use exactly_once::Retention;
use exactly_once_temporal::{EffectKeys, Refusal, Temporal};
use temporalio_client::RetryPolicy;
use temporalio_sdk::{ActivityCancellationType, ActivityOptions, WorkflowContext, WorkflowResult};
use temporalio_workflow::{workflow, workflow_methods};

use crate::{
    model::{Answer, Order, Recipe, Shipment},
    naive::Naive,
    till::Till,
};

/// How long a two-phase commit may take to prepare and decide, all of its attempts together.
const DEADLINE: Duration = Duration::from_secs(600);

/// Takes an order to its end.
#[workflow]
#[derive(Default)]
pub struct Shop;

#[workflow_methods]
impl Shop {
    /// Charges the customer, credits the merchant, ships.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, order: Order) -> WorkflowResult<Answer> {
        if order.recipe == Recipe::Naive {
            let charged = ctx.execute_activity(Naive::charge, order.clone(), options());
            let answer = charged.await?;
            if order.ships && matches!(answer, Answer::Done(_)) {
                ctx.execute_activity(Naive::ship, order, options()).await?;
            }
            return Ok(answer);
        }
        let mut keys = EffectKeys::of(ctx);
        let charged = ctx.execute_activity(Till::charge, order.clone(), options());
        let receipt = match charged.await {
            Ok(receipt) => receipt,
            Err(error) => match Refusal::of::<Temporal>(&error) {
                Some(refusal) => {
                    return Ok(Answer::Refused {
                        kind: refusal.kind().as_str().to_owned(),
                        status: refusal.http_status(),
                    });
                }
                None => return Err(error.into()),
            },
        };
        ctx.execute_activity(Till::credit, order.clone(), options())
            .await?;
        if order.ships {
            let identity = keys.transaction(ctx, "ship", DEADLINE, Retention::default())?;
            let shipment = Shipment { order, identity };
            ctx.execute_activity(Till::ship, shipment, options())
                .await?;
        }
        Ok(Answer::Done(receipt))
    }
}

/// No bound on attempts: one that gives up would report a payment as failed that may be committed.
fn options() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(Duration::from_millis(100))
                .maximum_interval(Duration::from_secs(1))
                .build(),
        )
        .build()
}
