//! Where one transaction stands: at its register, and at each store.

use crate::{
    AnyStore, Decision, DecisionRegister, ErrorKind, NamespaceIdentity, Participation,
    PreparedStatus, PreparedTransactions, RegisterEntry, Result, Store,
    cli::{
        output::{Answer, Cell},
        stores::{Given, Stores, about},
    },
};

/// What a participant says of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Status(PreparedStatus),
    /// The name stands there with another request, register or other participants.
    Other,
    /// It can't be asked now.
    Away,
}

/// Where one transaction stands.
pub(super) struct State<'a> {
    pub(super) participation: Participation,
    /// The store that holds the register; `None` if it is not among those given.
    pub(super) register: Option<&'a Given>,
    pub(super) decided: Option<RegisterEntry>,
    /// By the register's clock; without it, by that of the first store.
    pub(super) late: bool,
    pub(super) stores: Vec<(&'a Given, At)>,
    /// Participants that the decision names, and that are not given.
    pub(super) unknown: Vec<NamespaceIdentity>,
}

impl<'a> State<'a> {
    pub(super) async fn read(stores: &'a Stores, participation: Participation) -> Result<Self> {
        let register = stores.holding(participation.register());
        let decided = match register {
            Some(given) => decision(given, &participation).await?,
            None => None,
        };
        let clock = register.or(stores.given.first());
        let late = match clock {
            Some(given) => late(&given.store, &participation).await?,
            None => false,
        };
        let named = decided.as_ref();
        let named = named.and_then(|entry| entry.participation.participants().named());
        let named = named.map(<[_]>::to_vec);
        let mut at = Vec::new();
        for given in &stores.given {
            let state = match given.store.prepared_status(&participation).await {
                Ok(status) => At::Status(status),
                Err(error) if error.kind() == ErrorKind::Mismatch => At::Other,
                Err(error) if error.is_retryable() => At::Away,
                Err(error) => return Err(about(&given.name, error)),
            };
            let silent = At::Status(PreparedStatus::None);
            let took_part = named
                .as_ref()
                .map_or(state != silent, |named| named.contains(&given.identity));
            if took_part {
                at.push((given, state));
            }
        }
        let unknown = named.unwrap_or_default().into_iter();
        let unknown = unknown.filter(|member| stores.holding(member).is_none());
        Ok(Self {
            unknown: unknown.collect(),
            participation,
            register,
            decided,
            late,
            stores: at,
        })
    }

    /// What was decided, or settled.
    pub(super) fn decision(&self) -> Option<Decision> {
        let decided = self.decided.as_ref()?;
        let settled = decided.settled.as_ref();
        Some(settled.map_or(decided.decision, |settled| settled.outcome))
    }

    /// The participants that did not obey, as the register has noted, each with the time.
    fn disputed(&self, stores: &Stores) -> Vec<String> {
        let disputes = self.decided.iter().flat_map(|entry| &entry.disputes);
        let name = |member| match stores.holding(member) {
            Some(given) => given.name.clone(),
            None => format!("identity {member}"),
        };
        disputes
            .map(|dispute| format!("{} (noted at {})", name(&dispute.participant), dispute.at))
            .collect()
    }

    /// Whether a participant ended otherwise than was decided, or lost what it had promised.
    pub(super) fn needs_settling(&self) -> bool {
        let settled = |entry: &RegisterEntry| entry.settled.is_some();
        if let Some(entry) = &self.decided
            && !settled(entry)
            && !entry.disputes.is_empty()
        {
            return true;
        }
        let decided = self.decided.as_ref();
        let wrong: &[PreparedStatus] = match decided.map(|entry| (entry.decision, entry.finished)) {
            None => return false,
            // It has confirmed its commit, and forgets it in its time.
            Some((Decision::Commit, true)) => &[PreparedStatus::RolledBack, PreparedStatus::None],
            Some((Decision::Commit, false)) => &[
                PreparedStatus::RolledBack,
                PreparedStatus::None,
                PreparedStatus::Forgotten,
            ],
            Some((Decision::Rollback, _)) => &[PreparedStatus::Committed],
        };
        self.stores.iter().any(|(_, at)| match at {
            At::Status(status) => wrong.contains(status),
            At::Other | At::Away => false,
        })
    }

    /// Whether it is settled or finished, and in doubt at none of the stores.
    pub(super) fn is_over(&self) -> bool {
        let prepared = At::Status(PreparedStatus::Prepared);
        let finished = self.decided.as_ref().is_some_and(|entry| entry.finished);
        finished && self.is_whole() && self.stores.iter().all(|(_, at)| *at != prepared)
    }

