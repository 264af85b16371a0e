//! A leased effect whose store fails in the middle: the table of kinds decides, and nothing else.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    Capabilities, Claim, Error, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Namespace,
    Outcome, Place, Result, Store, StoreIdentity, Timestamp,
    engine::{
        Effects,
        script::{Ended, Script},
    },
    memory::MemoryStore,
};

/// Long enough for a machine under load to renew in time, and renewed after a third.
const TTL: Duration = Duration::from_millis(900);

/// A store whose first call of a method fails.
#[derive(Clone)]
struct Moody {
    store: MemoryStore,
    kind: ErrorKind,
    renews: Fails,
    finalizes: Fails,
}

#[derive(Clone, Default)]
struct Fails {
    left: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl Fails {
    fn call(&self, kind: ErrorKind) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = |left: u32| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
        {
            Ok(_) => Err(Error::new(kind, "lease", "moody").with_message("by script")),
            Err(_) => Ok(()),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Moody {
    fn new(kind: ErrorKind) -> Self {
        Self {
            store: MemoryStore::new(),
            kind,
            renews: Fails::default(),
            finalizes: Fails::default(),
        }
    }

    fn fails(fails: &Fails) {
        fails.left.store(1, Ordering::SeqCst);
    }
}

impl Store for Moody {
    fn backend(&self) -> &'static str {
        self.store.backend()
    }
    fn place(&self) -> Place {
        self.store.place()
    }
    fn namespace(&self) -> &Namespace {
        self.store.namespace()
    }
    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self {
            store: self.store.with_namespace(namespace),
            ..self.clone()
        }
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn now(&self) -> Result<Timestamp> {
        self.store.now().await
    }
    async fn identity(&self) -> Result<StoreIdentity> {
        self.store.identity().await
    }
    async fn adopt(&self) -> Result<StoreIdentity> {
        self.store.adopt().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl LeaseStore for Moody {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        self.store.lease(claim, ttl).await
    }
    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        self.renews.call(self.kind)?;
        self.store.renew(claim, token, ttl).await
    }
    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        self.finalizes.call(self.kind)?;
        self.store.finalize(claim, token, outcome).await
    }
    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        self.store.release(claim, token).await
    }
}

/// Sends a mail, which takes until the lease was renewed this many times. Returns how often it was sent.
async fn send(store: &Moody, renewals: u32) -> (Ended<u32>, u32) {
    let sent = Arc::new(AtomicU32::new(0));
    let script = Script::new();
    let ended = script
        .attempt(async |ctx| {
            let (sent, renews) = (sent.clone(), store.renews.clone());
            let work = move |_| async move {
                let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
                while renews.calls() < renewals {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(number)
            };
            ctx.leased_effect(store, "send", &1, TTL, work).await
        })
        .await;
    (ended, sent.load(Ordering::SeqCst))
}

/// The lease is in force still, and what was done outside must be recorded.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_succeed_later_stops_no_work_and_is_tried_again() {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Ambiguous,
        ErrorKind::Configuration,
        ErrorKind::Unreadable,
    ] {
        let store = Moody::new(kind);
        Moody::fails(&store.renews);
        Moody::fails(&store.finalizes);
        let (ended, sent) = send(&store, 2).await;
        assert!(
            matches!(ended, Ended::Returned(Ok(1))),
            "{kind:?}: {ended:?}"
        );
        assert_eq!((sent, store.finalizes.calls()), (1, 2), "{kind:?}");
    }
}

/// Another attempt may begin once the lease expires, so the work stops; the next attempt learns how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_can_not_be_renewed_stops_the_work_and_says_why() {
    for (kind, says) in [
        (ErrorKind::Fenced, "the lease was lost"),
        (ErrorKind::Invalid, "the lease can't be renewed"),
        (ErrorKind::Lost, "the lease can't be renewed"),
    ] {
        let store = Moody::new(kind);
        Moody::fails(&store.renews);
        let (ended, sent) = send(&store, u32::MAX).await;
        let Ended::Retry(retry) = ended else {
            unreachable!("{kind:?}: {ended:?}");
        };
        assert_eq!(retry.error().kind(), ErrorKind::Ambiguous, "{kind:?}");
        assert!(
            retry.error().to_string().contains(says),
            "{}",
            retry.error()
        );
        assert_eq!((sent, store.finalizes.calls()), (1, 0), "{kind:?}");
    }
}
