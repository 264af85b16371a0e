//! Why an attempt is to end: the SDK has one signal for a cancellation, an operator's pause or reset, the
//! end of the workflow and the worker's shutdown.

use exactly_once_core::{Error, ErrorKind};
use temporalio_client::{
    NamespacedClient,
    grpc::WorkflowService,
    tonic::{Code, IntoRequest, Status},
};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::PendingActivityState,
    workflowservice::v1::{DescribeActivityExecutionRequest, DescribeWorkflowExecutionRequest},
};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{ENGINE, failure, identity::named};

const OPERATION: &str = "step";

/// *Cancelled* where the server knows of a request to cancel; otherwise a failure that is retried. The
/// server refuses *cancelled* from an activity whose cancellation was not requested, and then waits for its timeout.
pub(crate) async fn failure(ctx: &ActivityContext) -> ActivityError {
    // Of a local activity the server knows nothing, and only its workflow cancels it.
    if ctx.info().is_local {
        return ActivityError::cancelled();
    }
    match is_cancelled(ctx).await {
        Ok(true) => ActivityError::cancelled(),
        Ok(false) => failure::retried(&made_way(None)),
        Err(status) => failure::retried(&made_way(Some(status))),
    }
}

async fn is_cancelled(ctx: &ActivityContext) -> Result<bool, Status> {
    let info = ctx.info();
    let mut client = ctx.client();
    let requested = PendingActivityState::CancelRequested as i32;
    let described = match named(&info.workflow_id) {
        Some(workflow) => {
            let request = DescribeWorkflowExecutionRequest {
                namespace: client.namespace(),
                execution: Some(WorkflowExecution {
                    workflow_id: workflow.to_owned(),
                    run_id: info.workflow_run_id.clone().unwrap_or_default(),
                }),
            };
            let described = client
                .describe_workflow_execution(request.into_request())
                .await;
            described.map(|described| {
                let pending = described.into_inner().pending_activities;
                let own = pending
                    .iter()
                    .find(|one| one.activity_id == info.activity_id);
                own.is_some_and(|own| own.state == requested)
            })
        }
        None => {
            let request = DescribeActivityExecutionRequest {
                namespace: client.namespace(),
                activity_id: info.activity_id.clone(),
                run_id: info.activity_run_id.clone().unwrap_or_default(),
                ..Default::default()
            };
            let described = client
                .describe_activity_execution(request.into_request())
                .await;
            described.map(|described| {
                let activity = described.into_inner().info;
                activity.is_some_and(|activity| activity.run_state == requested)
            })
        }
    };
    match described {
        // It has ended, and takes no answer any more.
        Err(status) if status.code() == Code::NotFound => Ok(false),
        described => described,
    }
}

fn made_way(status: Option<Status>) -> Error {
    let error = Error::new(ErrorKind::Unavailable, OPERATION, ENGINE).with_message(
        "this attempt was to stop, and no cancellation was requested: the activity was paused, reset or timed \
         out, or its worker shuts down. The next attempt continues",
    );
    match status {
        Some(status) => error.with_source(status),
        None => error,
    }
}
