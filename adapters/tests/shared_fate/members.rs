//! The members of a batch that do nothing wrong.

use std::{future::Future, time::Duration};

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claim, CloseAccount, CompareAndSet, Decision,
    DecisionRegister, Error, Expected, FencingToken, Fingerprint, IdempotencyKey, IdempotencyStore,
    LeaseStore, Leased, OneShot, OneShotParticipant, OneShotStore, OpenAccount, Outcome,
    Participation, Receipt, Statement, Store, Transfer, Version,
};
use futures_util::{FutureExt, future::BoxFuture, future::join_all};

use crate::{Ground, world};

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shot,
    Replay,
    Lookup,
    Lease,
    Renew,
    Finalize,
    Release,
    Adjust,
    CompareAndSet,
    Transfer,
    Open,
    Close,
    Decide,
    Finish,
    Forget,
    Expire,
    Prepare,
    CommitPrepared,
    RollBackPrepared,
}

impl Kind {
    pub(crate) const ALL: [Self; 19] = [
        Self::Shot,
        Self::Replay,
        Self::Lookup,
        Self::Lease,
        Self::Renew,
        Self::Finalize,
        Self::Release,
        Self::Adjust,
        Self::CompareAndSet,
        Self::Transfer,
        Self::Open,
        Self::Close,
        Self::Decide,
        Self::Finish,
        Self::Forget,
        Self::Expire,
        Self::Prepare,
        Self::CommitPrepared,
        Self::RollBackPrepared,
    ];
}

const TTL: Duration = Duration::from_secs(600);

/// What stands before the calls of one copy of the members.
struct Copy {
    name: String,
    shot: OneShot,
    replay: OneShot,
    tokens: [FencingToken; 3],
    forget: OneShot,
    decide: Participation,
    finish: Participation,
    /// To be prepared, committed and rolled back.
    work: [Participation; 3],
}

/// All members of a round.
pub(crate) struct Members<'a, S> {
    store: &'a S,
    effect: Box<dyn Fn(&str) -> Statement + Sync + 'a>,
    copies: Vec<Copy>,
}

pub(crate) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

pub(crate) fn claim(name: &str) -> Claim {
    Claim::new(key(name), Fingerprint::of("test", name).unwrap())
}

pub(crate) fn shot(name: &str, statements: Vec<Statement>) -> OneShot {
    OneShot {
        claim: claim(name),
        statements,
        receipt: Receipt::json("done").unwrap(),
    }
}

impl Copy {
    fn claim(&self, what: &str) -> Claim {
        claim(&format!("{} {what}", self.name))
    }

    fn key(&self, what: &str) -> IdempotencyKey {
        key(&format!("{} {what}", self.name))
    }

    fn account(&self, what: &str) -> AccountId {
        AccountId::new(format!("{} {what}", self.name)).unwrap()
    }
}

/// The accounts of a copy, by what is done to them.
const ACCOUNTS: [&str; 5] = ["adjusted", "set", "from", "to", "closed"];
const LEASES: [&str; 3] = ["renew", "finalize", "release"];
const WORK: [&str; 3] = ["prepare", "commit", "roll back"];

/// With deadlines that no slow machine meets.
pub(crate) async fn participation(store: &impl Store, name: &str) -> Participation {
    let now = store.now().await.unwrap();
    let after = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    world::between(name, after(3_600), after(7_200))
}

