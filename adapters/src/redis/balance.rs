//! Versioned balances: one script decides and applies, exact to the last unit.
//!
//! The script accepts what [`rules`] accept. Where it refuses, it gives the state that it saw, and
//! the rules word the refusal.

use exactly_once_core::{
    AccountId, AccountState, Adjust, Amount, Applied, BalanceStore, Change, ChangeKind,
    CloseAccount, CompareAndSet, Error, ErrorKind, Expected, Fingerprint, Floor, HistoryPage,
    IdempotencyKey, OpenAccount, Result, Transfer, Transferred, Version,
    adapter::{Refused, check_page, rules::balances},
};

use super::{
    error::{BACKEND, error},
    idempotency::mismatch,
    ledger::{change_of_line, change_of_receipt, floor_text, state_of},
    reply::Reply,
    schema::{Placement, Shard},
    scripts,
    store::RedisStore,
    transaction::refusal,
};

/// An operation as the script takes it.
struct Request<'a> {
    operation: &'static str,
    kind: ChangeKind,
    key: &'a IdempotencyKey,
    fingerprint: Fingerprint,
    legs: Vec<LegRequest<'a>>,
}

struct LegRequest<'a> {
    account: &'a AccountId,
    amount: Amount,
    expected: String,
    floor: Option<Floor>,
}

/// An operation that was applied, now or before.
struct Done {
    changes: Vec<Change>,
    replayed: bool,
}

/// How the script answered.
enum Answer {
    Done(Done),
    Refused {
        leg: usize,
        state: Option<AccountState>,
    },
}

impl RedisStore {
    pub(super) fn account_key(&self, shard: Shard, account: &AccountId) -> Vec<u8> {
        self.key(shard, "account", account.as_str())
    }

    pub(super) fn history_key(&self, shard: Shard, account: &AccountId) -> Vec<u8> {
        self.key(shard, "history", account.as_str())
    }

    pub(super) fn operation_key(&self, shard: Shard, key: &IdempotencyKey) -> Vec<u8> {
        self.key(shard, "operation", key.as_str())
    }

    /// The one shard of all accounts.
    fn shard_of_legs(&self, request: &Request<'_>) -> Result<Shard> {
        let mut shards = request
            .legs
            .iter()
            .map(|leg| self.layout().shard_of_account(&self.namespace, leg.account));
        let first = shards
            .next()
            .unwrap_or_else(|| self.layout().shard_of(&self.namespace, ""));
        if shards.all(|shard| shard == first) {
            return Ok(first);
        }
        Err(
            error(ErrorKind::Unsupported, request.operation).with_message(
                "the accounts lie in different slots of the cluster: move the amount by the \
             coordinator, with a participant for each (`store.at(account)`), or give the accounts \
             one hash tag, as `{bank-1}alice`",
            ),
        )
    }

