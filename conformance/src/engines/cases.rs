//! What must hold of each handler under each fault.

use std::{future::Future, sync::Arc, time::Duration};

use exactly_once_core::{
    ErrorKind,
    engine::script::{Fault, Faults},
};
use serde_json::Value;

use super::{
    Ended, EngineHarness, EngineStore, Job,
    effects::{Form, NOTHING},
    refusing::Refusing,
};
use crate::{
    CaseFailure, CaseResult, Harness, ensure, ensure_eq,
    runner::{Case, CaseInfo, Trial, Variant},
};

/// More points than any handler here has: a run that never ends must fail.
const POINTS_MAX: usize = 60;

/// A case is some hundred runs, and an engine with a server takes a tenth of a second for each.
const TIMEOUT: Duration = Duration::from_secs(900);

const CONTRACT: &str = "core/src/engine: Engine, Effects";

/// The four cases of a form, by a number of their own.
macro_rules! forms {
    ($($number:literal $name:literal $form:ident;)*) => {
        [$((Form::$form, [
            info(concat!("E", $number, "P"), concat!("engine::plain::e", $number, "p_", $name))
                .goal("the effect is there once, and the replay of the run answers the same"),
            info(concat!("E", $number, "C"), concat!("engine::crash::e", $number, "c_", $name))
                .goal("wherever the process is killed, the effect is there once")
                .mistake("the step has another identity on the next attempt"),
            info(concat!("E", $number, "L"), concat!("engine::lost_reply::e", $number, "l_", $name))
                .goal("whichever reply is lost, the effect is there once")
                .mistake("a retryable error is journaled, or ends the run"),
            info(concat!("E", $number, "X"), concat!("engine::cancel::e", $number, "x_", $name))
                .goal("a cancelled run begins no step, and a step that has begun is answered")
                .mistake("a step is dropped in the middle, or the replay forgets the cancellation"),
        ])),*]
    };
}

const fn info(id: &'static str, path: &'static str) -> CaseInfo {
    CaseInfo::new(id, path).contract(CONTRACT)
}

const FORMS: [(Form, [CaseInfo; 4]); 14] = forms! {
    "01" "execute_once" ExecuteOnce;
    "02" "one_shot" OneShot;
    "03" "open_account" Open;
    "04" "close_account" Close;
    "05" "adjust" Adjust;
    "06" "compare_and_set" CompareAndSet;
    "07" "transfer" Transfer;
    "08" "balance_operation" Operation;
    "09" "leased_effect" Leased;
    "10" "durable_read" DurableRead;
    "11" "two_phase" TwoPhase;
    "12" "fix_key_and_outcome_of" FixedKey;
    "13" "two_steps_of_one_name" TwoOfOneName;
    "14" "one_step_called_twice" SecondCall;
};

const NAMES: CaseInfo = info("E15", "engine::names::e15_two_keys_of_one_name")
    .goal("two steps of one name are two effects, or the second one is refused")
    .mistake("they share a key, and one effect is lost");
const UNREAD: CaseInfo = info(
    "E24",
    "engine::unread::e24_a_request_that_no_retry_can_read",
)
.goal("a refusal is reported only where no earlier attempt has applied the effect")
.mistake("the engine says that it has a journal, and forgets the key of an earlier attempt");
const REFUSAL: CaseInfo = info("E20", "engine::refusal::e20_each_kind_arrives")
    .goal("a refusal keeps its kind and status, is replayed, and is never retried")
    .mistake("the failure type of the engine loses the kind, or counts as retryable");
const REFUSAL_CRASH: CaseInfo = info("E21", "engine::refusal::e21_each_kind_under_crashes")
    .goal("a refusal is the answer wherever the process is killed");
const RETRY: CaseInfo = info("E22", "engine::retry::e22_is_not_journaled")
    .goal("an error that may pass is followed by another attempt under the same key")
    .mistake("the error is journaled, or the next attempt has another key");
