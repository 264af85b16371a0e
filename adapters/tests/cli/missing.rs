//! What is not there is said, and nothing is made in its place.

use std::{fs, path::Path};

use exactly_once_servers::{Postgres, Redis};

use crate::bench::{Times, expect, json, open, prepare, run, text, transaction, url_of};

/// Every command but `doctor` and `migrate`, confirmed where it asks.
const COMMANDS: [&[&str]; 11] = [
    &["key", "show", "k"],
    &["key", "forget", "k", "--yes"],
    &["expire", "--yes"],
    &["account", "show", "a"],
    &["account", "history", "a"],
    &["adopt", "--yes"],
    &["in-doubt", "list"],
    &["in-doubt", "show", "00"],
    &["in-doubt", "resolve", "00", "--yes"],
    &["in-doubt", "sweep", "--yes"],
    &["in-doubt", "forget", "--yes"],
];

#[test]
fn a_mistyped_path_is_an_error_and_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shopp.db");
    for command in COMMANDS {
        expect(&url_of(&path), command, 2, "there is no file");
    }
    let (code, error) = json(&url_of(&path), &["in-doubt", "list"]);
    assert_eq!(
        (code, &error["error"]["kind"]),
        (2, &"configuration".into()),
        "{error}"
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    expect(&url_of(&path), &["migrate"], 2, "--yes");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    expect(&url_of(&path), &["migrate", "--yes"], 0, "made");
    expect(&url_of(&path), &["migrate"], 0, "there already");
    expect(&url_of(&path), &["in-doubt", "list"], 0, "nothing");
}

#[test]
fn a_file_of_another_program_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    let theirs = rusqlite::Connection::open(&path).unwrap();
    theirs
        .execute_batch("CREATE TABLE theirs (id INTEGER PRIMARY KEY) STRICT")
        .unwrap();
    drop(theirs);
    let before = fs::read(&path).unwrap();
    for command in COMMANDS {
        expect(&url_of(&path), command, 2, "no tables of exactly-once");
    }
    assert!(before == fs::read(&path).unwrap(), "the file was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_read_write_nothing_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let store = open(&path).await;
    exactly_once::Store::close(&store).await.unwrap();
    drop(store);
    let before = fs::read(&path).unwrap();
    for command in COMMANDS.into_iter().chain([&["doctor"][..]]) {
        if !command.contains(&"--yes") {
            let output = run(&url_of(&path), command);
            assert_ne!(output.status.code(), Some(2), "{}", text(&output));
        }
        // A log that belongs to an operator keeps the service from opening its own file.
        assert_eq!(names(folder.path()), ["shop.db"], "{command:?}");
    }
    assert!(before == fs::read(&path).unwrap(), "the file was changed");
    expect(&url_of(&path), &["doctor"], 0, "wal");
    let at_rest = rusqlite::Connection::open(&path).unwrap();
    at_rest
        .pragma_update(None, "journal_mode", "delete")
        .unwrap();
    drop(at_rest);
    expect(&url_of(&path), &["doctor"], 1, "journal_mode");
    assert_eq!(names(folder.path()), ["shop.db"]);
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names =
        Vec::from_iter(files.map(|file| file.unwrap().file_name().into_string().unwrap()));
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_service_has_open_is_read_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let store = open(&path).await;
    let open = ["shop.db", "shop.db-shm", "shop.db-wal"];
    assert_eq!(names(folder.path()), open);
    expect(&url_of(&path), &["in-doubt", "list"], 0, "nothing");
    assert_eq!(names(folder.path()), open);
    let times = Times::late_in(&store, 60_000).await;
    let made = transaction("t", times, &store, &[&store]).await;
    prepare(&store, &made).await;
    let (_, page) = json(&url_of(&path), &["in-doubt", "list"]);
    assert_eq!(page["all"], 1, "what is in the log only: {page}");
    // As a crash leaves it, without the index of the log.
    let crashed = folder.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(
        folder.path().join("shop.db-wal"),
        folder.path().join("crashed.db-wal"),
    )
    .unwrap();
    expect(
        &url_of(&crashed),
        &["in-doubt", "list"],
        2,
        "Start the service",
    );
    assert!(!folder.path().join("crashed.db-shm").exists());
}

