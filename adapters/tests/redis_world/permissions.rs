//! Users that lack a command, and commands under another name.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_command_is_refused_with_the_line_that_allows_it() {
    for options in both() {
        let server = options.start().await.unwrap();
        let url = server.url().replace("redis://", "redis://app:pw@");
        for lacking in [
            "set", "hset", "zadd", "hdel", "zrem", "hsetnx", "evalsha", "info",
        ] {
            cli(
                &server,
                &format!("ACL SETUSER app reset on >pw ~* &* +@all -{lacking}"),
            )
            .await;
            let refused = RedisStore::builder(&url).connect().await;
            is(&refused, ErrorKind::Configuration);
            let text = refused.unwrap_err().to_string();
            assert!(
                text.contains(&lacking.to_ascii_uppercase()),
                "{lacking}: {text}"
            );
            assert!(
                text.contains("ACL SETUSER app +") && !text.contains("pw"),
                "{text}"
            );
        }
        // A user with this line, and the keys of the statements, can do everything.
        cli(&server, "ACL SETUSER app reset on >pw ~* +@all -set").await;
        let refused = RedisStore::builder(&url).connect().await.unwrap_err();
        let text = refused.to_string();
        let line = text.split('`').nth(1).unwrap().to_owned();
        cli(&server, "ACL SETUSER app reset on >pw ~user:*").await;
        cli(&server, &line).await;
        let store = RedisStore::builder(&url).connect().await.unwrap();
        open(&store).await;
        all_of_it(&store, "allowed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_command_is_refused_by_its_name() {
    for options in both() {
        let server = options
            .setting("rename-command", "HSET \"\"")
            .start()
            .await
            .unwrap();
        let refused = connect(&server).await;
        is(&refused, ErrorKind::Configuration);
        assert!(refused.unwrap_err().to_string().contains("HSET"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_lost_in_between_is_ambiguous_and_then_named() {
    for options in both() {
        let server = options.start().await.unwrap();
        let url = server.url().replace("redis://", "redis://app:pw@");
        cli(&server, "ACL SETUSER app reset on >pw ~* &* +@all").await;
        for group_from in [0, 1000] {
            cli(&server, "ACL SETUSER app +set").await;
            let builder = RedisStore::builder(&url).group_from(group_from);
            let store = builder.connect().await.unwrap();
            let _ = store
                .open_account(&OpenAccount::new(key("open"), account()))
                .await;
            cli(&server, "ACL SETUSER app -set").await;
            // The change stands, its record does not: no answer may say that nothing was done.
            let name = format!("k{group_from}");
            is(&store.adjust(&adjust(&name, 1)).await, ErrorKind::Ambiguous);
            let next = store.adjust(&adjust(&name, 1)).await;
            is(&next, ErrorKind::Configuration);
            assert!(next.unwrap_err().to_string().contains("ACL SETUSER app +"));
        }
    }
}
