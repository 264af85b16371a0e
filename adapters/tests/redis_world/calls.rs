//! Single calls: sizes, idle connections, killed scripts, times to live, sockets.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_cuts_off_others() {
    for options in both() {
        let server = options
            .setting("proto-max-bulk-len", "1mb")
            .setting("client-query-buffer-limit", "4mb")
            .start()
            .await
            .unwrap();
        let store = RedisStore::builder(server.url())
            .group_from(0)
            .connect()
            .await
            .unwrap();
        let large = vec![b'x'; 1_100_000];
        let statement = || Statement::new("SET user:large").bind(large.clone());
        is(
            &store.execute_one_shot(&effect("large", statement())).await,
            ErrorKind::TooLarge,
        );
        let mut tx = store.begin().await.unwrap();
        tx.set("user:large", &large).unwrap();
        is(&store.commit(tx).await, ErrorKind::TooLarge);
        // Each is well under the limit, and many together are not.
        let calls = (0..64).map(|number| {
            let store = store.clone();
            async move {
                let statement = Statement::new("SET").bind(format!("user:{number}"));
                let statement = statement.bind(vec![b'x'; 400_000]);
                store
                    .execute_one_shot(&effect(&number.to_string(), statement))
                    .await
            }
        });
        for done in futures_util::future::join_all(calls).await {
            assert!(!done.unwrap().replayed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_idle_makes_nothing_ambiguous() {
    for options in both() {
        let server = options.start().await.unwrap();
        let mut stores = Vec::new();
        for _ in 0..20 {
            stores.push(connect(&server).await.unwrap());
        }
        open(&stores[0]).await;
        sleep(Duration::from_millis(600)).await;
        cli(&server, "CLIENT KILL TYPE normal").await;
        for (number, store) in stores.iter().enumerate() {
            store
                .adjust(&adjust(&format!("k{number}"), 1))
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_script_has_done_nothing_and_is_run_again() {
    for options in both() {
        let server = options
            .setting("lua-time-limit", "1")
            .start()
            .await
            .unwrap();
        let builder = RedisStore::builder(server.url());
        let patient = builder.response_timeout(Duration::from_secs(60));
        let store = patient.connect().await.unwrap();
        let fill = "for i = 1, 150000 do redis.call('HSET', KEYS[1], i, 'x') end";
        server.cli(["EVAL", fill, "1", "user:wide"]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.hget_all("user:wide").await.unwrap();
        tx.incr_by("user:n", 1).unwrap();
        // Its guard is looked at before anything is written, and takes a while.
        let killing = async {
            for _ in 0..2_000 {
                match server.cli(["SCRIPT", "KILL"]).await {
                    Ok(_) => return true,
                    Err(_) => sleep(Duration::from_millis(2)).await,
                }
            }
            false
        };
        let (answer, killed) = tokio::join!(store.commit(tx), killing);
        assert!(killed, "never met: {answer:?}");
        is(&answer, ErrorKind::Unavailable);
        assert_eq!(cli(&server, "EXISTS user:n").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_wide_key_reads_none_of_it() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let fill = "for i = 1, 100000 do redis.call('HSET', KEYS[1], i, 'x') end";
        server.cli(["EVAL", fill, "1", "user:wide"]).await.unwrap();
        // To connect tries every command.
        cli(&server, "CONFIG RESETSTAT").await;
        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        tx.del("user:wide").unwrap();
        store.prepare(tx, &work).await.unwrap();
        // A foreign change is still seen.
        cli(&server, "HSET user:wide one more").await;
        is(&store.commit_prepared(&work).await, ErrorKind::Heuristic);
        cli(&server, "HDEL user:wide one").await;
        store.commit_prepared(&work).await.unwrap();
        assert_eq!(cli(&server, "EXISTS user:wide").await, "0");
        let stats = cli(&server, "INFO commandstats").await;
        assert!(!stats.contains("cmdstat_hgetall"), "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_may_have_a_time_to_live() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let within = |text: String| (1..=100).contains(&text.parse::<i64>().unwrap());
        let statement = Statement::new("SET user:a 1 EX 100 NX");
        store
            .execute_one_shot(&effect("a", statement))
            .await
            .unwrap();
        assert!(within(cli(&server, "TTL user:a").await));
        let statement = Statement::new("SET user:a 2 KEEPTTL");
        store
            .execute_one_shot(&effect("b", statement))
            .await
            .unwrap();
        assert!(within(cli(&server, "TTL user:a").await));
        assert_eq!(cli(&server, "GET user:a").await, "2");
        let statement = Statement::new("SET user:a 3 NX PX 5");
        store
            .execute_one_shot(&effect("c", statement))
            .await
            .unwrap();
        assert!(
            within(cli(&server, "TTL user:a").await),
            "a condition that does not hold"
        );

        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        tx.set_for("user:b", "1", Duration::from_secs(100)).unwrap();
        assert_eq!(tx.get("user:b").await.unwrap().as_deref(), Some(&b"1"[..]));
        store.prepare(tx, &work).await.unwrap();
        store.commit_prepared(&work).await.unwrap();
        assert!(within(cli(&server, "TTL user:b").await));
        let mut tx = store.begin().await.unwrap();
        is(
            &tx.set_for("user:c", "1", Duration::ZERO),
            ErrorKind::Refused,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lapsed_is_removed_after_its_retention_and_no_earlier() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let short = Duration::from_millis(100);
        let lapsed = claim("lapsed").with_retention(exactly_once::Retention::new(short).unwrap());
        let renewed = claim("renewed").with_retention(exactly_once::Retention::new(short).unwrap());
        let kept = claim("kept");
        for claim in [&lapsed, &renewed, &kept] {
            let leased = store.lease(claim, short).await.unwrap();
            let Leased::Granted(lease) = leased else {
                panic!("not granted");
            };
            if claim.key() == renewed.key() {
                let long = Duration::from_secs(60);
                store.renew(claim, lease.token, long).await.unwrap();
            }
        }
        sleep(Duration::from_millis(300)).await;
        assert_eq!(store.expire(10).await.unwrap(), 1);
        assert!(store.lookup(lapsed.key()).await.unwrap().is_none());
        assert!(store.lookup(renewed.key()).await.unwrap().is_some());
        assert!(store.lookup(kept.key()).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_a_url_like_any_other() {
    for options in both() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s").to_str().unwrap().to_owned();
        let _server = options
            .setting("unixsocket", &socket)
            .start()
            .await
            .unwrap();
        let store = AnyStore::connect(&format!("unix://{socket}"))
            .await
            .unwrap();
        assert_eq!(store.backend(), "redis");
        assert!(store.lookup(&key("none")).await.unwrap().is_none());
    }
}

// A transaction that has read an account refuses nothing by what the account was then: the work would
// take the refusal for its answer, and the key would keep it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_refuses_nothing_by_what_it_read_before() {
    let server = Redis::start().await.unwrap();
    let store = connect(&server).await.unwrap();
    open(&store).await;
    let mut tx = store.begin().await.unwrap();
    store.adjust_in(&mut tx, &adjust("one", 1)).await.unwrap();
    store.adjust(&adjust("ten", 10)).await.unwrap();
    let answer = store.adjust_in(&mut tx, &adjust("debit", -5)).await;
    is(&answer, ErrorKind::Busy);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let applied = store.adjust_in(&mut tx, &adjust("debit", -5)).await;
    assert_eq!(applied.unwrap().change.after, Amount::new(5));
    let refused = store.adjust_in(&mut tx, &adjust("more", -6)).await;
    is(&refused, ErrorKind::InsufficientFunds);
    store.commit(tx).await.unwrap();
}
