//! What a refusal and a retry are to Temporal, and how a workflow reads them back.

use exactly_once_core::{
    Error,
    engine::{Carries, Details, Refusal, Verdict},
};
use temporalio_common::{
    error::{
        ActivityExecutionError, ApplicationFailure, ChildWorkflowExecutionError, IncomingError,
    },
    protos::temporal::api::failure::v1::Failure,
};
use temporalio_sdk::activities::ActivityError;

use crate::Temporal;

/// A failure that ends the activity: each attempt would get the same answer.
pub(crate) fn refused(refusal: &Refusal) -> ActivityError {
    let details = refusal.details();
    let failure = ApplicationFailure::builder(refusal.message().to_owned())
        .type_name(details.failure_type())
        .non_retryable(true)
        .details(details)
        .build();
    ActivityError::application(failure)
}

/// A failure that leads to another attempt with the same key. Its text is the error's own, which shows
/// no value of a row; what is behind it stays here, since failures are plain text in the history.
pub(crate) fn retried(error: &Error) -> ActivityError {
    let details = Details::of(error.kind());
    let after = match Verdict::of(error.kind()) {
        Verdict::RetryAfter(after) => Some(after),
        Verdict::Retry | Verdict::Never => None,
    };
    tracing::debug!(%error, "the activity fails; Temporal retries it");
    let failure = ApplicationFailure::builder(error.to_string())
        .type_name(details.failure_type())
        .maybe_next_retry_delay(after)
        .details(details)
        .build();
    ActivityError::application(failure)
}

/// By the verdict on its kind, as everything that a store says.
pub(crate) fn failed(error: &Error) -> ActivityError {
    match Verdict::of(error.kind()) {
        Verdict::Never => refused(&Refusal::from_error(error)),
        Verdict::Retry | Verdict::RetryAfter(_) => retried(error),
    }
}

/// In workflow code: `Refusal::of(&error)` of what `execute_activity` returned.
impl Carries<Temporal> for ActivityExecutionError {
    fn refusal(&self) -> Option<Refusal> {
        first(self.failure())
    }
}

/// In the workflow of a parent, where the child ended with the activity's failure.
impl Carries<Temporal> for ChildWorkflowExecutionError {
    fn refusal(&self) -> Option<Refusal> {
        first(self.failure())
    }
}

/// Outside of workflows, where a workflow ended with the activity's failure.
impl Carries<Temporal> for IncomingError {
    fn refusal(&self) -> Option<Refusal> {
        first(Some(self.failure()))
    }
}

/// The first application failure along the causes that is one of ours.
///
/// In the failures as the server has them: of a local activity, the SDK's error has no cause.
fn first(mut failure: Option<&Failure>) -> Option<Refusal> {
    while let Some(current) = failure {
        if let Some(refusal) = read(current) {
            return Some(refusal);
        }
        failure = current.cause.as_deref();
    }
    None
}

fn read(failure: &Failure) -> Option<Refusal> {
    let application = failure.maybe_application_failure()?;
    let details = &application.details.as_ref()?.payloads.first()?.data;
    let details: Details = serde_json::from_slice(details).ok()?;
    // Another failure may have details of the same form.
    if application.r#type != details.failure_type() {
        return None;
    }
    Refusal::from_details(&details, &failure.message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exactly_once_core::{ErrorKind, Rejection, Version};
    use temporalio_common::{
        data_converters::{ActivitySerializationContext, DataConverter, SerializationContextData},
        error::{OutgoingActivityError, OutgoingError},
        protos::temporal::api::failure::v1::failure::FailureInfo,
    };

    use super::*;

    /// What the history has of it.
    fn failure(error: ActivityError) -> Failure {
        let ActivityError::Application(failure) = error else {
            panic!("{error:?}");
        };
        let outgoing = OutgoingError::Activity(OutgoingActivityError::Application(failure));
        let activity = SerializationContextData::Activity(ActivitySerializationContext::new());
        DataConverter::default().to_failure(&activity, outgoing)
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "adjust", "memory").with_message("a: b")
    }

    #[test]
    fn a_final_kind_is_not_retried_and_reads_back() {
        let current = Some(Version::new(7).unwrap());
        for kind in [
            ErrorKind::Mismatch,
            ErrorKind::Conflict { current },
            ErrorKind::Conflict { current: None },
            ErrorKind::InsufficientFunds,
            ErrorKind::Overflow,
            ErrorKind::UnknownAccount,
            ErrorKind::Invalid,
            ErrorKind::TooLarge,
            ErrorKind::Refused,
            ErrorKind::Fenced,
            ErrorKind::NotPrepared,
            ErrorKind::RolledBack,
            ErrorKind::Committed,
            ErrorKind::Forgotten,
            ErrorKind::Unsupported,
            ErrorKind::Heuristic,
            ErrorKind::Lost,
        ] {
            let failure = failure(failed(&error(kind)));
            let application = failure.maybe_application_failure().unwrap();
            assert!(application.non_retryable, "{kind:?}");
            assert_eq!(
                application.r#type,
                format!("exactly-once/{}", kind.as_str())
            );
            let refusal = first(Some(&failure)).unwrap();
            assert_eq!(refusal.kind(), kind);
            assert!(refusal.message().ends_with("a: b"), "{refusal}");
        }
    }

    #[test]
    fn a_rejection_keeps_the_works_own_words_and_status() {
        let rejection = Rejection::new(451, "exactly-once/lost: not for sale");
        let failure = failure(failed(&Error::rejected(
            rejection,
            "execute_once",
            "memory",
        )));
        assert_eq!(failure.message, "exactly-once/lost: not for sale");
        let outer = Failure {
            message: "Activity task failed".to_owned(),
            cause: Some(Box::new(failure)),
            ..Default::default()
        };
        let refusal = first(Some(&outer)).unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Rejected { status: 451 });
    }

    #[test]
    fn what_may_succeed_is_retried_with_its_type_and_is_no_refusal() {
        let retry_after = Duration::from_millis(1_500);
        for kind in [
            ErrorKind::Ambiguous,
            ErrorKind::Unavailable,
            ErrorKind::Busy,
            ErrorKind::Reserved,
            ErrorKind::InProgress { retry_after },
            ErrorKind::WorkFailed,
            ErrorKind::Unreadable,
            ErrorKind::Configuration,
        ] {
            let failure = failure(failed(&error(kind)));
            let application = failure.maybe_application_failure().unwrap();
            assert!(!application.non_retryable, "{kind:?}");
            assert_eq!(
                application.r#type,
                format!("exactly-once/{}", kind.as_str())
            );
            let delay = application
                .next_retry_delay
                .map(|delay| delay.try_into().unwrap());
            let after = matches!(kind, ErrorKind::InProgress { .. }).then_some(retry_after);
            assert_eq!(delay, after, "{kind:?}");
            let details = &application.details.as_ref().unwrap().payloads[0].data;
            let details: Details = serde_json::from_slice(details).unwrap();
            assert_eq!(
                (details.kind.as_str(), details.http_status),
                (kind.as_str(), kind.http_status())
            );
            assert_eq!(first(Some(&failure)), None);
        }
    }

    #[test]
    fn another_failure_of_the_same_form_is_none() {
        let mut failure = failure(failed(&error(ErrorKind::Mismatch)));
        assert!(first(Some(&failure)).is_some());
        if let Some(FailureInfo::ApplicationFailureInfo(info)) = &mut failure.failure_info {
            info.r#type = "mine".to_owned();
        }
        assert_eq!(first(Some(&failure)), None);
    }
}
