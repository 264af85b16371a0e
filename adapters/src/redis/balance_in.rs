//! Balance changes inside a transaction.
//!
//! The account is read with guards, the crate's rules decide, and the new state is written with the
//! transaction: if anybody changes the account before the commit, the commit is busy.

use exactly_once_core::{
    AccountState, Adjust, Applied, BalanceTransaction, ChangeKind, ErrorKind, Result,
    adapter::{Refused, rules::balances},
};

use super::{
    commands::Part,
    error::{BACKEND, error},
    idempotency::mismatch,
    ledger::{change_of_receipt, floor_text, history_line, receipt_leg, state_of},
    store::RedisStore,
    transaction::RedisTx,
};

const OPERATION: &str = "adjust_in";
const FIELDS: [&[u8]; 4] = [b"a", b"v", b"f", b"o"];

impl BalanceTransaction for RedisStore {
    async fn adjust_in(&self, tx: &mut RedisTx, operation: &Adjust) -> Result<Applied> {
        tx.check_home(self, OPERATION)?;
        let shard = self
            .layout()
            .shard_of_account(&self.namespace, &operation.account);
        let entered = tx.enter(OPERATION, shard);
        tx.noted(entered)?;
        let fingerprint = operation.fingerprint()?;
        let bound = self.bind(OPERATION, &operation.key, &fingerprint).await;
        if bound
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::Mismatch)
        {
            return tx
                .noted(bound)
                .and_then(|()| Err(error(ErrorKind::Busy, OPERATION)));
        }
        bound?;

        let record = self.operation_key(shard, &operation.key);
        let account = self.account_key(shard, &operation.account);
        let history = self.history_key(shard, &operation.account);
        let mut parts = vec![(Part::Value, record.clone(), b"string".to_vec())];
        parts.extend(FIELDS.map(|field| (Part::Field, account.clone(), field.to_vec())));
        let fetched = tx.fetch(OPERATION, parts).await;
        tx.noted(fetched)?;

        let stored = tx.string(&record).await;
        if let Some(stored) = tx.noted(stored)? {
            let Some(receipt) = stored.strip_prefix(fingerprint.as_bytes()) else {
                return Err(mismatch(OPERATION));
            };
            if let Some(text) = receipt.strip_prefix(b"!") {
                let text = std::str::from_utf8(text).ok();
                return match text.and_then(Refused::parse) {
                    Some(refused) => refused.replay(OPERATION, BACKEND),
                    None => tx.noted(Err(corrupt())),
                };
            }
            let change = std::str::from_utf8(receipt).ok().and_then(|receipt| {
                let kind = ChangeKind::Adjust;
                change_of_receipt(&operation.key, &operation.account, kind, receipt)
            });
            return match change {
                Some(change) => Ok(Applied {
                    change,
                    replayed: true,
                }),
                None => tx.noted(Err(corrupt())),
            };
        }

        let state = read_state(tx, &account).await;
        let state = tx.noted(state)?;
        let (change, after) = match balances::adjust(operation, state.as_ref(), BACKEND) {
            Ok(step) => step,
            Err(refusal) => {
                // A change meets the reservation at the commit; a refusal must meet it here.
                let held = tx.holder_of(OPERATION, shard, &account, FIELDS[1]).await;
                return match tx.noted(held)? {
                    Some(holder) => Err(balances::reserved(&holder, OPERATION, BACKEND)),
                    None => Err(refusal),
                };
            }
        };
        let open: &[u8] = if after.open { b"1" } else { b"0" };
        for (field, value) in [
            (FIELDS[0], after.amount.to_string().into_bytes()),
            (FIELDS[1], after.version.to_string().into_bytes()),
            (FIELDS[2], floor_text(after.floor).into_bytes()),
            (FIELDS[3], open.to_vec()),
        ] {
            let fits = tx.put_field(account.clone(), field, &value);
            tx.fitting(OPERATION, fits)?;
        }
        let version = change.version.to_string();
        let fits = tx.put_field(
            history,
            version.as_bytes(),
            history_line(&change).as_bytes(),
        );
        tx.fitting(OPERATION, fits)?;
        let receipt = [fingerprint.as_bytes(), receipt_leg(&change).as_bytes()].concat();
        tx.put_string(record, &receipt);
        Ok(Applied {
            change,
            replayed: false,
        })
    }
}

/// The account as the transaction sees it, its own changes included.
async fn read_state(tx: &mut RedisTx, account: &[u8]) -> Result<Option<AccountState>> {
    let mut found = Vec::new();
    for field in FIELDS {
        found.push(tx.field(account, field).await?);
    }
    match found.as_slice() {
        [None, None, None, None] => Ok(None),
        [Some(amount), Some(version), Some(floor), Some(open)] => {
            state_of(amount, version, floor, open)
                .map(Some)
                .ok_or_else(corrupt)
        }
        _ => Err(corrupt()),
    }
}

fn corrupt() -> exactly_once_core::Error {
    error(ErrorKind::Configuration, OPERATION)
        .with_message("a key of ours holds what this crate did not write; nothing was changed")
}
