//! The ground that a store stands on: tables of another version, and a server set up by others.

use exactly_once_core::{ErrorKind, IdempotencyStore, Outcome, Store};

use super::support::{completed, replayed};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{claim, receipt},
    },
    context::Context,
    ensure_eq,
    harness::{Age, Harness},
};

/// Goal: tables of an older version are upgraded, and what is in them is kept. Method: complete, age
/// the tables, open; the receipt is there, and a new effect too.
async fn i86_older_tables_are_upgraded<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (before, after) = (claim("i86/before")?, claim("i86/after")?);
    completed(&cx, cx.store(), &before, "i86", &receipt("kept")).await?;
    let upgraded = cx.harness().open_aged(cx.guard(), Age::Older).await??;
    let outcome = replayed(&upgraded, &before).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("kept")),
        "the outcome that was stored before the upgrade"
    );
    completed(&cx, &upgraded, &after, "i86", &receipt("new")).await?;
    ensure_eq!(cx.effects("i86").await?, 2, "effects");
    upgraded.close().await?;
    Ok(())
}

/// Goal: tables of a newer version are refused as a configuration error, and left as they are.
/// Method: age them, open; then open again.
async fn i86_newer_tables_are_refused<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let before = claim("i86/before")?;
    completed(&cx, cx.store(), &before, "i86", &receipt("kept")).await?;
    for attempt in 1..=2 {
        let opened = cx.harness().open_aged(cx.guard(), Age::Newer).await?;
        match opened.map(drop) {
            Err(error) if error.kind() == ErrorKind::Configuration => {}
            other => {
                return Err(CaseFailure::new(
                    format!("opening tables of a newer version to be refused (attempt {attempt})"),
                    format!("{other:?}"),
                ));
            }
        }
    }
    ensure_eq!(cx.effects("i86").await?, 1, "effects");
    Ok(())
}

/// Goal: whatever an operator has set as a default, the store does the same, or says at open what
/// must be fixed. Method: each setting; open, complete odd bytes, replay, and look by a handle that
/// was opened before.
async fn i90_hostile_defaults<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let settings = cx.harness().hostile_settings();
    if settings.is_empty() {
        return cx.ignore("this harness has no hostile settings (`hostile_settings`)");
    }
    for setting in settings {
        cx.case().step(format!("the setting {setting}"));
        let store = match cx.harness().open_hostile(cx.guard(), setting).await? {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::Configuration => continue,
            Err(error) => {
                return Err(CaseFailure::from(error)
                    .expecting("a configuration error, if the setting is not to be worked with")
                    .note(format!("the setting {setting}")));
            }
        };
        let text = format!("\\'; -- \u{202e}\n{setting}");
        let worked = async {
            let (claim, receipt) = (claim(&text)?, receipt(&text));
            completed(&cx, &store, &claim, &text, &receipt).await?;
            for reader in [&store, cx.store()] {
                let outcome = replayed(reader, &claim).await?;
                ensure_eq!(outcome, Outcome::Applied(receipt.clone()), "the outcome");
            }
            ensure_eq!(cx.effects(&text).await?, 1, "effects");
            CaseResult::Ok(())
        };
        let worked = worked.await;
        worked.map_err(|failure| failure.note(format!("the setting {setting}")))?;
        store.close().await?;
    }
    Ok(())
}

cases! { "idempotency::ground" for IdempotencyStore, "core::Store, core::ErrorKind::Configuration";
    I86 i86_older_tables_are_upgraded: "tables of an older version are upgraded, and keep what is in them",
        "tables are created anew, or used as they are";
    I86 i86_newer_tables_are_refused: "tables of a newer version are refused and left alone",
        "the version is not stored, or only compared for being lower";
    I90 i90_hostile_defaults: "an operator's defaults change nothing, or are refused at open",
        "isolation, quoting, durability or search path are taken from the session's defaults";
}