impl<'a, S> Members<'a, S>
where
    S: IdempotencyStore
        + OneShotStore
        + LeaseStore
        + BalanceStore
        + DecisionRegister
        + OneShotParticipant,
{
    pub(crate) async fn prepare(
        ground: &'a impl Ground<Store = S>,
        round: &str,
        copies: usize,
    ) -> Self {
        let store = ground.store();
        let copies = (0..copies).map(|number| async move {
            let name = format!("{round} copy {number}");
            let effect = |what: &str| {
                let name = format!("{name} {what}");
                shot(&name, vec![ground.effect(&name)])
            };
            let (shot, replay, forget) = (effect("shot"), effect("replay"), effect("forget"));
            store.execute_one_shot(&replay).await.unwrap();
            store.execute_one_shot(&forget).await.unwrap();
            for what in ACCOUNTS {
                let account = AccountId::new(format!("{name} {what}")).unwrap();
                let open = OpenAccount::new(key(&format!("{name} open {what}")), account);
                let amount = if what == "closed" { 0 } else { 100 };
                let open = open.with_amount(Amount::new(amount));
                store.open_account(&open).await.unwrap();
            }
            let mut tokens = [FencingToken::new(0); 3];
            for (what, token) in LEASES.into_iter().zip(&mut tokens) {
                match store.lease(&claim(&format!("{name} {what}")), TTL).await {
                    Ok(Leased::Granted(lease)) => *token = lease.token,
                    other => panic!("{other:?}"),
                }
            }
            let decide = world::participation(store, &format!("{name} decide")).await;
            let finish = world::participation(store, &format!("{name} finish")).await;
            store.decide(&finish, Decision::Commit).await.unwrap();
            let mut work = Vec::new();
            for what in WORK {
                let part = participation(store, &format!("{name} {what}")).await;
                if what != "prepare" {
                    let effect = ground.effect(&format!("{name} {what}"));
                    store.prepare_one_shot(&part, &[effect]).await.unwrap();
                }
                work.push(part);
            }
            Copy {
                name,
                shot,
                replay,
                tokens,
                forget,
                decide,
                finish,
                work: work.try_into().unwrap(),
            }
        });
        Self {
            store,
            effect: Box::new(|name| ground.effect(name)),
            copies: join_all(copies).await,
        }
    }

    /// The answer of one member, without what differs from copy to copy.
    pub(crate) async fn call(&self, kind: Kind, copy: usize) -> String {
        let answer = self.ask(kind, &self.copies[copy]).await;
        format!("{:?}", answer.map_err(|error| error.kind()))
    }

    fn ask<'s>(&'s self, kind: Kind, copy: &'s Copy) -> BoxFuture<'s, Result<String, Error>> {
        let store = self.store;
        let done = |replayed: bool, version: Version| format!("{replayed} {version}");
        async move {
            Ok(match kind {
                Kind::Shot => format!("{:?}", store.execute_one_shot(&copy.shot).await?),
                Kind::Replay => format!("{:?}", store.execute_one_shot(&copy.replay).await?),
                Kind::Lookup => {
                    let record = store.lookup(copy.replay.claim.key()).await?;
                    format!("{}", record.is_some())
                }
                Kind::Lease => {
                    let leased = store.lease(&copy.claim("lease"), TTL).await?;
                    format!("{}", matches!(leased, Leased::Granted(_)))
                }
                Kind::Renew => {
                    let lease = store
                        .renew(&copy.claim("renew"), copy.tokens[0], TTL)
                        .await?;
                    format!("{}", lease.token == copy.tokens[0])
                }
                Kind::Finalize => {
                    let outcome = Outcome::Applied(Receipt::json("done").unwrap());
                    let claim = copy.claim("finalize");
                    store.finalize(&claim, copy.tokens[1], &outcome).await?;
                    "finalized".to_owned()
                }
                Kind::Release => {
                    store
                        .release(&copy.claim("release"), copy.tokens[2])
                        .await?;
                    "released".to_owned()
                }
                Kind::Adjust => {
                    let account = copy.account("adjusted");
                    let change = Adjust::new(copy.key("adjust"), account, Amount::new(-7));
                    let applied = store.adjust(&change).await?;
                    done(applied.replayed, applied.change.version)
                }
                Kind::CompareAndSet => {
                    let expected = Expected::Version(Version::FIRST);
                    let account = copy.account("set");
                    let change =
                        CompareAndSet::new(copy.key("set to"), account, expected, Amount::new(5));
                    let applied = store.compare_and_set(&change).await?;
                    done(applied.replayed, applied.change.version)
                }
                Kind::Transfer => {
                    let (from, to) = (copy.account("from"), copy.account("to"));
                    let change =
                        Transfer::between(copy.key("transfer"), from, to, Amount::new(9)).unwrap();
                    let applied = store.transfer(&change).await?;
                    done(applied.replayed, applied.changes[1].version)
                }
                Kind::Open => {
                    let change = OpenAccount::new(copy.key("open new"), copy.account("new"));
                    let applied = store.open_account(&change).await?;
                    done(applied.replayed, applied.change.version)
                }
                Kind::Close => {
                    let change = CloseAccount::new(copy.key("close"), copy.account("closed"));
                    let applied = store.close_account(&change).await?;
                    done(applied.replayed, applied.change.version)
                }
                Kind::Decide => {
                    format!("{:?}", store.decide(&copy.decide, Decision::Commit).await?)
                }
                Kind::Finish => {
                    store.finish(&copy.finish, Decision::Commit).await?;
                    "finished".to_owned()
                }
                Kind::Forget => format!("{}", store.forget(copy.forget.claim.key()).await?),
                Kind::Expire => format!("{}", store.expire(10).await?),
                Kind::Prepare => {
                    let effect = [(self.effect)(&format!("{} prepare", copy.name))];
                    format!(
                        "{:?}",
                        store.prepare_one_shot(&copy.work[0], &effect).await?
                    )
                }
                Kind::CommitPrepared => {
                    store.commit_prepared(&copy.work[1]).await?;
                    "committed".to_owned()
                }
                Kind::RollBackPrepared => {
                    store.rollback_prepared(&copy.work[2]).await?;
                    "rolled back".to_owned()
                }
            })
        }
        .boxed()
    }

    /// All members at once, with another call at the begin, in the middle or at the end.
    pub(crate) async fn beside<T>(
        &self,
        other: impl Future<Output = T>,
        at: usize,
    ) -> (T, Vec<((Kind, usize), String)>) {
        let all = (0..self.copies.len())
            .flat_map(|copy| Kind::ALL.map(|kind| (kind, copy)))
            .map(|(kind, copy)| async move { ((kind, copy), self.call(kind, copy).await) });
        let mut before: Vec<_> = all.collect();
        let after = before.split_off(before.len() * at / 2);
        let (mut answers, other, after) =
            futures_util::future::join3(join_all(before), other, join_all(after)).await;
        answers.extend(after);
        (other, answers)
    }

    /// Each effect is there once, and each balance is what its one change has made it.
    pub(crate) async fn ensure_effects(&self, ground: &impl Ground) {
        for copy in &self.copies {
            let effects = async |what: &str| ground.effects(&format!("{} {what}", copy.name)).await;
            for what in ["shot", "replay", "commit"] {
                assert_eq!(effects(what).await, 1, "{what}");
            }
            for what in ["prepare", "roll back"] {
                assert_eq!(effects(what).await, 0, "{what}");
            }
            // What was prepared beside the poison can be committed.
            self.store.commit_prepared(&copy.work[0]).await.unwrap();
            assert_eq!(effects("prepare").await, 1);
            for (what, amount) in [("adjusted", 93), ("set", 5), ("from", 91), ("to", 109)] {
                let state = self.store.balance(&copy.account(what)).await.unwrap();
                assert_eq!(state.unwrap().amount, Amount::new(amount), "{what}");
            }
        }
    }
}
