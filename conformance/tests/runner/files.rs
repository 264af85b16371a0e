//! The files that a run leaves: JSON, JUnit, HTML.

use std::fs;
use std::path::Path;
use std::process::Command;

use exactly_once_conformance::report::{ReportError, Status, merge, write_page};
use serde_json::Value;

use crate::process::{in_dir, mini, mini_as};

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn same<T: PartialEq + std::fmt::Debug>(seen: T, wanted: T) -> Result<(), String> {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("seen {seen:?}, wanted {wanted:?}"))
    }
}

pub(crate) fn json_holds_every_result() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("made/on/the/way");
    let [report_dir] = in_dir(dir);
    mini(
        &[],
        &[report_dir, ("EXACTLY_ONCE_SEED", "18446744073709551615")],
    )
    .exits(101)?;
    let json: Value = serde_json::from_str(&read(&dir.join("mini.json"))?).unwrap();
    same(&json["schema"], &Value::from("exactly-once-conformance/1"))?;
    same(&json["adapter"], &Value::from("mini"))?;
    same(&json["seed"], &Value::from("18446744073709551615"))?;
    let cases = json["cases"].as_array().unwrap();
    same(cases.len(), 16)?;
    let case = |name: &str| cases.iter().find(|case| case["name"] == name).unwrap();
    let passed = case("typed::mini::good::m01_draws");
    same(&passed["status"], &Value::from("passed"))?;
    same(&passed["id"], &Value::from("M01"))?;
    same(&passed["path"], &Value::from("mini::good::m01_draws"))?;
    same(&passed["variant"], &Value::from("typed"))?;
    let failed = case("erased::mini::bad::m02_wrong_sum");
    same(&failed["status"], &Value::from("failed"))?;
    same(&failed["failure"]["seen"], &Value::from("3"))?;
    same(
        &failed["failure"]["likely_mistake"],
        &Value::from("off by one"),
    )?;
    let hung = case("typed::mini::bad::m05_hangs");
    if hung["duration_ms"].as_f64().unwrap() < 200.0 {
        return Err(format!("took less than its limit: {hung}"));
    }
    let ignored = case("typed::mini::left::m06_needs_a_moon");
    same(
        &ignored["ignore_reason"],
        &Value::from("this adapter declares no moon"),
    )?;
    same(
        &cases[0]["name"],
        &Value::from("typed::mini::good::m01_draws"),
    )
}

pub(crate) fn junit_holds_every_result() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    mini(&[], &in_dir(dir.path())).exits(101)?;
    let xml = read(&dir.path().join("mini.xml"))?;
    same(xml.matches("<testcase ").count(), 16)?;
    same(xml.matches("<failure ").count(), 8)?;
    same(
        xml.matches("<skipped message=\"this adapter declares no moon\"/>")
            .count(),
        2,
    )?;
    for text in [
        "tests=\"16\" failures=\"8\" errors=\"0\" skipped=\"4\"",
        "the sum of 1 and 2 &lt;&amp;&gt; to be 4",
        "classname=\"mini.typed.mini.bad\"",
    ] {
        same(xml.contains(text), true).map_err(|_| format!("{text:?} is not in:\n{xml}"))?;
    }
    Ok(())
}

pub(crate) fn the_page_is_self_contained() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    mini(&[], &in_dir(dir.path())).exits(101)?;
    let page = read(&dir.path().join("conformance.html"))?;
    for outside in ["http://", "https://", "@import", "src=", "url("] {
        if page.contains(outside) {
            return Err(format!("the page refers to something outside: {outside}"));
        }
    }
    for placeholder in ["/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"] {
        if page.contains(placeholder) {
            return Err(format!("{placeholder} was not filled in"));
        }
    }
    // The data must not be able to end its own element.
    if page.contains("<&>") || !page.contains("\\u003c&>") {
        return Err("the failure text was not escaped for a script element".to_owned());
    }
    Ok(())
}

pub(crate) fn the_page_holds_all_adapters() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    for adapter in ["first", "second / with a path"] {
        mini_as(adapter, &["mini::good"], &in_dir(dir.path())).exits(0)?;
    }
    let page = read(&dir.path().join("conformance.html"))?;
    for adapter in [
        "\"adapter\":\"first\"",
        "\"adapter\":\"second / with a path\"",
    ] {
        same(page.contains(adapter), true).map_err(|_| format!("{adapter} is not on the page"))?;
    }
    same(merge(dir.path()).unwrap().len(), 2)
}

pub(crate) fn what_nextest_runs_apart_is_merged() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let [report_dir] = in_dir(dir.path());
    let environment = [report_dir, ("NEXTEST", "1")];
    // As nextest does: list all, list the ignored, then one process per case that is not.
    mini(&["--list", "--format", "terse"], &environment).exits(0)?;
    mini(&["--list", "--format", "terse", "--ignored"], &environment).exits(0)?;
    for (name, code) in [
        ("typed::mini::good::m01_draws", 0),
        ("typed::mini::bad::m02_wrong_sum", 101),
        ("erased::mini::good::m01_draws", 0),
    ] {
        mini(&["--exact", name, "--nocapture"], &environment).exits(code)?;
    }
    // The same case once more must replace its result, not double it.
    mini(&["--exact", "typed::mini::good::m01_draws"], &environment).exits(0)?;
    let merged = merge(dir.path()).unwrap();
    same(merged.len(), 1)?;
    same(merged[0].count(Status::Passed), 2)?;
    same(merged[0].count(Status::Failed), 1)?;
    same(merged[0].count(Status::Ignored), 2)?;
    let page = write_page(dir.path()).unwrap();
    same(read(&page)?.contains("m02_wrong_sum"), true)
}

pub(crate) fn a_folder_with_something_else_is_refused() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.json");
    fs::write(&file, "{\"name\": 1}").unwrap();
    let error = merge(dir.path()).unwrap_err();
    if !matches!(error, ReportError::Json { .. }) || !error.to_string().contains("other.json") {
        return Err(format!("{error}"));
    }
    fs::write(&file, "{\"schema\": \"exactly-once-conformance/9\"}").unwrap();
    let error = merge(dir.path()).unwrap_err();
    match error {
        ReportError::Schema { schema, .. } => same(schema.as_str(), "exactly-once-conformance/9"),
        other => Err(format!("{other}")),
    }
}

pub(crate) fn a_report_that_cannot_be_written_fails() -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ran = mini(&["mini::good"], &in_dir(file.path()));
    ran.exits(2)?;
    ran.says("the report could not be written")
}

pub(crate) fn the_merging_command_says_where_the_page_is() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    mini(&["m01"], &in_dir(dir.path())).exits(0)?;
    let page = dir.path().join("conformance.html");
    fs::remove_file(&page).unwrap();
    let merging = |arguments: &[&Path]| {
        Command::new(env!("CARGO_BIN_EXE_conformance-report"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let merged = merging(&[dir.path()]);
    let out = String::from_utf8_lossy(&merged.stdout).into_owned();
    same(merged.status.code(), Some(0))?;
    same(
        out.trim(),
        &format!("mini: 2 passed, 0 failed, 0 ignored\n{}", page.display()),
    )?;
    same(read(&page)?.contains("m01_draws"), true)?;
    same(
        merging(&[&dir.path().join("absent")]).status.code(),
        Some(2),
    )?;
    same(merging(&[]).status.code(), Some(2))
}