    /// Applies the operation, or records its refusal, which `word` puts into words.
    async fn change(
        &self,
        request: Request<'_>,
        word: impl Fn(usize, Option<&AccountState>) -> Error + Send,
    ) -> Result<Done> {
        let shard = self.shard_of_legs(&request)?;
        self.bind(request.operation, request.key, &request.fingerprint)
            .await?;
        let answer = match self.apply_change(shard, &request).await {
            Ok(Answer::Done(done)) => Ok(done),
            Ok(Answer::Refused { leg, state }) => {
                let refusal = word(leg, state.as_ref());
                self.record_refusal(shard, &request, refusal).await
            }
            Err(error) => Err(error),
        };
        // A mismatch and a reservation changed nothing; of the rest, who knows.
        if let Err(error) = &answer
            && matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Reserved)
        {
            self.unbind(request.operation, request.key, &request.fingerprint)
                .await;
        }
        answer
    }

    /// A refusal is final: the operation's record keeps it, unless an earlier attempt was faster.
    async fn record_refusal(
        &self,
        shard: Shard,
        request: &Request<'_>,
        refusal: Error,
    ) -> Result<Done> {
        let Some(refused) = Refused::of(&refusal) else {
            return Err(refusal);
        };
        let keys = vec![
            self.operation_key(shard, request.key),
            self.layout().reservations(shard),
        ];
        let arguments = vec![
            request.fingerprint.as_bytes().to_vec(),
            refused.as_str().into(),
        ];
        let reply = self
            .write(request.operation, &scripts::REFUSE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "recorded" => Err(refusal),
            _ => read_known(request, &reply),
        }
    }

    async fn apply_change(&self, shard: Shard, request: &Request<'_>) -> Result<Answer> {
        let mut keys = vec![
            self.operation_key(shard, request.key),
            self.layout().reservations(shard),
        ];
        let mut arguments = vec![
            request.kind.as_str().into(),
            request.fingerprint.as_bytes().to_vec(),
            request.key.as_str().into(),
        ];
        for leg in &request.legs {
            keys.push(self.account_key(shard, leg.account));
            keys.push(self.history_key(shard, leg.account));
            arguments.push(leg.amount.to_string().into_bytes());
            arguments.push(leg.expected.clone().into_bytes());
            arguments.push(leg.floor.map(floor_text).unwrap_or_default().into_bytes());
        }
        let operation = request.operation;
        self.list_shard(operation, shard).await?;
        let reply = self
            .write(operation, &scripts::CHANGE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "refused" => {
                let leg = usize::try_from(reply.integer(1)?).map_err(|_| reply.unexpected())?;
                Ok(Answer::Refused {
                    leg,
                    state: optional_state(&reply, 2)?,
                })
            }
            _ => read_known(request, &reply).map(Answer::Done),
        }
    }

    fn binding(&self, key: &IdempotencyKey) -> (Shard, Vec<u8>) {
        let shard = self.layout().shard_of_key(&self.namespace, key);
        (shard, self.key(shard, "binding", key.as_str()))
    }

    /// On a cluster the same key for an account elsewhere would find no record there.
    pub(super) async fn bind(
        &self,
        operation: &'static str,
        key: &IdempotencyKey,
        fingerprint: &Fingerprint,
    ) -> Result<()> {
        if self.layout().placement != Placement::Spread {
            return Ok(());
        }
        let (shard, binding) = self.binding(key);
        let arguments = vec![fingerprint.as_bytes().to_vec()];
        let reply = self
            .write(operation, &scripts::BIND, shard, vec![binding], arguments)
            .await?;
        match reply.word() {
            "bound" => Ok(()),
            "mismatch" => Err(mismatch(operation)),
            _ => Err(reply.unexpected()),
        }
    }

    /// If it is lost, the key stays bound to this request, which is its own anyway.
    async fn unbind(
        &self,
        operation: &'static str,
        key: &IdempotencyKey,
        fingerprint: &Fingerprint,
    ) {
        if self.layout().placement != Placement::Spread {
            return;
        }
        let (shard, binding) = self.binding(key);
        let arguments = vec![fingerprint.as_bytes().to_vec()];
        let unbound = self
            .write(operation, &scripts::UNBIND, shard, vec![binding], arguments)
            .await;
        if let Err(error) = unbound {
            tracing::debug!(%error, "redis: a refused operation's key stays bound");
        }
    }

    /// An operation on one account.
    async fn change_one(
        &self,
        request: Request<'_>,
        rule: impl Fn(Option<&AccountState>) -> Result<balances::Step> + Send + Sync,
    ) -> Result<Applied> {
        let operation = request.operation;
        let word = |_, state: Option<&AccountState>| worded(operation, rule(state));
        let Done {
            mut changes,
            replayed,
        } = self.change(request, word).await?;
        match changes.pop() {
            Some(change) => Ok(Applied { change, replayed }),
            None => Err(corrupt(operation)),
        }
    }
}

/// What both scripts say of an operation that ended, now or before, and of what is in its way.
fn read_known(request: &Request<'_>, reply: &Reply) -> Result<Done> {
    let operation = request.operation;
    match reply.word() {
        word @ ("applied" | "replayed") => {
            let replayed = word == "replayed";
            let receipt = reply.text(1)?;
            let changes: Option<Vec<Change>> = request
                .legs
                .iter()
                .zip(receipt.split(';'))
                .map(|(leg, part)| change_of_receipt(request.key, leg.account, request.kind, part))
                .collect();
            match changes {
                Some(changes) if changes.len() == request.legs.len() => {
                    Ok(Done { changes, replayed })
                }
                _ => Err(corrupt(operation)),
            }
        }
        "known" => match Refused::parse(reply.text(1)?) {
            Some(refused) => refused.replay(operation, BACKEND),
            None => Err(corrupt(operation)),
        },
        "mismatch" => Err(mismatch(operation)),
        "reserved" => Err(balances::reserved(&reply.lossy(1), operation, BACKEND)),
        _ => Err(refusal(operation, reply)),
    }
}

/// The rules' own word for what the script refused.
fn worded(operation: &'static str, ruled: Result<balances::Step>) -> Error {
    match ruled {
        Err(error) => error,
        Ok(_) => error(ErrorKind::Configuration, operation)
            .with_message("the script and the rules of this crate disagree: versions are mixed"),
    }
}

fn corrupt(operation: &'static str) -> Error {
    error(ErrorKind::Configuration, operation)
        .with_message("a key of ours holds what this crate did not write; nothing was changed")
}

fn optional_state(reply: &Reply, at: usize) -> Result<Option<AccountState>> {
    if reply.bytes(at).is_empty() {
        return Ok(None);
    }
    let part = |offset| reply.bytes(at + offset);
    state_of(part(0), part(1), part(2), part(3))
        .map(Some)
        .ok_or_else(|| reply.unexpected())
}

