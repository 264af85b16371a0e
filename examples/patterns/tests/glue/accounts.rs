//! The account object.

use anyhow::{Context as _, Result, ensure};
use exactly_once::{AccountState, Applied, ErrorKind, HistoryPage};
use serde_json::{Value, json};

use crate::bench::{Bench, refusal};

const PATH: &str = "Account/alice";

async fn applied(bench: &Bench, handler: &str, input: Value) -> Result<Applied> {
    let (status, body) = bench.call(&format!("{PATH}/{handler}"), input).await?;
    ensure!(status == 200, "{handler}: {status} {body}");
    Ok(serde_json::from_value(body)?)
}

async fn refused(bench: &Bench, handler: &str, input: Value) -> Result<ErrorKind> {
    let answer = bench.call(&format!("{PATH}/{handler}"), input).await?;
    let refusal = refusal(&answer).with_context(|| format!("{handler}: {answer:?}"))?;
    Ok(refusal.kind())
}

/// Goal: the account does what the store does, from outside, with keys of the caller's own.
pub(crate) async fn an_account_is_changed_once_and_refuses_what_it_must(
    bench: &Bench,
) -> Result<()> {
    let nobody = bench.call(&format!("{PATH}/balance"), Value::Null).await?;
    ensure!(nobody == (200, Value::Null), "{nobody:?}");
    applied(bench, "open", json!({"amount": 100})).await?;
    let debit = json!({"delta": -30, "operation": "debit-1"});
    let first = applied(bench, "adjust", debit.clone()).await?;
    let again = applied(bench, "adjust", debit).await?;
    ensure!(first.change == again.change && again.replayed, "{again:?}");
    let other = json!({"delta": -31, "operation": "debit-1"});
    ensure!(refused(bench, "adjust", other).await? == ErrorKind::Mismatch);
    let kind = refused(bench, "adjust", json!({"delta": -71})).await?;
    ensure!(kind == ErrorKind::InsufficientFunds, "{kind:?}");

    let stale = json!({"expected": {"Version": 1}, "amount": 5});
    let kind = refused(bench, "compare_and_set", stale).await?;
    let ErrorKind::Conflict {
        current: Some(current),
    } = kind
    else {
        anyhow::bail!("{kind:?}");
    };
    let set = json!({"expected": {"Version": current.get()}, "amount": 0});
    ensure!(
        applied(bench, "compare_and_set", set)
            .await?
            .change
            .after
            .get()
            == 0
    );
    applied(bench, "close", json!({})).await?;
    let kind = refused(bench, "adjust", json!({"delta": 1})).await?;
    ensure!(kind == ErrorKind::UnknownAccount, "{kind:?}");

    let (_, body) = bench.call(&format!("{PATH}/balance"), Value::Null).await?;
    let state: AccountState = serde_json::from_value(body)?;
    ensure!(!state.open && state.version.get() == 4, "{state:?}");
    let query = json!({"after": 1, "limit": 2});
    let (_, body) = bench.call(&format!("{PATH}/history"), query).await?;
    let page: HistoryPage = serde_json::from_value(body)?;
    let versions: Vec<i64> = page
        .changes
        .iter()
        .map(|change| change.version.get())
        .collect();
    ensure!(versions == [2, 3], "{page:?}");
    Ok(())
}
