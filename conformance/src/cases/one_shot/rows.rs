//! Rows: what a statement returns is part of the receipt.

use std::collections::BTreeMap;

use exactly_once_core::{
    Date, DateTime, ErrorKind, IdempotencyStore, KeyState, Numeric, OneShotStore, Outcome, Receipt,
    Returning, Rows, Statement, TimeOfDay, Timestamp, Value,
};

use super::support::{effect, executed, returning, statement, with_row};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, refused, worded},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::{Harness, RowsOf},
};

/// Goal: a replay has the rows of the attempt that committed, byte for byte, whatever has changed since.
/// Method: apply, make a thousand other changes to the same rows and to others, replay; open again,
/// replay.
async fn q01_replayed_after_later_changes<H: Harness<Store: OneShotStore>>(
    mut cx: Context<H>,
) -> CaseResult {
    let first = with_row(&cx, "q01")?;
    let done = executed(cx.store(), &first).await?;
    ensure_eq!(done.replayed, false, "whether the first call is a replay");
    let rows = done.returned()?.into_last();
    ensure_eq!(rows.len(), 1, "rows of the first call");
    let changes = cx.case().scaled(1_000, 30);
    for change in 0..changes {
        let another = effect(
            &claim(&format!("q01/{change}"))?,
            vec![returning(&cx, "q01", 1, Returning::rows(1))?],
            Receipt::default(),
        );
        let later = executed(cx.store(), &another)
            .await?
            .returned()?
            .into_last();
        ensure!(later != rows, seen: later.as_json(), "another row from each run");
    }
    for reopened in [false, true] {
        if reopened {
            cx.reopen().await?;
        }
        let again = executed(cx.store(), &first).await?;
        ensure_eq!(again.replayed, true, "whether it is a replay");
        ensure!(again.outcome == done.outcome, seen: again.outcome, "the receipt, byte for byte");
        ensure_eq!(
            again.returned()?.into_last().as_json(),
            rows.as_json(),
            "the rows"
        );
    }
    let record = cx.store().lookup(first.claim.key()).await?;
    let record = record.expecting("a record of the key")?;
    let kept = match record.state {
        KeyState::Completed { outcome, .. } => Some(outcome),
        _ => None,
    };
    ensure!(kept == Some(done.outcome), seen: kept, "the rows in the record as well");
    ensure_eq!(cx.effects("q01").await?, changes as u64 + 1, "effects");
    Ok(())
}

/// Goal: as many rows as allowed are returned; one more is too large for good, and nothing is applied.
/// Method: both, then again by the same key; with one row, where no statement returns several.
async fn q02_too_many_rows<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let several = returning(&cx, "q02", 3, Returning::rows(3)).is_ok();
    let count = if several { 3 } else { 1 };
    let most = effect(
        &claim("q02/most")?,
        vec![returning(&cx, "q02/most", count, Returning::rows(count))?],
        Receipt::default(),
    );
    let rows = executed(cx.store(), &most).await?.returned()?.into_last();
    ensure_eq!(rows.len(), count as usize, "rows at the limit");
    let over = effect(
        &claim("q02/over")?,
        vec![
            statement(&cx, "q02/over")?,
            returning(&cx, "q02/over", count, Returning::rows(count - 1))?,
        ],
        Receipt::default(),
    );
    let refusal = executed(cx.store(), &over).await.err();
    let refusal = refusal.expecting("a row over the limit to be refused")?;
    ensure_eq!(
        refusal.kind(),
        ErrorKind::TooLarge,
        "the answer ({refusal})"
    );
    ensure!(
        refusal.to_string().contains("statement 2"),
        seen: refusal,
        "a text with the statement"
    );
    // The same request may come with more room: the first answer stands.
    let mut raised = over.clone();
    raised.statements = vec![returning(&cx, "q02/over", 1, Returning::rows(2))?];
    worded(
        executed(cx.store(), &raised).await,
        &refusal,
        "the same key",
    )?;
    ensure_eq!(
        cx.effects("q02/over").await?,
        0,
        "effects of what was refused"
    );
    Ok(())
}

