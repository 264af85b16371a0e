//! The key of a step: which parts are the same on every attempt, and where there are none.

use exactly_once_core::{Error, ErrorKind, IdempotencyKey, engine::key_of};
use temporalio_sdk::activities::{ActivityContext, ActivityInfo};

use crate::{ENGINE, run::original_run};

const OPERATION: &str = "identity";

/// The original execution run, the activity and the step.
///
/// Neither `attempt`, which an operator's reset takes back to one, nor the run id, which a reset of
/// the workflow replaces, nor the first run id, which all runs of a chain share.
pub(crate) async fn identity(ctx: &ActivityContext, step: &str) -> Result<IdempotencyKey, Error> {
    let info = ctx.info();
    let (workflow, run) = stable(info)?;
    let original = original_run(ctx, workflow, run).await?;
    // The workflow's own id is not needed: the run's is a UUID. An activity id has up to 1,000 bytes,
    // and becomes a digest where it does not fit.
    Ok(key_of(&[&original, &info.activity_id, step])?)
}

/// Workflow and run of an activity whose id stays the same on every attempt.
fn stable(info: &ActivityInfo) -> Result<(&str, &str), Error> {
    let refused = |text| Err(Error::new(ErrorKind::Invalid, OPERATION, ENGINE).with_message(text));
    // The SDK documents `None` for a standalone activity, and gives an empty text.
    let (Some(workflow), Some(run)) = (named(&info.workflow_id), named(&info.workflow_run_id))
    else {
        return refused(
            "a standalone activity has no workflow to make a key from: pass a key as input, the order's \
             number say, and give it to the step by Step::with_key",
        );
    };
    if info.is_local && is_numbered(&info.activity_id) {
        return refused(
            "a local activity that is retried by a timer gets another number, so its number makes no \
             key: set activity_id in LocalActivityOptions, unique in the run, or give the step a key \
             that the workflow makes (EffectKeys)",
        );
    }
    Ok((workflow, run))
}

/// An id that is one.
pub(crate) fn named(id: &Option<String>) -> Option<&str> {
    id.as_deref().filter(|id| !id.is_empty())
}

/// Whether the SDK has made this id from its counter.
fn is_numbered(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}