// Its log is beside the file, and not beside the link.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn through_a_symbolic_link_a_command_reads_what_is_in_the_log() {
    let [folder, links] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (path, link) = (folder.path().join("shop.db"), links.path().join("link.db"));
    let store = open(&path).await;
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let times = Times::late_in(&store, 60_000).await;
    let made = transaction("t", times, &store, &[&store]).await;
    prepare(&store, &made).await;
    let (_, page) = json(&url_of(&link), &["in-doubt", "list"]);
    assert_eq!(page["all"], 1, "{page}");
    let digest = made.transaction().to_string();
    expect(
        &url_of(&link),
        &["in-doubt", "show", &digest],
        0,
        "in doubt",
    );
    // As a crash leaves it, without the index of the log.
    let crashed = folder.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    let log = |of: &str| folder.path().join(format!("{of}.db-wal"));
    fs::copy(log("shop"), log("crashed")).unwrap();
    let link = links.path().join("crashed.db");
    std::os::unix::fs::symlink(&crashed, &link).unwrap();
    expect(&url_of(&link), &["in-doubt", "list"], 2, "was not closed");
    assert_eq!(names(links.path()), ["crashed.db", "link.db"]);
    assert!(!folder.path().join("crashed.db-shm").exists());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_folder_that_cant_be_written_is_read() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    exactly_once::Store::close(&open(&path).await)
        .await
        .unwrap();
    let readable = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(&path, readable(0o444)).unwrap();
    fs::set_permissions(folder.path(), readable(0o555)).unwrap();
    // A superuser may write everywhere, so the command runs as another user.
    let is_superuser = fs::write(folder.path().join("probe"), "").is_ok();
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_exactly-once"));
    list.args(["in-doubt", "list"])
        .env_remove("EXACTLY_ONCE_STORES")
        .env("EXACTLY_ONCE_URL", url_of(&path));
    if is_superuser {
        fs::remove_file(folder.path().join("probe")).unwrap();
        list.uid(65_534).gid(65_534);
    }
    let output = list.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // Where it can't be read at all, the error says so, and names no migration.
    fs::set_permissions(&path, readable(0o000)).unwrap();
    let output = list.output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the user that the service runs as"), "{said}");
    assert!(!said.contains("migrate"), "{said}");
    fs::set_permissions(folder.path(), readable(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_of_postgres_is_an_error_and_gets_no_schema() {
    let server = Postgres::start(15).await.unwrap();
    let wrong = server.create_database("wrong").await.unwrap();
    for command in COMMANDS {
        expect(&wrong, command, 2, "has no tables of exactly-once");
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'exactly_once'";
    assert_eq!(server.sql("wrong", schemas).await.unwrap().trim(), "0");
    expect(&wrong, &["migrate"], 2, "--yes");
    expect(&wrong, &["migrate", "--yes"], 0, "made");
    expect(&wrong, &["in-doubt", "list"], 0, "nothing");
    expect(&wrong, &["adopt", "--yes"], 0, "new identity: ");
    // The right database, and a schema that is not there.
    let schema = format!("{wrong}?schema=eo2");
    expect(
        &schema,
        &["in-doubt", "list"],
        2,
        "has no tables of exactly-once",
    );
    expect(&schema, &["doctor"], 1, "exactly-once migrate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_of_redis_is_an_error_and_gets_no_key() {
    let server = Redis::options()
        .append_fsync("always")
        .start()
        .await
        .unwrap();
    let wrong = format!("{}?key_prefix=wrong", server.url());
    for command in COMMANDS {
        expect(
            &wrong,
            command,
            2,
            "no store of exactly-once under the key prefix \"wrong\"",
        );
    }
    assert_eq!(server.cli(["DBSIZE"]).await.unwrap().trim(), "0");
    expect(&wrong, &["migrate"], 2, "--yes");
    expect(&wrong, &["migrate", "--yes"], 0, "made");
    expect(&wrong, &["in-doubt", "list"], 0, "nothing");
    expect(&wrong, &["adopt", "--yes"], 0, "new identity: ");
    expect(
        &server.url(),
        &["in-doubt", "list"],
        2,
        "no store of exactly-once",
    );
}
