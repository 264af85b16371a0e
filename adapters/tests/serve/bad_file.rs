//! Files that are wrong: every problem with file and line, exit code 2, and nothing is served or made.

use std::process::{Command, Output};

use crate::bench::{SHOP, Shop};

/// Without a database: what the file alone shows.
fn check(file: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects.toml");
    std::fs::write(&path, file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(["serve", "--check", "--config"])
        .arg(&path)
        .env_remove("LEDGER_URL")
        .env_remove("STOCK_URL")
        .output()
        .unwrap();
    (output.status.code(), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The line of the shop's file in which this first occurs.
fn line_of(file: &str, text: &str) -> usize {
    let at = file.find(text).unwrap();
    file[..at].matches('\n').count() + 1
}

#[test]
fn what_the_file_alone_shows_is_refused_with_its_line() {
    for (from, to, at, says) in [
        (
            "store = \"ledger\"",
            "store = \"ledgre\"",
            "ledgre",
            "unknown store `ledgre`",
        ),
        (
            "cents = \"int8\"",
            "cents = \"integr\"",
            "integr",
            "there is no type `integr`",
        ),
        (
            "[queries.payments]",
            "[queries.charge]",
            "[queries.charge]",
            "another handler",
        ),
        (
            "[queries.payments]",
            "[effects.charge]",
            "[effects.charge]\nstore = \"ledger\"\nparameters",
            "duplicate key",
        ),
        (
            "(:order, :cents, :note)",
            "(:order, :cent, :note)",
            ":cent,",
            "`:cent`",
        ),
        (
            "note = \"text?\" }",
            "note = \"text?\", key = \"text\" }",
            "key = \"text\"",
            "called `key`",
        ),
        (
            "note = \"text?\" }",
            "note = \"text?\", extra = \"text\" }",
            "extra",
            "`:extra`",
        ),
        (
            "[\"book\", \"take\"]",
            "[\"book\", \"tak\"]",
            "[\"book\"",
            "unknown effect `tak`",
        ),
        (
            "[\"book\", \"take\"]",
            "[\"charge\"]",
            "[\"charge\"]",
            "returns rows",
        ),
        (
            "answer = \"row\"",
            "answer = \"one\"",
            "answer = \"one\"",
            "answer is `one`",
        ),
        (
            "register = \"ledger\"",
            "",
            "[transactions.order]",
            "needs `register",
        ),
        (
            "pool_size = 4",
            "pool_sise = 4",
            "pool_sise",
            "unknown field `pool_sise`",
        ),
        (
            "pool_size = 4",
            "pool_size = 0",
            "pool_size = 0",
            "pool_size is 0",
        ),
        (
            "max_body_bytes = 4096",
            "max_body_bytes = 0",
            "max_body_bytes",
            "it must be 1 to",
        ),
        (
            "max_body_bytes = 4096",
            "grace = \"5\"",
            "grace",
            "write a duration",
        ),
        (
            "max_body_bytes = 4096",
            "listen = \"here\"",
            "listen",
            "write an address",
        ),
        (
            "service = \"ShopDb\"",
            "service = \"Shop Db\"",
            "service",
            "begin with a letter",
        ),
        (
            "service = \"ShopDb\"",
            "service = \"Account\"",
            "service",
            "is taken",
        ),
        (
            "namespace = \"shop\"",
            "namespace = \"\"",
            "namespace",
            "namespace",
        ),
        (
            "service = \"ShopDb\"",
            "service = ",
            "service =",
            "string values must be quoted",
        ),
    ] {
        let file = SHOP.replacen(from, to, 1);
        assert_ne!(file, SHOP, "{from}");
        let (code, text) = check(&file);
        assert_eq!(code, Some(2), "{to}: {text}");
        let line = line_of(&file, at);
        assert!(
            text.contains(&format!("effects.toml:{line}: ")),
            "{to}, line {line}: {text}"
        );
        assert!(text.contains(says), "{to}: {text}");
    }
}

#[test]
fn every_problem_is_said_not_only_the_first() {
    let file = SHOP
        .replacen("store = \"ledger\"", "store = \"one\"", 1)
        .replacen("answer = \"row\"", "answer = \"two\"", 1);
    let (_, text) = check(&file);
    assert!(text.contains("`one`") && text.contains("`two`"), "{text}");
}

#[test]
fn a_missing_file_and_a_missing_variable_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(["serve", "--check", "--config", "/nowhere/effects.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("/nowhere/effects.toml: can't be read"),
        "{}",
        said(&output)
    );
    let (code, text) = check(SHOP);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("the environment variable LEDGER_URL is not set"),
        "{text}"
    );
    assert!(
        text.contains("the environment variable STOCK_URL is not set"),
        "{text}"
    );
    let line = line_of(SHOP, "url_env = \"STOCK_URL\"");
    assert!(text.contains(&format!("effects.toml:{line}: ")), "{text}");
}

/// Each statement is prepared before the first call.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_databases_do_not_know_is_refused_with_its_line() {
    let shop = Shop::open().await;
    shop.write(SHOP);
    let output = shop.run(&["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("every statement prepared"),
        "{}",
        said(&output)
    );
    for (from, to, at, says) in [
        // Postgres.
        (
            "INTO payment (order_name, cents, note)",
            "INTO paymnt (order_name, cents, note)",
            "INTO paymnt",
            "paymnt",
        ),
        (
            "INTO payment (order_name, cents, note)",
            "INTO payment (order_name, cent, note)",
            "order_name, cent,",
            "cent",
        ),
        (
            "INSERT INTO payment (order_name, cents, note)",
            "INSRT INTO payment (order_name, cents, note)",
            "INSRT",
            "syntax error",
        ),
        (
            "cents = \"int8\", note",
            "cents = \"uuid\", note",
            "INTO payment (order_name, cents, note)",
            "declared `uuid`",
        ),
        (
            "{ id = \"int8\", paid_at = \"timestamptz\" }",
            "{ id = \"text\", paid_at = \"timestamptz\" }",
            "{ id = \"text\"",
            "`id` as `text`",
        ),
        (
            "{ id = \"int8\", paid_at = \"timestamptz\" }",
            "{ id = \"int8\" }",
            "{ id = \"int8\" }",
            "which `returns` lacks",
        ),
        (
            "{ id = \"int8\", cents = \"int8\" }",
            "{ id = \"int8\", cost = \"int8\" }",
            "cost = ",
            "returns has `cost`",
        ),
        (
            "SELECT id, cents FROM payment WHERE order_name = :order ORDER BY id",
            "DELETE FROM payment WHERE order_name = :order RETURNING id, cents",
            "DELETE FROM",
            "a query only reads",
        ),
        // SQLite.
        ("UPDATE stock SET", "UPDATE stok SET", "UPDATE stok", "stok"),
        (
            "UPDATE stock SET pieces = pieces - 1",
            "UPDATE stock SET piece = 1",
            "SET piece = 1",
            "piece",
        ),
        (
            "SELECT item, pieces FROM stock",
            "SELECT item FROM stock",
            "{ item = \"text\", pieces",
            "returns has `pieces`",
        ),
        (
            "SELECT item, pieces FROM stock WHERE item = :item",
            "DELETE FROM stock WHERE item = :item RETURNING item, pieces",
            "DELETE FROM stock",
            "a query only reads",
        ),
    ] {
        let file = SHOP.replacen(from, to, 1);
        assert_ne!(file, SHOP, "{from}");
        shop.write(&file);
        let output = shop.run(&["--check"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{to}: {text}");
        let line = line_of(&file, at);
        assert!(
            text.contains(&format!("effects.toml:{line}: ")),
            "{to}, line {line}: {text}"
        );
        assert!(text.contains(says), "{to}: {text}");
    }
    // Nothing was executed.
    assert_eq!(shop.payments("a").await, 0);
    let pieces = shop
        .sqlite()
        .query_row("SELECT sum(pieces) FROM stock", [], |row| row.get(0));
    assert_eq!(pieces, Ok(2));
    // One store under two names.
    let file = SHOP.replacen(
        "url_env = \"STOCK_URL\"",
        "url_env = \"LEDGER_URL\"\nnamespace = \"shop\"",
        1,
    );
    shop.write(&file);
    let text = said(&shop.run(&["--check"]));
    assert!(
        text.contains("stores `ledger` and `stock` are one"),
        "{text}"
    );
}
