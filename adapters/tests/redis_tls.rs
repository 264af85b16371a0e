//! TLS on a real Redis: what the URL asks for is what is had, or a configuration error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "redis-tls")]

use exactly_once::{
    AnyStore, Claim, ConnectByUrl as _, ErrorKind, ExecuteOnce as _, Fingerprint, IdempotencyKey,
    redis::RedisStore,
};
use exactly_once_servers::{Authority, Redis, RedisCluster};

async fn connect(url: &str) -> exactly_once::Result<RedisStore> {
    RedisStore::builder(url).connect().await
}

/// Refused as a setting to fix, and without the password.
async fn is_refused(url: &str, word: &str) {
    let refusal = connect(url).await.err().unwrap();
    let text = format!("{refusal} {refusal:?}");
    assert_eq!(refusal.kind(), ErrorKind::Configuration, "{text}");
    assert!(text.contains(word), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_proven_or_refused() {
    let (ours, foreign) = (Authority::new().await, Authority::new().await);
    let (ours, foreign) = (ours.unwrap(), foreign.unwrap());
    let certificate = ours.issue("IP:127.0.0.1").await.unwrap();
    let options = Redis::options().certificate(&certificate, &ours);
    let server = options.start().await.unwrap();
    server
        .cli(["CONFIG", "SET", "requirepass", "s3cret"])
        .await
        .unwrap();
    let url = server.url().replace("rediss://", "rediss://:s3cret@");
    let with = |url: &str, root: &Authority| format!("{url}?sslrootcert={}", root.file().display());

    let store = connect(&with(&url, &ours)).await.unwrap();
    let key = IdempotencyKey::new("paid").unwrap();
    let claim = Claim::new(key, Fingerprint::of("pay", &1).unwrap());
    for replayed in [false, true] {
        let done = store.execute_once(&claim, async |_| Ok(7)).await.unwrap();
        assert_eq!((done.value, done.replayed), (7, replayed));
    }
    AnyStore::connect(&with(&url, &ours)).await.unwrap();

    is_refused(&with(&url, &foreign), "certificate").await;
    is_refused(&url, "certificate").await;
    let by_name = with(&url.replace("127.0.0.1", "localhost"), &ours);
    is_refused(&by_name, "certificate").await;
    is_refused(&format!("{url}?sslrootcert=/nowhere"), "sslrootcert").await;
    let key_file = format!("{url}?sslrootcert={}", file!());
    is_refused(&key_file, "sslrootcert").await;

    // No TLS where the server speaks nothing else: not reached, and never in the clear.
    let plain = connect(&url.replace("rediss:", "redis:")).await;
    assert!(plain.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_reached_by_tls_on_all_its_nodes() {
    let authority = Authority::new().await.unwrap();
    let certificate = authority.issue("IP:127.0.0.1").await.unwrap();
    let options = Redis::options()
        .certificate(&certificate, &authority)
        .setting("tls-cluster", "yes")
        .setting("tls-replication", "yes");
    let cluster = RedisCluster::start_with(options).await.unwrap();
    let with = |root: &Authority| -> Vec<String> {
        let root = root.file();
        let urls = cluster.urls().into_iter();
        urls.map(|url| format!("{url}?sslrootcert={}", root.display()))
            .collect()
    };
    let urls = with(&authority);
    let store = RedisStore::builder(&urls[0])
        .cluster(&urls)
        .connect()
        .await
        .unwrap();
    // Enough keys that every master has some.
    for number in 0..30 {
        let key = IdempotencyKey::new(format!("paid-{number}")).unwrap();
        let claim = Claim::new(key, Fingerprint::of("pay", &number).unwrap());
        for replayed in [false, true] {
            let done = store
                .execute_once(&claim, async |_| Ok(number))
                .await
                .unwrap();
            assert_eq!((done.value, done.replayed), (number, replayed));
        }
    }
    let urls = with(&Authority::new().await.unwrap());
    let refused = RedisStore::builder(&urls[0]).cluster(&urls).connect().await;
    assert!(refused.is_err(), "a foreign authority");
}