/// Goal: rows at the limit of bytes are returned; one byte more is too large for good, and nothing is
/// applied. Method: learn how long a row is, then limits at it and below it.
async fn q03_too_large<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let long = |id: &str, limits: Returning| {
        let value = Value::from("x".repeat(2_000));
        let number = Value::from(9_007_199_254_740_993_i64);
        let statement = of_value(&cx, id, &value).or_else(|| of_value(&cx, id, &number));
        match statement {
            Some(statement) => Ok(effect(
                &claim(id)?,
                vec![statement.returning(limits)],
                Receipt::default(),
            )),
            None => cx.ignore("this harness returns no value (`returning_statement`)"),
        }
    };
    let free = executed(cx.store(), &long("q03/free", Returning::rows(1))?).await?;
    let length = free.returned()?.into_last().as_json().len();
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let exact = Returning::rows(1).within_bytes(length);
    // The ids are equally long, so the rows are.
    let done = executed(cx.store(), &long("q03/most", exact)?).await?;
    ensure_eq!(done.returned()?.into_last().len(), 1, "rows at the limit");
    let over = long("q03/over", Returning::rows(1).within_bytes(length - 1))?;
    let refusal = executed(cx.store(), &over).await.err();
    let refusal = refusal.expecting("a byte over the limit to be refused")?;
    ensure_eq!(
        refusal.kind(),
        ErrorKind::TooLarge,
        "the answer ({refusal})"
    );
    worded(executed(cx.store(), &over).await, &refusal, "the same key")?;
    Ok(())
}

fn of_value<H: Harness>(cx: &Context<H>, id: &str, value: &Value) -> Option<Statement> {
    let wanted = RowsOf::Value { id, value };
    cx.harness().returning_statement(cx.guard(), wanted)
}

/// Says whether a row holds what was bound, read as the program would read it.
type Reads = fn(&Rows) -> exactly_once_core::Result<String>;

fn as_text(rows: &Rows) -> exactly_once_core::Result<String> {
    rows.one()
}

fn as_parsed<T: std::str::FromStr + ToString>(rows: &Rows) -> exactly_once_core::Result<String> {
    let text: String = rows.one()?;
    Ok(text.parse::<T>().map_or(text, |value| value.to_string()))
}

fn as_debug<T: serde::de::DeserializeOwned + std::fmt::Debug>(
    rows: &Rows,
) -> exactly_once_core::Result<String> {
    Ok(format!("{:?}", rows.one::<T>()?))
}

/// A column of its own: a row reads as a map too.
fn as_document(rows: &Rows) -> exactly_once_core::Result<String> {
    let (document,): (BTreeMap<String, serde_json::Value>,) = rows.one()?;
    Ok(document
        .into_iter()
        .collect::<serde_json::Value>()
        .to_string())
}

