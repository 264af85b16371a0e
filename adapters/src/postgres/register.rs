//! The decision register: the first writer wins, and the value read back is the decision.

use exactly_once_core::{
    Decision, DecisionRegister, Dispute, ErrorKind, Participation, RegisterEntry, RegisterPage,
    Result, Settlement, Store as _, Timestamp, TransactionDigest,
    adapter::{check_limit, rules::participants::Note},
};

use super::{
    STORE,
    driver::{Driver, Reply},
    error::{convert, error, garbled},
    expiry::Over,
    literal,
    outcome::{COLUMNS, DECISION, Outcome},
    sqlstate::Stage,
    statements::{NOW, cell, number},
    store::PostgresStore,
};

/// How often to start again when the row that was met is gone the next moment.
const ROUNDS: usize = 16;

fn decided(committed: bool) -> Decision {
    if committed {
        Decision::Commit
    } else {
        Decision::Rollback
    }
}

fn entry(outcome: Outcome) -> RegisterEntry {
    RegisterEntry {
        decision: decided(outcome.committed),
        finished: outcome.finished,
        settled: outcome.settled,
        disputes: outcome.disputes,
        participation: outcome.participation,
    }
}

impl<D: Driver> PostgresStore<D> {
    fn select_decision(&self, participation: &Participation) -> String {
        format!(
            "SELECT {COLUMNS}, {DECISION} FROM {} WHERE {}",
            self.tables().decisions,
            self.transaction_is(participation)
        )
    }

    /// Refuses a transaction of another register.
    pub(super) async fn check_register(
        &self,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        let held = self.identity().await?.within(self.namespace());
        participation.check_register(&held, operation, STORE)
    }

    /// Refuses to go on where the data were adopted since this handle read their identity.
    async fn check_same(&self, operation: &'static str) -> Result<()> {
        let known = self.known_identity();
        let stored = self.read_identity(operation).await?;
        if known == Some(stored) {
            return Ok(());
        }
        Err(error(
            ErrorKind::Configuration,
            operation,
            format!(
                "the identity of the register's data is {stored} now, and was another one when this \
                 handle was opened: open the store again"
            ),
        ))
    }
}

/// The clock, as it was read beside what stands.
fn clock(reply: Option<&Reply>, operation: &'static str) -> Result<Timestamp> {
    let micros = number(reply, 0).ok_or_else(|| garbled(operation))?;
    Ok(Timestamp::from_micros(micros))
}

impl<D: Driver> DecisionRegister for PostgresStore<D> {
    async fn decide(&self, participation: &Participation, proposal: Decision) -> Result<Decision> {
        self.check_register(participation, "decide").await?;
        let read = format!("{}; SELECT {NOW}", self.select_decision(participation));
        for _ in 0..ROUNDS {
            let first = async {
                let first = self.decide_first(participation, proposal).await;
                first.map_err(|failed| convert(failed, "decide", Stage::Durable))
            };
            let first = self.within("decide", ErrorKind::Ambiguous, first).await?;
            if let Some(committed) = cell(first.as_ref(), 0) {
                return Ok(decided(committed == "t"));
            }
            // A new statement sees what stands, also if that was committed just now.
            let replies = self.read("decide", &read).await?;
            if let Some(stands) = Outcome::read(replies.first(), "decide")? {
                stands.check(participation, "decide")?;
                // Others act on it: it must be as durable as the first proposal was to be.
                self.await_standbys("decide").await?;
                return Ok(entry(stands).in_force());
            }
            let now = clock(replies.get(1), "decide")?;
            Self::asked(participation, now, "decide").decide(proposal)?;
            self.check_same("decide").await?;
        }
        Err(error(ErrorKind::Busy, "decide", "its row keeps changing"))
    }

    async fn decision(&self, participation: &Participation) -> Result<Option<RegisterEntry>> {
        self.check_register(participation, "decision").await?;
        let replies = self
            .read("decision", &self.select_decision(participation))
            .await?;
        let Some(stands) = Outcome::read(replies.first(), "decision")? else {
            return Ok(None);
        };
        stands.check(participation, "decision")?;
        self.await_standbys("decision").await?;
        Ok(Some(entry(stands)))
    }

    async fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> Result<Option<RegisterEntry>> {
        const OPERATION: &str = "find_decision";
        let sql = format!(
            "SELECT {COLUMNS}, {DECISION} FROM {} WHERE namespace = {} AND transaction = {}",
            self.tables().decisions,
            self.namespace_sql(),
            literal::bytes(transaction.as_bytes())
        );
        let replies = self.read(OPERATION, &sql).await?;
        Ok(Outcome::read(replies.first(), OPERATION)?.map(entry))
    }

