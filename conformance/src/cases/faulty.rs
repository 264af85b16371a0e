//! Crash points that cases of several topics share: a slow handle, and a cut at every request.

use std::{future::Future, time::Duration};

use exactly_once_core::Store;

use crate::{
    CaseResult,
    check::{CaseFailure, Expecting},
    context::Context,
    faults::proxy::{Proxy, Rule, Trigger},
    harness::Harness,
    runner::Case,
};

/// Long enough for a call over loopback to be waited for, and so to have polls to be dropped at.
const DELAY: Duration = Duration::from_millis(15);

/// The most polls of a call through a slow handle.
pub(crate) const POLLS_MAX: usize = 400;

/// The most requests that one call may need.
const REQUESTS_MAX: u64 = 60;

/// How often background traffic of a handle may take the place of the request that was to be cut.
const STOLEN_MAX: usize = 20;

/// At which polls a case drops its calls: every one, or in a quick run the first and every third of the
/// others, which ones by the seed.
pub(crate) fn crash_points(case: &Case) -> impl Fn(usize) -> bool + use<> {
    let every = case.scaled(1, 3);
    let offset = case.rng().below(every);
    move |point| point == 1 || point % every == offset
}

/// A handle whose calls wait for their answers: through a proxy that delays, where there is a
/// server. The proxy must live as long as the handle.
pub(crate) async fn slow<H: Harness>(cx: &Context<H>) -> CaseResult<(Option<Proxy>, H::Store)> {
    let Some(server) = cx.harness().server(cx.guard()) else {
        return Ok((None, cx.store().clone()));
    };
    let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
    let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
    store.now().await?;
    proxy.set_delay(DELAY);
    Ok((Some(proxy), store))
}

/// Cuts the connection before, and then after, the 1st, 2nd, 3rd … request of an attempt, until an
/// attempt needs no further one. `attempt` gets the handle through the proxy and the number of the
/// attempt; `after_each` gets the number and what the attempt answered.
pub(crate) async fn every_cut<H, T, A, B>(
    cx: &Context<H>,
    attempt: impl FnMut(H::Store, usize) -> A,
    after_each: impl FnMut(usize, T) -> B,
) -> CaseResult
where
    H: Harness,
    A: Future<Output = T>,
    B: Future<Output = CaseResult>,
{
    every_cut_of(cx, |_, _| async { Ok(()) }, attempt, after_each).await
}

/// As [`every_cut`]; `before_each` is done through the same handle, and not cut. It makes what a
/// connection learns at its first call known, so that the attempt takes its usual requests.
pub(crate) async fn every_cut_of<H, T, W, A, B>(
    cx: &Context<H>,
    mut before_each: impl FnMut(H::Store, usize) -> W,
    mut attempt: impl FnMut(H::Store, usize) -> A,
    mut after_each: impl FnMut(usize, T) -> B,
) -> CaseResult
where
    H: Harness,
    W: Future<Output = CaseResult>,
    A: Future<Output = T>,
    B: Future<Output = CaseResult>,
{
    let Some(server) = cx.harness().server(cx.guard()) else {
        return cx.ignore("there is no one server to put a proxy before (`server`)");
    };
    let mut number = 0;
    for rule in [Rule::cut_before as fn(Trigger) -> Rule, Rule::cut_after] {
        let mut request = 1;
        let mut stolen = 0;
        loop {
            let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
            let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
            store.now().await?;
            before_each(store.clone(), number).await?;
            let before = proxy.stats();
            proxy.set(rule(Trigger::Request(request)));
            let answer = attempt(store.clone(), number).await;
            let passed = proxy.stats();
            proxy.set(Rule::Pass);
            let point = match (passed.fired > before.fired, passed.cuts > before.cuts) {
                (true, true) => Point::Cut,
                (true, false) => Point::Stolen,
                (false, _) => Point::NotReached,
            };
            after_each(number, answer).await.map_err(|failure| {
                failure.note(format!("{:?}: {point:?}", rule(Trigger::Request(request))))
            })?;
            // Whether it ends in order is not the question here.
            let _ = store.close().await;
            number += 1;
            match point {
                Point::Cut => request += 1,
                Point::Stolen if stolen < STOLEN_MAX => stolen += 1,
                Point::Stolen => {
                    return Err(CaseFailure::new(
                        format!("request {request} of the call to be cut"),
                        format!(
                            "in {STOLEN_MAX} attempts another request of the handle took its place"
                        ),
                    )
                    .note("open a handle without background traffic in `open_through`"));
                }
                Point::NotReached if request == 1 => {
                    return Err(CaseFailure::new(
                        "a call through the proxy to send at least one request",
                        format!(
                            "none passed the proxy during the call ({} round trips before it)",
                            passed.round_trips
                        ),
                    )
                    .mistake("`open_through` gives a handle that talks to the server directly"));
                }
                Point::NotReached => break,
            }
            if request > REQUESTS_MAX {
                return Err(CaseFailure::new(
                    format!("a call of at most {REQUESTS_MAX} requests"),
                    "it was still cut",
                ));
            }
        }
    }
    Ok(())
}

/// What became of the crash point of one attempt.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The connection was cut there.
    Cut,
    /// A request that nothing answers met the trigger, such as a pool closing a spare connection: no
    /// request of the call was cut, so the point is tried again.
    Stolen,
    /// The call needs no further request.
    NotReached,
}
