//! The original execution run id of a run: asked once, then remembered.

use std::sync::{LazyLock, Mutex, PoisonError};

use exactly_once_core::{Error, ErrorKind};
use temporalio_client::{
    NamespacedClient,
    grpc::WorkflowService,
    tonic::{Code, IntoRequest, Status},
};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    history::v1::{WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    workflowservice::v1::GetWorkflowExecutionHistoryRequest,
};
use temporalio_sdk::activities::ActivityContext;

use crate::{ENGINE, bounded::Bounded};

const OPERATION: &str = "original_run";

/// How many runs are remembered, those that were used last; a run that is forgotten costs another call.
const MAX_RUNS: usize = 4_096;

/// By run id, which is a UUID and never has another original run.
static RUNS: LazyLock<Mutex<Bounded<String, String>>> =
    LazyLock::new(|| Mutex::new(Bounded::new(MAX_RUNS)));

/// The original execution run id of the run that this activity belongs to.
///
/// The SDK does not hand it to activities: it is in the first event of its run's history, whatever language the
/// workflow is written in.
pub(crate) async fn original_run(
    ctx: &ActivityContext,
    workflow: &str,
    run: &str,
) -> Result<String, Error> {
    if let Some(original) = remembered(run) {
        return Ok(original);
    }
    let original = first_event(ctx, workflow, run).await?;
    RUNS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(run.to_owned(), original.clone());
    Ok(original)
}

fn remembered(run: &str) -> Option<String> {
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    runs.get(&run.to_owned()).cloned()
}

async fn first_event(ctx: &ActivityContext, workflow: &str, run: &str) -> Result<String, Error> {
    let mut client = ctx.client();
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: client.namespace(),
        execution: Some(WorkflowExecution {
            workflow_id: workflow.to_owned(),
            run_id: run.to_owned(),
        }),
        maximum_page_size: 1,
        ..Default::default()
    };
    let answer =
        WorkflowService::get_workflow_execution_history(&mut client, request.into_request()).await;
    let history = answer.map_err(failed)?.into_inner().history;
    let first = history.and_then(|history| history.events.into_iter().next());
    match first.and_then(|event| event.attributes) {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(
            WorkflowExecutionStartedEventAttributes {
                original_execution_run_id,
                ..
            },
        )) if !original_execution_run_id.is_empty() => Ok(original_execution_run_id),
        _ => Err(Error::new(ErrorKind::Configuration, OPERATION, ENGINE).with_message(
            "the first event of the run names no original execution run: update the Temporal server, \
             or give the step a key that the workflow makes (EffectKeys)",
        )),
    }
}

/// Nothing was executed: another attempt asks again.
fn failed(status: Status) -> Error {
    let (kind, text) = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => (
            ErrorKind::Configuration,
            "the worker may not read the history of its workflow: allow it, or give the step a key that \
             the workflow makes (EffectKeys)",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the history of the workflow can't be read",
        ),
    };
    Error::new(kind, OPERATION, ENGINE)
        .with_message(text)
        .with_source(status)
}