    async fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> Result<Option<Settlement>> {
        const OPERATION: &str = "dispute";
        self.check_register(participation, OPERATION).await?;
        // The rule's own conditions; what they leave alone is read beside it, and judged by the rule.
        let sql = format!(
            "UPDATE {} SET finished = false, \
             disputed = pg_catalog.concat_ws(' ', disputed, {}) \
             WHERE {} AND terms = {} AND committed = {} AND settled IS NULL \
             AND pg_catalog.strpos(coalesce(disputed, ''), {}) = 0; {}; SELECT {NOW}",
            self.tables().decisions,
            literal::text(&dispute.to_text()),
            self.transaction_is(participation),
            literal::bytes(&participation.terms()),
            dispute.decision == Decision::Commit,
            literal::text(&dispute.participant_text()),
            self.select_decision(participation),
        );
        let replies = self
            .try_transact(&sql)
            .await
            .map_err(|failed| convert(failed, OPERATION, Stage::Durable))?;
        let stands = Outcome::read(replies.get(1), OPERATION)?;
        if let Some(stands) = &stands {
            stands.check(participation, OPERATION)?;
        }
        let now = clock(replies.get(2), OPERATION)?;
        match Self::asked(participation, now, OPERATION)
            .dispute(stands.map(entry).as_ref(), dispute)?
        {
            (Note::Done, settled) => {
                // An earlier attempt may have written it and died while it waited.
                self.await_standbys(OPERATION).await?;
                Ok(settled)
            }
            (Note::Write, _) => Err(error(ErrorKind::Busy, OPERATION, "its row keeps changing")),
        }
    }

    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        const OPERATION: &str = "settle";
        self.check_register(participation, OPERATION).await?;
        let sql = format!(
            "UPDATE {} SET finished = true, settled = coalesce(settled, {}) \
             WHERE {} AND terms = {}; {}; SELECT {NOW}",
            self.tables().decisions,
            literal::text(&settlement.to_text()),
            self.transaction_is(participation),
            literal::bytes(&participation.terms()),
            self.select_decision(participation),
        );
        let replies = self
            .try_transact(&sql)
            .await
            .map_err(|failed| convert(failed, OPERATION, Stage::Durable))?;
        let Some(stands) = Outcome::read(replies.get(1), OPERATION)? else {
            let now = clock(replies.get(2), OPERATION)?;
            return Err(Self::asked(participation, now, OPERATION).undecided());
        };
        stands.check(participation, OPERATION)?;
        stands.settled.ok_or_else(|| garbled(OPERATION))
    }

    async fn finish(&self, participation: &Participation, decision: Decision) -> Result<()> {
        self.check_register(participation, "finish").await?;
        let read = format!("{}; SELECT {NOW}", self.select_decision(participation));
        for _ in 0..ROUNDS {
            let first = async {
                let first = self.finish_first(participation, decision).await;
                first.map_err(|failed| convert(failed, "finish", Stage::Durable))
            };
            let first = self.within("finish", ErrorKind::Ambiguous, first).await?;
            if first.is_some_and(|reply| reply.affected == 1) {
                return Ok(());
            }
            let replies = self.read("finish", &read).await?;
            let stands = Outcome::read(replies.first(), "finish")?;
            if let Some(stands) = &stands {
                stands.check(participation, "finish")?;
            }
            let asked = Self::asked(participation, clock(replies.get(1), "finish")?, "finish");
            // Otherwise it was decided since we looked.
            if asked.finish(stands.map(entry).as_ref(), decision)? == Note::Done {
                return Ok(());
            }
        }
        Err(error(ErrorKind::Busy, "finish", "its row keeps changing"))
    }

    async fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        let limit = check_limit(limit, "unfinished", STORE)?;
        let after = after.map_or_else(String::new, |after| {
            format!(" AND transaction > {}", literal::bytes(after.as_bytes()))
        });
        let sql = format!(
            "SELECT {COLUMNS}, {DECISION} FROM {} WHERE namespace = {} AND NOT finished{after} \
             ORDER BY transaction LIMIT {}",
            self.tables().decisions,
            self.namespace_sql(),
            u64::from(limit) + 1
        );
        let replies = self.read("unfinished", &sql).await?;
        let mut entries = replies
            .first()
            .map_or(&[][..], |reply| &reply.rows)
            .iter()
            .map(|row| Outcome::parse(row).map(entry))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| garbled("unfinished"))?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries
            .last()
            .filter(|_| more)
            .map(|entry| *entry.participation.transaction());
        Ok(RegisterPage { entries, next })
    }

    async fn forget_decisions(&self, limit: u32) -> Result<u64> {
        let limit = check_limit(limit, "forget_decisions", STORE)?;
        let over = Over {
            table: &self.tables().decisions,
            moment: "forget_after",
            is: "<",
            and: "(finished OR NOT committed) AND settled IS NULL AND disputed IS NULL",
        };
        self.remove_over("forget_decisions", &over, limit).await
    }
}