const RETRY_AFTER: CaseInfo = info("E23", "engine::retry_after::e23_is_waited_for")
    .goal("no attempt comes before the time that the store gave")
    .mistake("the engine's own backoff is used instead of `Retry::after`")
    .waits();

pub(super) fn trials<H, G>(engine: Arc<G>, stores: Arc<H>) -> Vec<Trial>
where
    H: Harness,
    H::Store: EngineStore,
    G: EngineHarness<H>,
{
    let matrix = Matrix { engine, stores };
    let mut trials = Vec::new();
    for (form, [plain, crash, lost, cancel]) in FORMS {
        if form == Form::TwoOfOneName && !matrix.engine.journals() {
            let reason = "without a journal there is no ordinal: steps need names of their own";
            let ignored = |info| Trial::ignored(info, Variant::Typed, reason);
            trials.extend([plain, crash, lost, cancel].map(ignored));
            continue;
        }
        trials.push(matrix.trial(plain, move |matrix, _| async move {
            matrix.finishes(form, Faults::none()).await.map(drop)
        }));
        trials.push(matrix.trial(crash, move |matrix, case| async move {
            matrix.at_each_point(form, Fault::Crash, &case).await
        }));
        trials.push(matrix.trial(lost, move |matrix, case| async move {
            matrix.at_each_point(form, Fault::LostReply, &case).await
        }));
        trials.push(matrix.trial(cancel, move |matrix, case| async move {
            matrix.cancelled(form, &case).await
        }));
    }
    trials.push(matrix.trial(NAMES, |matrix, case| async move {
        if matrix.engine.journals() {
            return matrix
                .at_each_point(Form::TwoFixedKeys, Fault::Crash, &case)
                .await;
        }
        matrix.repeats_a_name(Form::TwoFixedKeys, NOTHING).await?;
        let first = Form::ExecuteOnce.leaves();
        matrix.repeats_a_name(Form::TwoOfOneName, first).await
    }));
    trials.push(matrix.trial(UNREAD, |matrix, case| async move {
        for fault in [Fault::Crash, Fault::LostReply] {
            matrix.unread(fault, &case).await?;
        }
        Ok(())
    }));
    trials.push(matrix.trial(REFUSAL, |matrix, case| async move {
        for refusing in Refusing::ALL {
            case.step(format!("{refusing:?}"));
            matrix.refused(refusing, Faults::none()).await?;
        }
        Ok(())
    }));
    trials.push(matrix.trial(REFUSAL_CRASH, |matrix, case| async move {
        for refusing in Refusing::ALL {
            for point in 0..POINTS_MAX {
                case.step(format!("{refusing:?}, crash at point {point}"));
                let faults = Faults::at(Fault::Crash, point);
                matrix.refused(refusing, faults.clone()).await?;
                if !faults.fired() {
                    break;
                }
            }
        }
        Ok(())
    }));
    trials.push(matrix.trial(RETRY, |matrix, case| async move {
        for form in [
            Form::ExecuteOnce,
            Form::Leased,
            Form::DurableRead,
            Form::TwoPhase,
            Form::FixedKey,
        ] {
            case.step(format!("{form:?}"));
            matrix.retried(form).await?;
        }
        Ok(())
    }));
    trials.push(matrix.trial(RETRY_AFTER, |matrix, _| async move {
        matrix.waits_for_a_lease().await
    }));
    trials
}

struct Matrix<H, G> {
    engine: Arc<G>,
    stores: Arc<H>,
}

impl<H, G> Clone for Matrix<H, G> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            stores: self.stores.clone(),
        }
    }
}

