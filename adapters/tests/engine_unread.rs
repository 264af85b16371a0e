//! A retry that can't read its request, on an engine without a journal: an earlier attempt may have applied
//! the effect, and its message may still be under way.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/deliveries.rs"]
mod deliveries;

use std::time::Duration;

use deliveries::{Message, Undone};
use exactly_once::{
    Error, ErrorKind, IdempotencyKey, Retention, Returning, Statement, Store,
    engine::{Effect, Effects, Refusal, Step, TransactionIdentity},
    memory::{MemoryStore, MemoryTx},
};
use serde::{Serialize, Serializer, ser::Error as _};

/// A request, as this version of the program reads it.
#[derive(Clone, Copy)]
enum Request {
    Read(i64),
    Unread,
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(cents) => cents.serialize(serializer),
            Self::Unread => Err(S::Error::custom("the field `cents` has no value")),
        }
    }
}

const READ: Request = Request::Read(5);

fn refusal() -> Error {
    Error::new(ErrorKind::Invalid, "serve", "test").with_message("`cents` is no number any more")
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Undone>) -> Refusal {
    match answer {
        Err(Undone::PutAside(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn retried<T: std::fmt::Debug>(answer: Result<T, Undone>) -> Error {
    match answer {
        Err(Undone::Redeliver(retry)) => retry.into_error(),
        other => panic!("{other:?}"),
    }
}

async fn pay(message: &Message, store: &MemoryStore, request: Request) -> Result<i64, Undone> {
    let work = async |tx: &mut MemoryTx| Ok(tx.add("paid", 5)?);
    let delivery = message.deliver();
    delivery.execute_once(store, "pay", &request, work).await
}

async fn append(message: &Message, store: &MemoryStore, request: Request) -> Result<u64, Undone> {
    let statement = Statement::new("append").bind("paid").bind("x");
    let effect = Effect::of_request(&request).statement(statement);
    let delivery = message.deliver();
    delivery.one_shot(store, "pay", effect.value(&7)).await
}

async fn send(message: &Message, store: &MemoryStore, request: Request) -> Result<u64, Undone> {
    const TTL: Duration = Duration::from_secs(30);
    let delivery = message.deliver();
    let sent = |_| async { Ok(7) };
    delivery
        .leased_effect(store, "send", &request, TTL, sent)
        .await
}

#[tokio::test]
async fn what_an_earlier_attempt_has_applied_is_the_answer() {
    let store = MemoryStore::new();
    let message = Message::new("executed");
    assert_eq!(pay(&message, &store, READ).await.unwrap(), 5);
    assert_eq!(pay(&message, &store, Request::Unread).await.unwrap(), 5);
    let delivery = message.deliver();
    let answer = delivery.refuse::<_, i64>(&store, "pay", refusal()).await;
    assert_eq!(answer.unwrap(), 5);

    let message = Message::new("one-shot");
    assert_eq!(append(&message, &store, READ).await.unwrap(), 7);
    assert_eq!(append(&message, &store, Request::Unread).await.unwrap(), 7);
}

#[tokio::test]
async fn a_refusal_stands_against_the_message_of_an_earlier_attempt() {
    let store = MemoryStore::new();
    let messages = ["executed", "one-shot", "refused", "sent"].map(Message::new);
    let [executed, one_shot, by_hand, sent] = &messages;
    let answers = [
        refused(pay(executed, &store, Request::Unread).await),
        refused(append(one_shot, &store, Request::Unread).await),
        refused(
            by_hand
                .deliver()
                .refuse::<_, i64>(&store, "pay", refusal())
                .await,
        ),
        refused(send(sent, &store, Request::Unread).await),
    ];
    for answer in &answers {
        assert_eq!(answer.kind(), ErrorKind::Invalid, "{answer}");
    }
    // Each delivery gets the same, in the same words.
    assert_eq!(
        refused(pay(executed, &store, Request::Unread).await),
        answers[0]
    );
    assert_eq!(
        refused(send(sent, &store, Request::Unread).await),
        answers[3]
    );
    // What was under way arrives.
    for late in [
        refused(pay(executed, &store, READ).await),
        refused(append(one_shot, &store, READ).await),
        refused(pay(by_hand, &store, READ).await),
        refused(send(sent, &store, READ).await),
    ] {
        assert_eq!(late.kind(), ErrorKind::Mismatch, "{late}");
    }
    assert_eq!(store.get("paid"), None);
}

/// A lease can't be looked up without its request.
#[tokio::test]
async fn a_leased_effect_that_was_claimed_before_is_not_refused() {
    let store = MemoryStore::new();
    let message = Message::new("sent");
    assert_eq!(send(&message, &store, READ).await.unwrap(), 7);
    let answer = retried(send(&message, &store, Request::Unread).await);
    assert_eq!(answer.kind(), ErrorKind::Configuration, "{answer}");
    assert!(answer.to_string().contains("cents"), "{answer}");
    assert_eq!(send(&message, &store, READ).await.unwrap(), 7);
}

/// Two stores, and a name and deadlines for each transaction.
struct Shop {
    orders: MemoryStore,
    stock: MemoryStore,
}

impl Shop {
    fn new() -> Self {
        Self {
            orders: MemoryStore::new(),
            stock: MemoryStore::new(),
        }
    }

    async fn identity(&self, name: &str) -> TransactionIdentity {
        let now = self.orders.now().await.unwrap();
        let key = IdempotencyKey::new(name).unwrap();
        let deadline = Duration::from_secs(60);
        TransactionIdentity::new(key, now, deadline, Retention::default()).unwrap()
    }

    async fn order(&self, identity: &TransactionIdentity, request: Request) -> Result<(), Undone> {
        let message = Message::new("order");
        let (orders, stock) = (self.orders.clone(), self.stock.clone());
        let row = || vec![Statement::new("append").bind("row").bind("x")];
        let delivery = message.deliver();
        delivery
            .two_phase_as(&self.orders, "order", identity, &request, |order| {
                order
                    .one_shot_participant("orders", &orders, row())
                    .one_shot_participant("stock", &stock, row())
            })
            .await
    }

    async fn refuse(&self, identity: &TransactionIdentity) -> Result<(), Undone> {
        let delivery = Message::new("order").deliver();
        let (orders, stock) = (self.orders.clone(), self.stock.clone());
        let work = || {
            async |tx: &mut MemoryTx| {
                tx.append("row", b"x");
                Ok(())
            }
        };
        delivery
            .refuse_two_phase_as(&self.orders, "order", identity, refusal(), |order| {
                order
                    .participant("orders", &orders, work())
                    .participant("stock", &stock, work())
            })
            .await
    }

    fn rows(&self) -> [usize; 2] {
        [&self.orders, &self.stock].map(|store| store.get("row").map_or(0, |row| row.len()))
    }
}

#[tokio::test]
async fn a_transaction_that_an_earlier_attempt_has_committed_is_not_refused() {
    let shop = Shop::new();
    let identity = shop.identity("order-17").await;
    shop.order(&identity, READ).await.unwrap();
    for answer in [
        retried(shop.order(&identity, Request::Unread).await),
        retried(shop.refuse(&identity).await),
    ] {
        assert_eq!(answer.kind(), ErrorKind::Configuration, "{answer}");
        assert!(answer.to_string().contains("cents"), "{answer}");
    }
    // A program that can read it again gets the outcome.
    shop.order(&identity, READ).await.unwrap();
    assert_eq!(shop.rows(), [1, 1]);
}

#[tokio::test]
async fn a_transaction_that_is_refused_is_rolled_back_everywhere_before_it_is_reported() {
    let shop = Shop::new();
    for name in ["unread", "refused"] {
        let identity = shop.identity(name).await;
        let refuse = || async {
            match name {
                "unread" => shop.order(&identity, Request::Unread).await,
                _ => shop.refuse(&identity).await,
            }
        };
        let answer = refused(refuse().await);
        assert_eq!(answer.kind(), ErrorKind::Invalid, "{answer}");
        assert!(answer.message().contains("cents"), "{answer}");
        assert_eq!(refused(refuse().await), answer);
        let late = refused(shop.order(&identity, READ).await);
        assert_eq!(late.kind(), ErrorKind::Mismatch, "{late}");
        assert_eq!(shop.rows(), [0, 0]);
    }
}

/// Without an identity nothing can have begun, and the reason is what the caller has to know.
#[tokio::test]
async fn a_transaction_without_an_identity_is_refused_with_its_reason() {
    let shop = Shop::new();
    let delivery = Message::new("order").deliver();
    let refused_by = delivery.refuse_two_phase(&shop.orders, "order", refusal(), |order| order);
    let answer = refused(refused_by.await);
    assert_eq!(answer.kind(), ErrorKind::Invalid, "{answer}");
    assert!(answer.message().contains("no number any more"), "{answer}");
    let unread = Request::Unread;
    let bare = delivery.two_phase(&shop.orders, Step::named("other"), &unread, |order| order);
    assert_eq!(refused(bare.await).kind(), ErrorKind::Invalid);
    let bare = delivery.two_phase(&shop.orders, Step::named("third"), &READ, |order| order);
    assert_eq!(refused(bare.await).kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn rows_that_an_earlier_attempt_has_made_are_the_answer() {
    let store = MemoryStore::new();
    let message = Message::new("rows");
    let answer = async |request: Request| {
        let statement = Statement::new("append").bind("paid").bind("x");
        let statement = statement.returning(Returning::rows(1));
        let effect = Effect::of_request(&request).statement(statement);
        let delivery = message.deliver();
        let returned = delivery.one_shot(&store, "pay", effect.returned());
        returned.await.unwrap().into_last().as_json().to_string()
    };
    let made = answer(READ).await;
    assert_eq!(answer(Request::Unread).await, made);
}
