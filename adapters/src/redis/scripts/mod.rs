//! The Lua scripts, each with the parts it is built from.
//!
//! A script reads and checks everything, then writes; it takes no branch that can fail after its
//! first write, because Redis does not undo what a failed script has written.

use std::sync::LazyLock;

use redis::Script;

/// A script and its name, for errors.
pub(super) struct LuaScript {
    pub(super) name: &'static str,
    pub(super) source: String,
    pub(super) hash: String,
    /// The script that runs several calls of this one, where there is one.
    pub(super) grouped: Option<Box<LuaScript>>,
}

impl LuaScript {
    fn new(name: &'static str, parts: &[&str]) -> Self {
        let source = parts.concat();
        let hash = Script::new(&source).get_hash().to_owned();
        Self {
            name,
            source,
            hash,
            grouped: None,
        }
    }

    /// With a script beside it that runs several calls in one: its own code as a function.
    ///
    /// `quick` has a function of that name for the usual cases; `others` is what the rest needs, and
    /// `own` decides it. Alone, the usual cases come before all else: the functions of a script are
    /// made each time it runs, and took longer than what they are for.
    fn groupable(name: &'static str, quick: &[&str], others: &[&str], own: &str) -> Self {
        let (quick, others) = (quick.concat(), others.concat());
        let (head, tail) = (
            include_str!("group_head.lua"),
            include_str!("group_tail.lua"),
        );
        let one_call = ["local function one_call()\n", own, "\nend\n"].concat();
        Self {
            grouped: Some(Box::new(Self::new(
                name,
                &[head, &quick, &others, &one_call, tail],
            ))),
            ..Self::new(name, &[&quick, include_str!("alone.lua"), &others, own])
        }
    }
}

pub(super) static COMPLETE: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::groupable(
        "COMPLETE",
        &[
            include_str!("moment.lua"),
            include_str!("index.lua"),
            include_str!("complete_quick.lua"),
        ],
        &[
            include_str!("exact.lua"),
            include_str!("reserved.lua"),
            include_str!("record.lua"),
            include_str!("footprint.lua"),
            include_str!("writes.lua"),
        ],
        include_str!("complete.lua"),
    )
});

pub(super) static CHANGE: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::groupable(
        "CHANGE",
        &[
            include_str!("moment.lua"),
            include_str!("known.lua"),
            include_str!("change_quick.lua"),
        ],
        &[
            include_str!("exact.lua"),
            include_str!("reserved.lua"),
            include_str!("account.lua"),
        ],
        include_str!("change.lua"),
    )
});

macro_rules! scripts {
    ($($name:ident: $($part:literal),+;)+) => {$(
        pub(super) static $name: LazyLock<LuaScript> = LazyLock::new(|| {
            LuaScript::new(stringify!($name), &[$(include_str!($part)),+])
        });
    )+};
}

scripts! {
    BALANCE: "moment.lua", "exact.lua", "account.lua", "balance.lua";
    BIND: "bind.lua";
    COMMIT: "moment.lua", "exact.lua", "reserved.lua", "footprint.lua", "writes.lua", "commit.lua";
    COMMIT_ALONE: "moment.lua", "exact.lua", "reserved.lua", "deadline.lua", "footprint.lua",
        "writes.lua", "outcome.lua", "commit_alone.lua";
    COMMIT_PREPARED: "moment.lua", "exact.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "commit_prepared.lua";
    DECIDE: "moment.lua", "exact.lua", "deadline.lua", "decision.lua", "decide.lua";
    DECIDED: "moment.lua", "decision.lua", "decided.lua";
    DUE: "moment.lua", "due.lua";
    EXPIRE: "moment.lua", "expire.lua";
    FIELDS: "fields.lua";
    FINALIZE: "moment.lua", "record.lua", "finalize.lua";
    DISPUTE: "moment.lua", "exact.lua", "deadline.lua", "decision.lua", "dispute.lua";
    FINISH: "moment.lua", "exact.lua", "deadline.lua", "decision.lua", "finish.lua";
    FORGET: "moment.lua", "record.lua", "forget.lua";
    FORGET_RECORDS: "moment.lua", "exact.lua", "forget_records.lua";
    HISTORY: "moment.lua", "exact.lua", "account.lua", "history.lua";
    IDENTITY: "identity.lua";
    LEASE: "moment.lua", "exact.lua", "record.lua", "lease.lua";
    LOOKUP: "moment.lua", "record.lua", "lookup.lua";
    PAGE: "moment.lua", "page.lua";
    PROBE: "probe.lua";
    PREPARE: "moment.lua", "exact.lua", "reserved.lua", "deadline.lua", "footprint.lua",
        "writes.lua", "outcome.lua", "prepare.lua";
    READ: "footprint.lua", "read.lua";
    REFUSE: "moment.lua", "reserved.lua", "known.lua", "refuse.lua";
    RELEASE: "moment.lua", "record.lua", "release.lua";
    RENEW: "moment.lua", "record.lua", "renew.lua";
    ROLLBACK_PREPARED: "moment.lua", "exact.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "rollback_prepared.lua";
    SETTLE: "moment.lua", "exact.lua", "deadline.lua", "decision.lua", "settle.lua";
    STATUS: "moment.lua", "exact.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "status.lua";
    UNBIND: "unbind.lua";
}