impl BalanceStore for RedisStore {
    async fn open_account(&self, operation: &OpenAccount) -> Result<Applied> {
        let request = Request {
            operation: "open_account",
            kind: ChangeKind::Open,
            key: &operation.key,
            fingerprint: operation.fingerprint()?,
            legs: vec![LegRequest {
                account: &operation.account,
                amount: operation.amount,
                expected: String::new(),
                floor: Some(operation.floor),
            }],
        };
        self.change_one(request, |state| balances::open(operation, state, BACKEND))
            .await
    }

    async fn close_account(&self, operation: &CloseAccount) -> Result<Applied> {
        let request = Request {
            operation: "close_account",
            kind: ChangeKind::Close,
            key: &operation.key,
            fingerprint: operation.fingerprint()?,
            legs: vec![LegRequest {
                account: &operation.account,
                amount: Amount::ZERO,
                expected: String::new(),
                floor: None,
            }],
        };
        self.change_one(request, |state| balances::close(operation, state, BACKEND))
            .await
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<AccountState>> {
        let shard = self.layout().shard_of_account(&self.namespace, account);
        let keys = vec![self.account_key(shard, account)];
        let reply = self
            .read("balance", &scripts::BALANCE, shard, keys, Vec::new())
            .await?;
        match reply.word() {
            "none" => Ok(None),
            "account" => optional_state(&reply, 1),
            _ => Err(reply.unexpected()),
        }
    }

    async fn adjust(&self, operation: &Adjust) -> Result<Applied> {
        let request = Request {
            operation: "adjust",
            kind: ChangeKind::Adjust,
            key: &operation.key,
            fingerprint: operation.fingerprint()?,
            legs: vec![LegRequest {
                account: &operation.account,
                amount: operation.delta,
                expected: operation
                    .expected
                    .map(|version| version.to_string())
                    .unwrap_or_default(),
                floor: operation.floor,
            }],
        };
        self.change_one(request, |state| balances::adjust(operation, state, BACKEND))
            .await
    }

    async fn compare_and_set(&self, operation: &CompareAndSet) -> Result<Applied> {
        let request = Request {
            operation: "compare_and_set",
            kind: ChangeKind::CompareAndSet,
            key: &operation.key,
            fingerprint: operation.fingerprint()?,
            legs: vec![LegRequest {
                account: &operation.account,
                amount: operation.amount,
                expected: match operation.expected {
                    Expected::Absent => "absent".to_owned(),
                    Expected::Version(version) => version.to_string(),
                    Expected::Any => String::new(),
                },
                floor: operation.floor,
            }],
        };
        self.change_one(request, |state| {
            balances::compare_and_set(operation, state, BACKEND)
        })
        .await
    }

    async fn transfer(&self, operation: &Transfer) -> Result<Transferred> {
        let legs = operation.legs();
        let request = Request {
            operation: "transfer",
            kind: ChangeKind::Transfer,
            key: operation.key(),
            fingerprint: operation.fingerprint()?,
            legs: legs
                .iter()
                .map(|leg| LegRequest {
                    account: &leg.account,
                    amount: leg.delta,
                    expected: String::new(),
                    floor: None,
                })
                .collect(),
        };
        let word = |leg, state: Option<&AccountState>| match legs.get(leg) {
            Some(leg) => worded("transfer", balances::leg(operation, leg, state, BACKEND)),
            None => corrupt("transfer"),
        };
        let Done { changes, replayed } = self.change(request, word).await?;
        Ok(Transferred { changes, replayed })
    }

    async fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let limit = check_page(limit, BACKEND)?;
        let after = after.map_or(0, Version::get);
        let shard = self.layout().shard_of_account(&self.namespace, account);
        let keys = vec![
            self.account_key(shard, account),
            self.history_key(shard, account),
        ];
        let arguments = vec![
            after.to_string().into_bytes(),
            limit.to_string().into_bytes(),
        ];
        let reply = self
            .read("history", &scripts::HISTORY, shard, keys, arguments)
            .await?;
        match reply.word() {
            "page" => {}
            "none" => {
                return Err(balances::unknown_account("history", BACKEND));
            }
            _ => return Err(reply.unexpected()),
        }
        let current = reply.integer(1)?;
        // An entry vouches for its change.
        self.replicate("history", shard, &reply).await?;
        let changes: Option<Vec<Change>> = (0..)
            .zip(reply.rest(2))
            .map(|(at, line): (i64, _)| {
                let version = after.checked_add(1)?.checked_add(at)?;
                change_of_line(account, Version::new(version).ok()?, &line)
            })
            .collect();
        let changes = changes.ok_or_else(|| corrupt("history"))?;
        let next = changes
            .last()
            .map(|change| change.version)
            .filter(|last| last.get() < current);
        Ok(HistoryPage { changes, next })
    }
}
