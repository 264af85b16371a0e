//! Two flows over three stores.

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, AnyTx, BalanceStore, BalanceTransaction, BegunPrepared,
    Decision, DecisionRegister, Fingerprint, IdempotencyKey, Namespace, OpenAccount, Participants,
    Participation, PreparedStatus, PreparedTransactions, Store, Timestamp, TransactionId,
    identity_of,
    two_phase::{SweepReport, Sweeper},
};

/// Flow 1 is orders and stock, flow 2 shipping and stock; each has its register in its first store.
pub(crate) struct Flows {
    pub(crate) orders: AnyStore,
    pub(crate) stock: AnyStore,
    pub(crate) shipping: AnyStore,
}

pub(crate) fn account() -> AccountId {
    AccountId::new("units").unwrap()
}

pub(crate) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

impl Flows {
    /// Each fault in namespaces of its own: a sweep takes all that is late.
    pub(crate) async fn new(first: &AnyStore, second: &AnyStore, fault: &str) -> Self {
        let within = |store: &AnyStore, name: &str| {
            store.with_namespace(Namespace::new(format!("{fault}/{name}")).unwrap())
        };
        let flows = Self {
            orders: within(first, "orders"),
            stock: within(second, "stock"),
            shipping: within(first, "shipping"),
        };
        for store in flows.all() {
            let open = OpenAccount::new(key("open"), account());
            store.open_account(&open).await.unwrap();
        }
        flows
    }

    pub(crate) fn all(&self) -> [&AnyStore; 3] {
        [&self.orders, &self.stock, &self.shipping]
    }

    /// Of flow 1, as its coordinator completes it.
    pub(crate) async fn transaction(&self, millis: u64) -> (Participation, Participation) {
        let mut now = Timestamp::from_micros(0);
        for store in self.all() {
            now = now.max(store.now().await.unwrap());
        }
        let not_after = now.checked_add(Duration::from_millis(millis)).unwrap();
        let forget_after = not_after.checked_add(Duration::from_secs(1)).unwrap();
        let name = TransactionId::new("order 17").unwrap();
        let request = Fingerprint::of("order", &17).unwrap();
        let plain = Participation::new(&name, request, not_after, forget_after).unwrap();
        let held = identity_of(&self.orders).await.unwrap();
        let other = identity_of(&self.stock).await.unwrap();
        let entitled = plain
            .clone()
            .entitled(held, Participants::of([held, other]));
        (plain, entitled)
    }

    /// Prepared at both, and decided: then the coordinator dies.
    pub(crate) async fn decided(&self) -> Participation {
        let (_, work) = self.transaction(3_000).await;
        for store in [&self.orders, &self.stock] {
            prepare(store, &work).await;
        }
        let decided = self.orders.decide(&work, Decision::Commit).await.unwrap();
        assert_eq!(decided, Decision::Commit, "in time");
        self.wait(work.not_after()).await;
        work
    }

    pub(crate) async fn wait(&self, until: Timestamp) {
        for store in self.all() {
            while store.now().await.unwrap() <= until {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// A sweeper over one register, and these participants.
    pub(crate) fn sweeper(
        register: &AnyStore,
        participants: &[(&str, &AnyStore)],
    ) -> Sweeper<AnyStore> {
        let mut sweeper = Sweeper::new(register.clone());
        for (name, store) in participants {
            sweeper = sweeper.participant(*name, (*store).clone()).unwrap();
        }
        sweeper
    }

    pub(crate) async fn right(&self) -> SweepReport {
        let both = [("orders", &self.orders), ("stock", &self.stock)];
        Self::sweeper(&self.orders, &both).sweep().await.unwrap()
    }

    pub(crate) async fn ensure(
        &self,
        work: &Participation,
        orders: PreparedStatus,
        stock: PreparedStatus,
    ) {
        for (store, expected) in [(&self.orders, orders), (&self.stock, stock)] {
            let status = store.prepared_status(work).await.unwrap();
            assert_eq!(status, expected, "{}", store.backend());
            let credited = i64::from(expected == PreparedStatus::Committed);
            let state = store.balance(&account()).await.unwrap().unwrap();
            assert_eq!(state.amount, Amount::new(credited), "{}", store.backend());
        }
    }

    pub(crate) async fn finished(&self, work: &Participation) -> bool {
        let entry = self.orders.decision(work).await.unwrap();
        entry.unwrap().finished
    }
}

pub(crate) async fn prepare(store: &AnyStore, work: &Participation) {
    let BegunPrepared::Fresh(mut tx) = store.begin_prepared(work).await.unwrap() else {
        panic!("it is not fresh");
    };
    credit(store, &mut tx).await.unwrap();
    store.prepare(tx, work).await.unwrap();
}

pub(crate) async fn credit(store: &AnyStore, tx: &mut AnyTx) -> exactly_once::Result<()> {
    let credit = Adjust::new(key("credit"), account(), Amount::new(1));
    store.adjust_in(tx, &credit).await.map(drop)
}