impl<H, G> Matrix<H, G>
where
    H: Harness,
    H::Store: EngineStore,
    G: EngineHarness<H>,
{
    fn trial<F, Fut>(&self, info: CaseInfo, body: F) -> Trial
    where
        F: FnOnce(Self, Case) -> Fut + Send + 'static,
        Fut: Future<Output = CaseResult> + Send + 'static,
    {
        let matrix = self.clone();
        Trial::new(info, Variant::Typed, move |case| body(matrix, case)).timeout(TIMEOUT)
    }

    async fn job(&self, form: Form, faults: Faults, failing: u64) -> CaseResult<Job<H>> {
        if self.stores.effect_statement("row").is_none() && form == Form::OneShot {
            return Err(CaseFailure::ignored("the stores' harness has no statement"));
        }
        Job::new(&self.stores, form, faults, failing).await
    }

    /// The run ends with a value, its effect is there, and its replay changes nothing.
    async fn finishes(&self, form: Form, faults: Faults) -> CaseResult<Job<H>> {
        self.finishes_after(form, faults, 0).await
    }

    async fn finishes_after(&self, form: Form, faults: Faults, failing: u64) -> CaseResult<Job<H>> {
        let job = self.job(form, faults, failing).await?;
        let ended = self.engine.run(job.clone()).await?;
        ensure!(matches!(ended, Ended::Value(_)), seen: ended, "a value");
        if let (Form::SecondCall, Ended::Value(Value::Array(answers))) = (form, &ended) {
            ensure!(answers.last() == Some(&Value::Bool(true)), seen: answers, "one answer to both");
        }
        ensure_eq!(job.left().await?, form.leaves(), "what is left");
        self.replays(&job, &ended).await?;
        Ok(job)
    }

    /// Another call of the run gives the same answer, and leaves the stores as they are.
    async fn replays(&self, job: &Job<H>, ended: &Ended) -> CaseResult {
        if !self.engine.journals() {
            return Ok(());
        }
        let left = job.left().await?;
        let replayed = self.engine.run(job.replay()).await?;
        ensure_eq!(&replayed, ended, "the answer of the replay");
        ensure_eq!(job.left().await?, left, "what is left of the replay");
        Ok(())
    }

    async fn at_each_point(&self, form: Form, fault: Fault, case: &Case) -> CaseResult {
        for point in 0..POINTS_MAX {
            case.step(format!("{fault:?} at point {point}"));
            let faults = Faults::at(fault, point);
            let job = self.finishes(form, faults.clone()).await?;
            if !faults.fired() {
                // A point at the start, and at least two around the step.
                ensure!(point >= 3, seen: point, "three points or more");
                return Ok(());
            }
            if fault == Fault::LostReply {
                ensure!(job.tally.attempts() <= 2, seen: job.tally, "two attempts");
            }
        }
        Err(endless())
    }

    async fn cancelled(&self, form: Form, case: &Case) -> CaseResult {
        for point in 0..POINTS_MAX {
            case.step(format!("cancelled at point {point}"));
            let faults = Faults::at(Fault::Cancel, point);
            let job = self.job(form, faults.clone(), 0).await?;
            let ended = self.engine.run(job.clone()).await?;
            let left = job.left().await?;
            match &ended {
                Ended::Value(_) => {
                    ensure!(point > 0, seen: ended, "a cancellation before the first step");
                    ensure_eq!(left, form.leaves(), "what is left of an answered run");
                }
                Ended::Cancelled => {
                    ensure!(faults.fired(), seen: ended, "no cancellation");
                    let whole = match form {
                        // The first of two steps, in the middle of which it was cancelled.
                        Form::TwoOfOneName | Form::SecondCall if point > 0 => {
                            Form::ExecuteOnce.leaves()
                        }
                        _ => NOTHING,
                    };
                    ensure_eq!(left, whole, "what is left of a cancelled run");
                    // It asked for the outcome of the step that did not begin, and there is none.
                    let asked = form == Form::FixedKey && point > 0;
                    let known = asked.then_some(false);
                    ensure_eq!(
                        job.tally.known(),
                        known,
                        "what the store knew of the effect"
                    );
                }
                Ended::Refused(refusal) => {
                    return Err(CaseFailure::unexpected(refusal.to_string()));
                }
            }
            self.replays(&job, &ended).await?;
            if !faults.fired() {
                return Ok(());
            }
        }
        Err(endless())
    }

    async fn refused(&self, refusing: Refusing, faults: Faults) -> CaseResult {
        if refusing == Refusing::Statement && self.stores.refused_statement().is_none() {
            return Ok(());
        }
        let plain = faults.clone();
        let job = self.job(Form::Refusing(refusing), faults, 0).await?;
        let ended = self.engine.run(job.clone()).await?;
        let Ended::Refused(refusal) = &ended else {
            return Err(CaseFailure::new("a refusal", format!("{ended:?}")));
        };
        let (kind, status) = refusing.answer();
        // An attempt that crashed after the rollback took the participant's reason with it.
        let unexplained = refusing == Refusing::Participant && plain.fired();
        if !(unexplained && refusal.kind() == ErrorKind::RolledBack) {
            ensure_eq!(refusal.kind(), kind, "the kind");
            ensure_eq!(refusal.http_status(), status, "the HTTP status");
        }
        ensure_eq!(job.left().await?, refusing.leaves(), "what is left");
        if !plain.fired() {
            ensure_eq!(job.tally.attempts(), 1, "attempts of a run without faults");
            ensure_eq!(
                job.tally.executions(),
                refusing.executions(),
                "executions of the work"
            );
        }
        self.replays(&job, &ended).await
    }

    /// Refused where no ordinal distinguishes the two.
    async fn repeats_a_name(&self, form: Form, left: &str) -> CaseResult {
        let job = self.job(form, Faults::none(), 0).await?;
        let ended = self.engine.run(job.clone()).await?;
        let Ended::Refused(refusal) = &ended else {
            return Err(CaseFailure::new("a refusal", format!("{ended:?}")));
        };
        ensure_eq!(refusal.kind(), ErrorKind::Invalid, "the kind");
        ensure_eq!(job.left().await?, left, "what is left");
        Ok(())
    }

    /// A program that is deployed after the first attempt can't read the request.
    async fn unread(&self, fault: Fault, case: &Case) -> CaseResult {
        for point in 0..POINTS_MAX {
            case.step(format!("{fault:?} at point {point}"));
            let faults = Faults::at(fault, point);
            let job = self.job(Form::Unread, faults.clone(), 0).await?;
            let ended = self.engine.run(job.clone()).await?;
            let left = match &ended {
                Ended::Value(_) => Form::Unread.leaves(),
                Ended::Refused(refusal) => {
                    ensure_eq!(refusal.kind(), ErrorKind::Invalid, "the kind");
                    NOTHING
                }
                Ended::Cancelled => return Err(CaseFailure::unexpected("a cancellation")),
            };
            ensure_eq!(
                job.left().await?,
                left,
                "what is left of a run that ended so"
            );
            self.replays(&job, &ended).await?;
            if !faults.fired() {
                return Ok(());
            }
        }
        Err(endless())
    }

    async fn retried(&self, form: Form) -> CaseResult {
        const FAILING: u64 = 2;
        let job = self.finishes_after(form, Faults::none(), FAILING).await?;
        // Two participants that work side by side: either may be first.
        let executions = job.tally.executions();
        ensure!(executions > FAILING, seen: executions, "more executions than failures");
        let attempts = job.tally.attempts();
        ensure!((2..=FAILING + 1).contains(&attempts), seen: attempts, "an attempt for each failure");
        Ok(())
    }

    /// Another attempt holds the key, so the store says how long.
    async fn waits_for_a_lease(&self) -> CaseResult {
        let job = self.job(Form::Held, Faults::none(), 0).await?;
        let ended = self.engine.run(job.clone()).await?;
        ensure!(matches!(ended, Ended::Value(_)), seen: ended, "a value");
        // A backoff of the engine's own would make more of them.
        let attempts = job.tally.attempts();
        ensure!((2..=3).contains(&attempts), seen: attempts, "two attempts");
        Ok(())
    }
}

fn endless() -> CaseFailure {
    CaseFailure::new("a run that ends", format!("more than {POINTS_MAX} points"))
}