    /// Whether every participant could be asked.
    pub(super) fn is_whole(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The participants that could not be asked.
    pub(super) fn missing(&self) -> impl Iterator<Item = NamespaceIdentity> {
        let away = self.stores.iter().filter(|(_, at)| *at == At::Away);
        let away = away.map(|(given, _)| given.identity);
        self.unknown.iter().copied().chain(away)
    }

    /// What an operator can do.
    pub(super) fn advice(&self) -> String {
        let digest = self.participation.transaction();
        let settled = self.decided.as_ref().is_some_and(|d| d.settled.is_some());
        if self.register.is_none() {
            format!(
                "give the store that holds the register {}: --store NAME=URL. Without it nothing is \
                 proven, and nothing can be resolved",
                self.participation.register()
            )
        } else if !self.late {
            format!(
                "wait until {}: its coordinator may still be running",
                self.participation.not_after()
            )
        } else if self.is_over() {
            "nothing".to_owned()
        } else if self.needs_settling() && !settled {
            format!(
                "a participant did not end as was decided. Compare the data of all participants and \
                 repair them, then: exactly-once in-doubt settle {digest} --as committed|rolled-back \
                 --reason …"
            )
        } else if !self.is_whole() {
            format!(
                "give the stores that are missing here: --store NAME=URL, then: exactly-once in-doubt \
                 resolve {digest}. If one of them is gone for good: exactly-once in-doubt settle \
                 {digest} --as committed|rolled-back --gone IDENTITY --reason …"
            )
        } else {
            format!("exactly-once in-doubt resolve {digest}")
        }
    }

    pub(super) fn answer(&self, stores: &Stores) -> Answer {
        let settled = self.decided.as_ref().and_then(|d| d.settled.as_ref());
        let decided = match (&self.decided, self.register) {
            (Some(entry), _) => entry.decision.as_str(),
            (None, Some(_)) => "nothing yet",
            (None, None) => "not known",
        };
        let participation = &self.participation;
        let answer = Answer::new()
            .fact("transaction", participation.transaction().to_string())
            .fact("register", stores.register(participation.register()))
            .fact("decided", decided)
            .fact(
                "disputed by",
                Cell::or_nothing(
                    Some(self.disputed(stores).join(", ")).filter(|by| !by.is_empty()),
                ),
            )
            .fact(
                "settled as",
                Cell::or_nothing(settled.map(|settled| settled.outcome.as_str())),
            )
            .fact(
                "settled by",
                Cell::or_nothing(settled.map(|settled| settled.by.as_str())),
            )
            .fact(
                "reason",
                Cell::or_nothing(settled.map(|settled| settled.reason.as_str())),
            )
            .fact(
                "settled at",
                Cell::or_nothing(settled.map(|settled| settled.at)),
            )
            .fact("deadline", participation.not_after())
            .fact("late", self.late)
            .fact("records kept until", participation.forget_after())
            .fact("fingerprint", participation.fingerprint().to_string());
        let known = self.stores.iter().map(|(given, at)| {
            let state = match at {
                At::Status(PreparedStatus::None) => "nothing is known of it",
                At::Status(PreparedStatus::Prepared) => "in doubt",
                At::Status(PreparedStatus::Committed) => "committed",
                At::Status(PreparedStatus::RolledBack) => "rolled back",
                At::Status(PreparedStatus::Forgotten) => "forgotten",
                At::Other => "another transaction has this name",
                At::Away => "can't be asked now",
            };
            vec![
                given.name.as_str().into(),
                state.into(),
                given.shown.as_str().into(),
            ]
        });
        let unknown = self.unknown.iter().map(|member| {
            vec![
                Cell::Nothing,
                "not given".into(),
                format!("identity {member}").into(),
            ]
        });
        let answer = answer.with_table(&["store", "state", "at"], known.chain(unknown).collect());
        stores.notes().fold(answer, Answer::note)
    }
}

async fn decision(given: &Given, participation: &Participation) -> Result<Option<RegisterEntry>> {
    match given.store.decision(participation).await {
        // The name stands there with other terms: nothing was decided for these.
        Err(error) if error.kind() == ErrorKind::Mismatch => Ok(None),
        answer => answer.map_err(|error| about(&given.name, error)),
    }
}

async fn late(store: &AnyStore, participation: &Participation) -> Result<bool> {
    Ok(store.now().await? > participation.not_after())
}
