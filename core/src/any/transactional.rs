//! The traits of [`AnyStore`] whose transactions are boxed as [`AnyTx`].

use super::{AnyStore, AnyTx};
use crate::{
    balance::{Adjust, Applied, BalanceTransaction},
    error::{BoxError, Error, Result},
    idempotency::{Claim, Claimed, IdempotencyStore, KeyRecord, Settled},
    names::IdempotencyKey,
    one_shot_participant::{LastOneShotParticipant, OneShotParticipant, PreparedOneShot},
    prepared::{
        BegunPrepared, InDoubtPage, LastResource, Participation, PreparedStatus,
        PreparedTransactions, TransactionDigest,
    },
    receipt::Receipt,
    register::Decision,
    rejection::Rejection,
    rows::Ran,
    statement::Statement,
    transaction::{StatementTransaction, Transactional},
};

macro_rules! forward {
    ($trait:ident by $part:ident {
        $(fn $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*
    } $($more:tt)*) => {
        impl $trait for AnyStore {
            $($more)*
            $(async fn $method(&self, $($arg: $type),*) -> Result<$answer> {
                match &self.parts.$part {
                    Some(part) => part.$method($($arg),*).await,
                    None => Err(self.missing(stringify!($method))),
                }
            })*
        }
    };
}

forward! { Transactional by transactional {
    fn commit(tx: AnyTx) -> ();
    fn rollback(tx: AnyTx) -> ();
}
    type Tx = AnyTx;
    async fn begin(&self) -> Result<AnyTx> {
        match &self.parts.transactional {
            Some(part) => Ok(self.with_statements(part.begin().await?)),
            None => Err(self.missing("begin")),
        }
    }
    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        match &self.parts.transactional {
            Some(part) => part.classify(operation, source),
            None => self.missing(operation).with_source(source),
        }
    }
}

forward! { IdempotencyStore by idempotency {
    fn complete(tx: AnyTx, claim: &Claim, receipt: &Receipt) -> Settled;
    fn reject(tx: AnyTx, claim: &Claim, rejection: &Rejection) -> Settled;
    fn lookup(key: &IdempotencyKey) -> Option<KeyRecord>;
    fn forget(key: &IdempotencyKey) -> bool;
    fn expire(limit: u32) -> u64;
}
    async fn claim(&self, claim: &Claim) -> Result<Claimed<AnyTx>> {
        match &self.parts.idempotency {
            Some(part) => Ok(match part.claim(claim).await? {
                Claimed::Fresh(tx) => Claimed::Fresh(self.with_statements(tx)),
                other => other,
            }),
            None => Err(self.missing("claim")),
        }
    }
}

forward! { StatementTransaction by statements {
    fn run_in(tx: &mut AnyTx, statement: &Statement) -> Ran;
}}

forward! { BalanceTransaction by balance_transaction {
    fn adjust_in(tx: &mut AnyTx, operation: &Adjust) -> Applied;
}}

forward! { PreparedTransactions by prepared {
    fn prepare(tx: AnyTx, participation: &Participation) -> ();
    fn commit_alone(tx: AnyTx, participation: &Participation) -> ();
    fn commit_prepared(participation: &Participation) -> ();
    fn rollback_prepared(participation: &Participation) -> ();
    fn prepared_status(participation: &Participation) -> PreparedStatus;
    fn in_doubt(after: Option<&TransactionDigest>, limit: u32) -> InDoubtPage;
    fn forget_prepared(limit: u32) -> u64;
}
    async fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> Result<BegunPrepared<AnyTx>> {
        match &self.parts.prepared {
            Some(part) => Ok(match part.begin_prepared(participation).await? {
                BegunPrepared::Fresh(tx) => BegunPrepared::Fresh(self.with_statements(tx)),
                other => other,
            }),
            None => Err(self.missing("begin_prepared")),
        }
    }
}

forward! { OneShotParticipant by one_shot_participant {
    fn apply(tx: &mut AnyTx, statements: &[Statement]) -> ();
    fn prepare_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
    fn commit_alone_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
}}

forward! { LastResource by last {
    fn commit_deciding(tx: AnyTx, participation: &Participation) -> Decision;
}}

forward! { LastOneShotParticipant by last_one_shot {
    fn commit_deciding_one_shot(participation: &Participation, statements: &[Statement]) -> Option<Decision>;
}}