/// Each kind of value, how it is read, and what is to be read.
fn values() -> CaseResult<Vec<(Value, Reads, String)>> {
    let mut all: Vec<(Value, Reads, String)> = vec![
        (Value::Null, as_debug::<Option<String>>, "None".to_owned()),
        (true.into(), as_debug::<bool>, "true".to_owned()),
        (false.into(), as_debug::<bool>, "false".to_owned()),
    ];
    for number in [
        0,
        -1,
        i64::from(i16::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ] {
        all.push((number.into(), as_debug::<i64>, number.to_string()));
    }
    for number in [0.1, -2.5, 1e300, 5e-324, f64::MAX] {
        all.push((number.into(), as_debug::<f64>, format!("{number:?}")));
    }
    for text in ["", "it's; \"quoted\" \\x é \u{1F4B3}\n", "NULL", "\\\\x41"] {
        all.push((text.into(), as_text, text.to_owned()));
    }
    let bytes: Vec<u8> = (0..=255).collect();
    all.push((
        bytes.clone().into(),
        as_debug::<Vec<u8>>,
        format!("{bytes:?}"),
    ));
    let id = "00112233-4455-6677-8899-aabbccddeeff";
    let id_bytes = std::array::from_fn(|at| u8::try_from(at * 17).unwrap_or_default());
    all.push((Value::Uuid(id_bytes), as_text, id.to_owned()));
    for digits in ["2.50", "-0.10", "12345678901234567890.123456789"] {
        let number: Numeric = digits.parse()?;
        all.push((number.into(), as_text, digits.to_owned()));
    }
    for micros in [0, 1, 1_772_368_200_000_250, -62_135_596_800_000_000] {
        let moment = Timestamp::from_micros(micros);
        all.push((moment.into(), as_parsed::<Timestamp>, moment.to_string()));
        let local = DateTime::from_micros(micros);
        all.push((local.into(), as_parsed::<DateTime>, local.to_string()));
    }
    for date in ["2024-02-29", "0001-01-01", "9999-12-31"] {
        let date: Date = date.parse()?;
        all.push((date.into(), as_parsed::<Date>, date.to_string()));
    }
    for time in ["00:00:00", "23:59:59.999999"] {
        let time: TimeOfDay = time.parse()?;
        all.push((time.into(), as_parsed::<TimeOfDay>, time.to_string()));
    }
    let json = serde_json::json!({"a": [1, null, "x\"y"], "b": {"c": 2.5}});
    all.push((json.clone().into(), as_document, json.to_string()));
    all.push((
        vec![Some(1_i64), None, Some(-3)].into(),
        as_debug::<Vec<Option<i64>>>,
        "[Some(1), None, Some(-3)]".to_owned(),
    ));
    let texts = ["a", "it's \"b\", {c}\\", ""];
    all.push((
        texts.to_vec().into(),
        as_debug::<Vec<String>>,
        format!("{texts:?}"),
    ));
    Ok(all)
}

/// Goal: every type comes back as it was bound, NULL as NULL, at the first answer and at the replay.
/// Method: bind each value that the backend stores, return it, read it as the type of the program's own.
async fn q04_null_and_every_type<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let mut stored = 0;
    for (number, (value, read, expected)) in values()?.into_iter().enumerate() {
        let id = format!("q04/{number}");
        let Some(statement) = of_value(&cx, &id, &value) else {
            continue;
        };
        stored += 1;
        let one = effect(
            &claim(&id)?,
            vec![statement.returning(Returning::rows(1))],
            Receipt::default(),
        );
        for replayed in [false, true] {
            let done = executed(cx.store(), &one).await?;
            ensure_eq!(done.replayed, replayed, "whether {value:?} is replayed");
            let rows = done.returned()?.into_last();
            ensure_eq!(read(&rows)?, expected, "{value:?}, from {}", rows.as_json());
        }
    }
    if stored == 0 {
        return cx.ignore("this harness returns no value (`returning_statement`)");
    }
    Ok(())
}

/// Goal: an effect that is refused has no rows, and its key keeps the refusal. Method: a returning
/// statement before one that is refused, and one that changes another number of rows than it must.
async fn q05_none_for_a_refused_one<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let bad = cx.harness().refused_statement();
    let counted = |id: &str| {
        let one = returning(&cx, id, 1, Returning::rows(5))?;
        CaseResult::Ok(one.expecting_rows(2))
    };
    let last = [bad, Some(counted("q05/1")?)];
    for (number, last) in last.into_iter().enumerate() {
        let (id, Some(last)) = (format!("q05/{number}"), last) else {
            continue;
        };
        let mut one = with_row(&cx, &id)?;
        one.statements.push(last);
        let refusal = executed(cx.store(), &one).await.err();
        let refusal = refusal.expecting("a refusal")?;
        ensure_eq!(refusal.kind(), ErrorKind::Refused, "the answer ({refusal})");
        let good = with_row(&cx, &id)?;
        worded(executed(cx.store(), &good).await, &refusal, "the same key")?;
        ensure_eq!(cx.effects(&id).await?, 0, "effects of what was refused");
    }
    Ok(())
}

