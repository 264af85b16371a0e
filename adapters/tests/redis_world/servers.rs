//! Roles, loading, settings, memory and locale of the server.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused_and_a_demoted_master_left() {
    for (options, other) in both().into_iter().zip(both()) {
        let (server, next) = (options.start().await.unwrap(), other.start().await.unwrap());
        let store = connect(&server).await.unwrap();
        open(&store).await;
        let work = participation(&store, "t").await;
        cli(&server, &format!("REPLICAOF 127.0.0.1 {}", next.port())).await;
        // Its data is stale from here on: nothing may be answered from it.
        is(&store.lookup(&key("none")).await, ErrorKind::Unavailable);
        is(&store.prepared_status(&work).await, ErrorKind::Unavailable);
        is(&store.decision(&work).await, ErrorKind::Unavailable);
        is(
            &store.claim(&claim("k")).await.map(|_| ()),
            ErrorKind::Unavailable,
        );
        is(&store.balance(&account()).await, ErrorKind::Unavailable);
        is(
            &store.adjust(&adjust("open", 1)).await,
            ErrorKind::Unavailable,
        );
        let refused = connect(&server).await;
        is(&refused, ErrorKind::Configuration);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("replica of 127.0.0.1")
        );
        cli(&server, "REPLICAOF NO ONE").await;
        // The rewrite that follows a synchronisation has to end first.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = store.balance(&account()).await {
            assert!(error.is_retryable() && Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_is_waited_for() {
    for options in both() {
        let server = options.start().await.unwrap();
        cli(&server, "DEBUG POPULATE 4000 user 10").await;
        cli(&server, "BGREWRITEAOF").await;
        while cli(&server, "INFO persistence")
            .await
            .contains("aof_rewrite_in_progress:1")
        {
            sleep(Duration::from_millis(20)).await;
        }
        cli(&server, "CONFIG SET key-load-delay 1000").await;
        cli(
            &server,
            "CONFIG SET loading-process-events-interval-bytes 1024",
        )
        .await;
        let loading = async { server.cli(["DEBUG", "LOADAOF"]).await.unwrap() };
        let asking = async {
            let mut waited = 0;
            let deadline = Instant::now() + Duration::from_secs(3);
            while Instant::now() < deadline {
                sleep(Duration::from_millis(50)).await;
                match RedisStore::builder(server.url()).connect().await {
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                        waited += 1;
                    }
                }
            }
            waited
        };
        let (_, waited) = tokio::join!(loading, asking);
        assert!(waited > 0, "never met while it loads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_again_on_each_new_connection() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        open(&store).await;
        cli(&server, "CONFIG SET appendfsync everysec").await;
        cli(&server, "CLIENT KILL TYPE normal").await;
        sleep(Duration::from_millis(600)).await;
        let answer = store.adjust(&adjust("k", 1)).await;
        is(&answer, ErrorKind::Configuration);
        assert!(answer.unwrap_err().to_string().contains("appendfsync"));
        cli(&server, "CONFIG SET appendfsync always").await;
        store.adjust(&adjust("k", 1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_the_append_only_file_is_whole() {
    for (options, again) in both().into_iter().zip(both()) {
        let server = options.setting("appendonly", "no").start().await.unwrap();
        cli(&server, "DEBUG POPULATE 2000 user 10").await;
        cli(&server, "CONFIG SET rdb-key-save-delay 1000").await;
        cli(&server, "CONFIG SET appendonly yes").await;
        let early = connect(&server).await;
        is(&early, ErrorKind::Unavailable);
        assert!(early.unwrap_err().to_string().contains("rewritten"));
        let store = loop {
            match connect(&server).await {
                Ok(store) => break store,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        };
        open(&store).await;
        server.kill();
        let folder = server.server().folder().to_str().unwrap().to_owned();
        let next = again.setting("dir", folder).start().await.unwrap();
        let again = connect(&next).await.unwrap();
        assert!(
            again.balance(&account()).await.unwrap().is_some(),
            "acknowledged, and gone"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_its_promises() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let leased = claim("leased");
        let lease = store.lease(&leased, Duration::from_secs(60)).await.unwrap();
        let Leased::Granted(lease) = lease else {
            panic!("not granted");
        };
        let (committed, dropped) = ("committed", "rolled back");
        let committed = participation(&store, committed).await;
        let dropped = participation(&store, dropped).await;
        for work in [&committed, &dropped] {
            let mut tx = begun(&store, work).await;
            tx.set(format!("user:{}", work.transaction()), "1").unwrap();
            store.prepare(tx, work).await.unwrap();
        }
        let refused = participation(&store, "too late").await;
        let mut tx = begun(&store, &refused).await;
        tx.set("user:refused", "1").unwrap();
        cli(&server, "CONFIG SET maxmemory 1").await;
        is(&store.prepare(tx, &refused).await, ErrorKind::Unavailable);
        let decided = store.decide(&committed, Decision::Commit).await;
        assert_eq!(decided.unwrap(), Decision::Commit);
        store.commit_prepared(&committed).await.unwrap();
        store.rollback_prepared(&dropped).await.unwrap();
        store.finish(&committed, Decision::Commit).await.unwrap();
        let outcome = Outcome::Applied(Receipt::default());
        store
            .finalize(&leased, lease.token, &outcome)
            .await
            .unwrap();
        // And a new handle can do it too.
        let again = connect(&server).await.unwrap();
        let status = again.prepared_status(&committed).await.unwrap();
        assert_eq!(status, PreparedStatus::Committed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_another_locale_changes_no_footprint() {
    for (options, other) in both().into_iter().zip(both()) {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let names: Vec<String> = ["a", "B", "_", "é", "É", "z", "10", "9", "-1"]
            .iter()
            .flat_map(|first| (0..40).map(move |n| format!("{first}{n}")))
            .collect();
        let members = ["SADD", "user:ids"].into_iter();
        server
            .cli(members.chain(names.iter().map(String::as_str)))
            .await
            .unwrap();
        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        assert_eq!(tx.smembers("user:ids").await.unwrap().len(), names.len());
        tx.sadd("user:ids", "new").unwrap();
        store.prepare(tx, &work).await.unwrap();
        server.stop().await.unwrap();
        let folder = server.server().folder().to_str().unwrap().to_owned();
        let utf8 = other.setting("dir", folder).utf8_locale().unwrap();
        let moved = utf8.start().await.unwrap();
        let store = connect(&moved).await.unwrap();
        store.commit_prepared(&work).await.unwrap();
        assert_eq!(cli(&moved, "SISMEMBER user:ids new").await, "1");
        // And what is read under it stays what it is.
        for round in 0..5 {
            let mut tx = store.begin().await.unwrap();
            tx.smembers("user:ids").await.unwrap();
            tx.incr_by("user:rounds", 1).unwrap();
            store
                .commit(tx)
                .await
                .unwrap_or_else(|error| panic!("{round}: {error}"));
        }
    }
}
