//! Mutants of a participant at the edges of its time, and of lists.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, Error, ErrorKind, InDoubtPage, Namespace,
    Participation, PreparedStatus, PreparedTransactions, RegisterEntry, RegisterPage, Result,
    Store, Timestamp, TransactionDigest,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::CaseResult;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{assert_killed, assert_told_apart},
    patch::Patch,
};

fn told<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, "mutant", "mutant"))
}

/// Whatever is past its time is forgotten, also while it is prepared.
#[derive(Clone, Default)]
struct ForgottenByTimeAlone;

impl Patch for ForgottenByTimeAlone {
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        if right.now().await? > asked.forget_after() {
            return told(ErrorKind::Forgotten);
        }
        right.rollback_prepared(asked).await
    }
}

#[test]
fn what_is_prepared_is_forgotten() {
    assert_killed::<ForgottenByTimeAlone>("prepared::late::t59_prepared_past_its_time");
}

/// Removes what is prepared with its time.
#[derive(Clone, Default)]
struct RemovesPrepared;

impl Patch for RemovesPrepared {
    async fn forget_prepared(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        let now = right.now().await?;
        for entry in right.in_doubt(None, 1_000).await?.entries {
            if now > entry.participation.forget_after() {
                right.rollback_prepared(&entry.participation).await?;
            }
        }
        right.forget_prepared(limit).await
    }
}

#[test]
fn what_is_prepared_is_removed() {
    assert_killed::<RemovesPrepared>("prepared::late::t59_prepared_past_its_time");
}

/// Tombstones have no fingerprint.
#[derive(Clone, Default)]
struct NamelessTombstone(Arc<Mutex<HashSet<TransactionDigest>>>);

impl Patch for NamelessTombstone {
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        let unknown = right.prepared_status(asked).await;
        if matches!(unknown, Ok(PreparedStatus::None)) {
            let mut tombstones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tombstones.insert(*asked.transaction());
        }
        right.rollback_prepared(asked).await
    }
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        match right.begin_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                let tombstones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match tombstones.contains(asked.transaction()) {
                    true => told(ErrorKind::RolledBack),
                    false => Err(error),
                }
            }
            answer => answer,
        }
    }
}

#[test]
fn tombstones_have_no_fingerprint() {
    assert_killed::<NamelessTombstone>("prepared::late::t17_tombstone_of_an_unknown");
}

/// Compares deadlines with the client's clock.
#[derive(Clone, Default)]
struct ClientClock(i64);

impl Patch for ClientClock {
    fn skewed(&self, seconds: i64) -> Self {
        Self(seconds)
    }
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        let now = right.now().await?.as_micros() + self.0 * 1_000_000;
        if now > asked.not_after().as_micros() {
            return told(ErrorKind::RolledBack);
        }
        right.begin_prepared(asked).await
    }
}

#[test]
fn deadlines_by_the_clients_clock() {
    assert_killed::<ClientClock>("prepared::late::t53_client_clock");
}

/// Prepares whatever transaction it is given.
#[derive(Clone, Default)]
struct PreparesAnything;

impl Patch for PreparesAnything {
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        match right.prepare(tx, asked).await {
            Err(error) if !error.is_retryable() && error.kind() != ErrorKind::RolledBack => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn any_transaction_is_prepared() {
    assert_killed::<PreparesAnything>("prepared::ground::t47_only_the_begun_one");
}

/// Says of pages that are just full that there is a next one.
#[derive(Clone, Default)]
struct AlwaysNext;

impl Patch for AlwaysNext {
    async fn in_doubt(
        &self,
        right: &MemoryStore,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<InDoubtPage> {
        let mut page = right.in_doubt(after, limit).await?;
        if page.entries.len() == limit as usize {
            let last = page.entries.last();
            page.next = last.map(|entry| *entry.participation.transaction());
        }
        Ok(page)
    }
    async fn unfinished(
        &self,
        right: &MemoryStore,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        let mut page = right.unfinished(after, limit).await?;
        if page.entries.len() == limit as usize {
            let last = page.entries.last();
            page.next = last.map(|entry| *entry.participation.transaction());
        }
        Ok(page)
    }
}

#[test]
fn full_pages_have_a_next_one() {
    assert_killed::<AlwaysNext>("prepared::late::t52_the_last_page");
    assert_killed::<AlwaysNext>("register::lists::r16_the_last_page");
}

/// The namespace is missing in the register's primary key: lists know it, decisions don't.
#[derive(Clone, Default)]
struct OneRegister;

fn one(right: &MemoryStore) -> Result<MemoryStore> {
    Ok(right.with_namespace(Namespace::new("one")?))
}

impl Patch for OneRegister {
    async fn decide(
        &self,
        right: &MemoryStore,
        asked: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        let decision = one(right)?.decide(asked, proposal).await?;
        right.decide(asked, decision).await
    }
    async fn decision(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<Option<RegisterEntry>> {
        right.decision(asked).await
    }
}

#[test]
fn one_register_for_all_namespaces() {
    assert_killed::<OneRegister>("register::lists::r15_namespaces_are_apart");
}

/// A participant whose beginning takes two requests: one for the clock, one for the marker. Right is
/// to look at the clock once the marker is in.
#[derive(Clone, Default)]
struct TwoRequests<const CLOCK_FIRST: bool>(Option<SocketAddr>);

impl<const CLOCK_FIRST: bool> TwoRequests<CLOCK_FIRST> {
    async fn round_trip(&self) -> Result<()> {
        let talk = async {
            let server = self.0.ok_or(std::io::ErrorKind::NotConnected)?;
            let mut stream = TcpStream::connect(server).await?;
            stream.write_u8(1).await?;
            stream.read_u8().await
        };
        let lost = |error| Error::new(ErrorKind::Ambiguous, "mutant", "mutant").with_source(error);
        talk.await
            .map(drop)
            .map_err(|error: std::io::Error| lost(error))
    }
}

/// The same deadline, so late that only our own look at the clock counts.
fn timeless(asked: &Participation) -> Result<Participation> {
    Participation::from_terms(
        *asked.transaction(),
        &asked.terms(),
        Timestamp::from_micros(asked.forget_after().as_micros() - 1),
        asked.forget_after(),
    )
}

impl<const CLOCK_FIRST: bool> Patch for TwoRequests<CLOCK_FIRST> {
    async fn serve(&self, _right: &MemoryStore) -> CaseResult<Option<SocketAddr>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_u8(byte).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Some(address))
    }
    fn through(&self, address: SocketAddr) -> Self {
        Self(Some(address))
    }
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        self.round_trip().await?;
        let over = CLOCK_FIRST && right.now().await? > asked.not_after();
        self.round_trip().await?;
        if over {
            return told(ErrorKind::RolledBack);
        }
        let begun = right.begin_prepared(&timeless(asked)?).await?;
        if !CLOCK_FIRST && right.now().await? > asked.not_after() {
            drop(begun);
            return told(ErrorKind::RolledBack);
        }
        Ok(begun)
    }
}

#[test]
fn the_deadline_is_checked_before_the_marker() {
    let case = "prepared::late::t33_held_over_the_deadline";
    assert_told_apart::<TwoRequests<false>, TwoRequests<true>>(case);
}