/// Goal: what is wrong in itself is invalid before anything is done, and nothing is recorded. Method: a
/// name that is forgotten, unknown, bound twice; rows beside a receipt that is no JSON; then the right
/// effect by the same key.
async fn q08_invalid_before_anything<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let two = || Statement::named("whatever :a :b").bind_named("a", 1);
    let far = Value::from(Date::from_days(i32::MAX));
    let wrong = [
        ("a forgotten name", two()),
        (
            "an unknown name",
            two().bind_named("b", 2).bind_named("c", 3),
        ),
        (
            "a name bound twice",
            two().bind_named("b", 2).bind_named("a", 3),
        ),
        ("a number for a name", two().bind_named("b", 2).bind(3)),
        (
            "a date that no backend has",
            Statement::new("whatever").bind(far),
        ),
    ];
    let id = "q08";
    for (what, wrong) in wrong {
        let statements = vec![statement(&cx, id)?, wrong];
        let one = effect(&claim(id)?, statements, Receipt::default());
        refused(executed(cx.store(), &one).await, ErrorKind::Invalid, what)?;
        ensure_eq!(cx.effects(id).await?, 0, "effects beside {what}");
        ensure_eq!(
            cx.store().lookup(one.claim.key()).await?,
            None,
            "the key after {what}"
        );
    }
    let mut rows = with_row(&cx, id)?;
    rows.receipt = Receipt::from_bytes("no JSON");
    let answer = executed(cx.store(), &rows).await;
    refused(
        answer,
        ErrorKind::Invalid,
        "rows beside a receipt that is no JSON",
    )?;
    ensure_eq!(cx.effects(id).await?, 0, "effects beside such a receipt");
    let right = executed(cx.store(), &with_row(&cx, id)?).await?;
    ensure_eq!(right.replayed, false, "whether the right one is a replay");
    Ok(())
}

/// Goal: the rows of each statement stand in their order, beside the value. Method: two statements that
/// return rows with one between them that does not.
async fn q09_beside_the_value<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let id = "q09";
    let one = effect(
        &claim(id)?,
        vec![
            returning(&cx, id, 1, Returning::rows(1))?,
            statement(&cx, id)?,
            returning(&cx, id, 1, Returning::default())?,
        ],
        Receipt::json("paid")?,
    );
    let done = executed(cx.store(), &one).await?;
    let returned = done.returned()?;
    ensure_eq!(returned.value::<String>()?, "paid", "the value");
    let all = returned.all();
    ensure_eq!(all.len(), 2, "statements that returned rows");
    ensure!(
        all.iter().all(|rows| rows.len() == 1) && all.first() != all.get(1),
        seen: all.iter().map(Rows::as_json).collect::<Vec<_>>(),
        "one row of each, not the same"
    );
    let Outcome::Applied(receipt) = &done.outcome else {
        return Err(crate::CaseFailure::unexpected("a rejection"));
    };
    let text = String::from_utf8_lossy(receipt.as_bytes()).into_owned();
    let expected = format!(
        "{{\"value\":\"paid\",\"rows\":[{},{}]}}",
        all[0].as_json(),
        all[1].as_json()
    );
    ensure_eq!(text, expected, "the stored receipt");
    ensure_eq!(cx.effects(id).await?, 3, "effects");
    Ok(())
}

cases! { "one_shot::rows" for OneShotStore, "core::OneShotStore, Contract";
    Q01 q01_replayed_after_later_changes: "a replay has the rows of the attempt that committed",
        "the statement is run again, or its rows are read again, at each call";
    Q02 q02_too_many_rows: "one row over the limit is refused for good, and nothing is applied",
        "rows are cut at the limit, or counted after the commit";
    Q03 q03_too_large: "one byte over the limit is refused for good, and nothing is applied",
        "bytes are not counted, or the refusal is not recorded";
    Q04 q04_null_and_every_type: "every type comes back as it was bound, NULL as NULL",
        "numbers lose digits, bytes become text, NULL becomes the empty string";
    Q05 q05_none_for_a_refused_one: "a refused effect has no rows, and its refusal is kept",
        "rows are answered before the last statement is run";
    Q08 q08_invalid_before_anything: "what is wrong in itself is invalid before anything is done",
        "a forgotten name is NULL";
    Q09 q09_beside_the_value: "rows stand in the order of their statements, beside the value",
        "only the last rows are stored, or they replace the value";
}
