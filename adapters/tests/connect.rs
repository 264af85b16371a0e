//! A store by URL: the right backend, and an error that says what to do, never what the URL holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use exactly_once::{AnyStore, ConnectByUrl, ErrorKind};

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do_and_keeps_the_secret() {
    for url in [
        "mysql://user:s3cret@localhost/db",
        "user:s3cret@localhost",
        "s3cret",
        "",
        "postgres://user:s3cret@127.0.0.1:1/db?connect_timeout=1",
        "postgres://user:s3cret@[broken",
        "redis://:s3cret@127.0.0.1:1",
        "redis://:s3cret@[broken",
        "sqlite:",
    ] {
        let error = AnyStore::connect(url).await.expect_err(url);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(
            error.message().is_some() || std::error::Error::source(&error).is_some(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_a_configuration_error() {
    let error = AnyStore::connect("mysql://localhost/db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("postgres"), "{error}");
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_backend_that_is_not_compiled_in_names_its_feature() {
    let error = AnyStore::connect("redis://localhost").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`redis`"), "{error}");
}

#[cfg(feature = "rusqlite")]
#[tokio::test]
async fn a_file_by_url_in_both_forms() {
    use exactly_once::Store;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("by url.db");
    for url in [
        format!("sqlite:{}", path.display()),
        format!("sqlite://{}", path.display()),
    ] {
        let store = AnyStore::connect(&url).await.unwrap();
        assert_eq!(store.backend(), "sqlite");
        store.close().await.unwrap();
    }
    assert!(path.exists());
}
