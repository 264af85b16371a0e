//! Exit codes, errors and secrets.

use crate::bench::{expect, json, run};

#[test]
fn what_cannot_be_reached_is_said_without_the_secret() {
    for url in [
        "postgres://me:s3cret@127.0.0.1:1/db",
        "redis://:s3cret@127.0.0.1:1",
        "mysql://s3cret",
    ] {
        for arguments in [
            &["doctor"][..],
            &["key", "show", "k"],
            &["--json", "in-doubt", "list"],
        ] {
            assert_eq!(run(url, arguments).status.code(), Some(2), "{arguments:?}");
        }
    }
    let away = [
        "in-doubt",
        "list",
        "--store",
        "a=postgres://me:s3cret@127.0.0.1:1/db",
    ];
    assert_eq!(run("", &away).status.code(), Some(2));
    let broken = ["in-doubt", "list", "--store", "postgres://me:s3cret@h/db"];
    expect("", &broken, 2, "NAME=URL");
}

#[test]
fn every_error_is_json_where_json_is_asked_for() {
    for (url, arguments, kind) in [
        ("mysql://h/db", &["in-doubt", "list"][..], "configuration"),
        (
            "postgres://127.0.0.1:1/db",
            &["key", "show", "k"],
            "unavailable",
        ),
        ("", &["key", "show", "k"], "invalid"),
        ("sqlite:x.db", &["no-such-command"], "invalid"),
        ("sqlite:x.db", &["in-doubt", "settle", "00"], "invalid"),
        ("sqlite:x.db", &["expire", "--limit", "many"], "invalid"),
    ] {
        let (code, value) = json(url, arguments);
        assert_eq!(code, 2, "{value}");
        assert_eq!(value["error"]["kind"], kind, "{value}");
        assert!(
            !value["error"]["message"].as_str().unwrap().is_empty(),
            "{value}"
        );
    }
}

#[test]
fn the_exit_codes_are_in_the_help() {
    for arguments in [&["--help"][..], &["in-doubt", "--help"]] {
        let help = expect("", arguments, 0, "Exit codes:");
        for code in ["\n  0  ", "\n  1  ", "\n  2  "] {
            assert!(help.contains(code), "{code:?}: {help}");
        }
    }
    expect("", &["--json", "--help"], 0, "Exit codes:");
}

#[test]
fn a_namespace_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/shop.db?namespace=shop", folder.path().display());
    expect(&url, &["migrate", "--yes"], 0, "namespace shop");
    expect(
        &url,
        &["in-doubt", "list", "--namespace", "shop"],
        0,
        "namespace shop",
    );
    let other = ["in-doubt", "list", "--namespace", "other"];
    expect(&url, &other, 2, "leave one of them out");
}
