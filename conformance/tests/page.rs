//! The report page in a real headless Chromium: it shows the matrix, filters it, and shows on a
//! click why a case failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "page/browser.rs"]
mod browser;

use browser::Browser;
use exactly_once_conformance::report::{SCHEMA, write_page};
use serde_json::{Value, json};
use tempfile::TempDir;

const FAILURE: &str = "I02 on beta, erased\n  seen         <b>another</b> receipt & none";
const FAILED: &str = "button[data-adapter=beta][data-name='erased::keys::basic::i02_replay']";

/// A page of two adapters, two variants and three cases; one result failed, one was ignored.
fn page() -> (TempDir, Browser) {
    let folder = tempfile::tempdir().unwrap();
    for adapter in ["alpha", "beta"] {
        let mut cases = Vec::new();
        for variant in ["typed", "erased"] {
            cases.push(case(
                "I01",
                "keys::basic::i01_first_claim",
                variant,
                "a new key is fresh",
            ));
            let mut replay = case(
                "I02",
                "keys::basic::i02_replay",
                variant,
                "the same receipt",
            );
            if (adapter, variant) == ("beta", "erased") {
                replay["status"] = json!("failed");
                replay["failure"] = json!({ "seen": "another receipt", "text": FAILURE });
            }
            cases.push(replay);
            let mut cut = case(
                "B54",
                "balance::crash::b54_cut",
                variant,
                "cut before the reply",
            );
            cut["status"] = json!("ignored");
            cut["ignore_reason"] = json!("an embedded store has no connection");
            cases.push(cut);
        }
        let report = json!({
            "schema": SCHEMA, "adapter": adapter, "started_at_unix_ms": 1_700_000_000_000_u64,
            "duration_ms": 1234.5, "seed": "42", "quick": false, "filtered_out": 0, "cases": cases,
        });
        let file = folder.path().join(format!("{adapter}.json"));
        std::fs::write(file, report.to_string()).unwrap();
    }
    let page = write_page(folder.path()).unwrap();
    let browser = Browser::open(&page);
    (folder, browser)
}

fn case(id: &str, path: &str, variant: &str, goal: &str) -> Value {
    json!({
        "id": id, "path": path, "variant": variant, "name": format!("{variant}::{path}"),
        "goal": goal, "contract": "the contract", "status": "passed", "duration_ms": 12.0,
    })
}

/// The cases whose rows have a height on the screen.
fn shown(browser: &mut Browser) -> Value {
    browser.evaluate(
        "[...document.querySelectorAll('tr.case[data-path]')]
            .filter((row) => row.getBoundingClientRect().height > 0)
            .map((row) => row.dataset.path.split('::').pop())",
    )
}

fn detail(browser: &mut Browser) -> Value {
    browser.evaluate(
        "(() => { const box = document.querySelector('#detail');
           return box.getBoundingClientRect().height > 0 ? box.innerText : null; })()",
    )
}

#[test]
fn the_matrix_shows_every_result() {
    let (_folder, mut browser) = page();
    let rows = json!(["i01_first_claim", "i02_replay", "b54_cut"]);
    assert_eq!(shown(&mut browser), rows);
    let cells = browser.evaluate(
        "[...document.querySelectorAll('td button[data-name][data-adapter]')]
            .filter((cell) => cell.getBoundingClientRect().height > 0)
            .map((cell) => cell.className)",
    );
    let count = |status: &str| {
        let cells = cells.as_array().unwrap();
        cells.iter().filter(|cell| **cell == json!(status)).count()
    };
    let counts = (count("passed"), count("failed"), count("ignored"));
    assert_eq!(
        counts,
        (7, 1, 4),
        "three cases on two variants of two adapters: {cells}"
    );
    let all = browser.evaluate("document.querySelector('#shown').innerText");
    assert_eq!(all, json!("3 of 3 cases"));
    assert_eq!(
        detail(&mut browser),
        Value::Null,
        "no detail before a click"
    );
}

#[test]
fn typing_hides_what_does_not_match() {
    let (_folder, mut browser) = page();
    browser.click("#text");
    browser.type_text("receipt");
    assert_eq!(shown(&mut browser), json!(["i02_replay"]));
    let count = browser.evaluate("document.querySelector('#shown').innerText");
    assert_eq!(count, json!("1 of 3 cases"));
    browser.type_text(" no such word");
    assert_eq!(shown(&mut browser), json!([]));
    let nothing = browser.evaluate("document.querySelector('#nothing').innerText");
    assert_eq!(nothing, json!("No case matches."));
}

#[test]
fn the_status_filter_shows_what_failed() {
    let (_folder, mut browser) = page();
    browser.click("input[name=status][value=failed]");
    assert_eq!(shown(&mut browser), json!(["i02_replay"]));
    browser.click("input[name=status][value=ignored]");
    assert_eq!(shown(&mut browser), json!(["b54_cut"]));
    browser.click("input[name=status][value=all]");
    assert_eq!(shown(&mut browser).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_click_tells_why_a_case_failed() {
    let (_folder, mut browser) = page();
    browser.click(FAILED);
    let text = detail(&mut browser);
    let text = text.as_str().expect("the detail to be shown");
    assert!(text.contains("I02 on beta, erased: failed"), "{text}");
    assert!(
        text.contains("<b>another</b> receipt & none"),
        "as text, not as markup: {text}"
    );
    browser.click("button[data-adapter=alpha][data-name='typed::balance::crash::b54_cut']");
    let text = detail(&mut browser).to_string();
    assert!(
        text.contains("an embedded store has no connection"),
        "{text}"
    );
    browser.press("Escape");
    assert_eq!(detail(&mut browser), Value::Null, "closed by Escape");
}

#[test]
fn the_button_switches_between_light_and_dark() {
    let (_folder, mut browser) = page();
    let background = "getComputedStyle(document.body).backgroundColor";
    let before = browser.evaluate(background);
    browser.click("#theme");
    let after = browser.evaluate(background);
    assert_ne!(after, before, "the page's background");
    browser.click("#theme");
    assert_eq!(browser.evaluate(background), before);
}
