//! Topic V: what always holds, under random load and faults. A failure prints its seed and the
//! shortest schedule that still fails.

pub(crate) mod balances;
pub(crate) mod keys;
pub(crate) mod two_phase;

use std::{fmt::Debug, future::Future, sync::Arc};

use exactly_once_core::Store;

use crate::{
    CaseResult, check::Expecting, context::Context, faults::proxy::Proxy, harness::Harness,
    shrink::shrink,
};

/// How often a schedule that failed is run in search of a shorter one.
const SHRINKING_RUNS_MAX: usize = 60;

/// The most steps of a schedule that a failure shows.
const SHOWN_STEPS_MAX: usize = 20;

/// Runs a schedule on a place of its own; if it fails, looks for a shorter one that does.
async fn hold<H, T, F, Fut>(cx: &Context<H>, schedule: Vec<T>, run: F) -> CaseResult
where
    H: Harness,
    T: Clone + Debug,
    F: Fn(Arc<H>, Vec<T>) -> Fut,
    Fut: Future<Output = CaseResult>,
{
    let failed = match run(Arc::clone(cx.harness()), schedule.clone()).await {
        Err(failure) if !failure.is_ignored() => failure,
        ended => return ended,
    };
    cx.case().step("looking for a shorter schedule that fails");
    let whole = schedule.len();
    let shortest = shrink(schedule, SHRINKING_RUNS_MAX, |shorter| {
        let ended = run(Arc::clone(cx.harness()), shorter);
        async move { ended.await.is_err() }
    })
    .await;
    let shown: Vec<String> = shortest
        .iter()
        .take(SHOWN_STEPS_MAX)
        .enumerate()
        .map(|(number, step)| format!("{}. {step:?}", number + 1))
        .collect();
    Err(failed
        .note(format!("the seed of this case is {}", cx.case().seed()))
        .note(format!(
            "{} of {whole} steps still fail:\n{}",
            shortest.len(),
            shown.join("\n")
        )))
}

/// A place of its own: a handle that may be cut off, and one that is not.
struct Place<H: Harness> {
    harness: Arc<H>,
    guard: H::Guard,
    frail: H::Store,
    direct: H::Store,
    proxy: Option<Proxy>,
}

impl<H: Harness> Place<H> {
    async fn fresh(harness: Arc<H>) -> CaseResult<Self> {
        let guard = harness.fresh().await?;
        let direct = harness.open(&guard).await?;
        let (proxy, frail) = match harness.server(&guard) {
            None => (None, harness.open(&guard).await?),
            Some(server) => {
                let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
                let frail = harness.open_through(&guard, proxy.addr()).await?;
                frail.now().await?;
                (Some(proxy), frail)
            }
        };
        Ok(Self {
            harness,
            guard,
            frail,
            direct,
            proxy,
        })
    }

    /// Cuts every connection of the frail handle.
    fn cut(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.cut_all();
        }
    }

    async fn effects(&self, id: &str) -> CaseResult<u64> {
        self.harness.count_effects(&self.guard, id).await
    }

    /// V8 and V14: nothing is left open, once what was dropped had its time.
    async fn ensure_idle(&self) -> CaseResult {
        for attempt in 0..200 {
            match self.harness.left_open(&self.guard).await? {
                None | Some(0) => return Ok(()),
                Some(open) if attempt == 199 => {
                    crate::ensure_eq!(open, 0, "what is left open in the end");
                }
                Some(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
        Ok(())
    }
}
