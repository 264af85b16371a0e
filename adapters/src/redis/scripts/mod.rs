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
    fn groupable(name: &'static str, parts: &[&str]) -> Self {
        let mut source = String::from(include_str!("group_head.lua"));
        if let Some((own, shared)) = parts.split_last() {
            source.extend(shared.iter().copied());
            source += "local function one_call()\n";
            source += own;
            source += "\nend\n";
        }
        source += include_str!("group_tail.lua");
        Self {
            grouped: Some(Box::new(Self::new(name, &[&source]))),
            ..Self::new(name, parts)
        }
    }
}

macro_rules! script {
    ($make:ident: $($name:ident: $($part:literal),+;)+) => {$(
        pub(super) static $name: LazyLock<LuaScript> = LazyLock::new(|| {
            LuaScript::$make(stringify!($name), &[$(include_str!($part)),+])
        });
    )+};
}

script! {
    groupable:
    CHANGE: "exact.lua", "common.lua", "account.lua", "known.lua", "change.lua";
    COMPLETE: "exact.lua", "common.lua", "record.lua", "footprint.lua", "writes.lua",
        "complete.lua";
}

script! {
    new:
    BALANCE: "exact.lua", "common.lua", "account.lua", "balance.lua";
    BIND: "bind.lua";
    COMMIT: "exact.lua", "common.lua", "footprint.lua", "writes.lua", "commit.lua";
    COMMIT_ALONE: "exact.lua", "common.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "commit_alone.lua";
    COMMIT_PREPARED: "exact.lua", "common.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "commit_prepared.lua";
    DECIDE: "exact.lua", "common.lua", "deadline.lua", "decision.lua", "decide.lua";
    DECIDED: "common.lua", "decision.lua", "decided.lua";
    DUE: "common.lua", "due.lua";
    EXPIRE: "common.lua", "expire.lua";
    FIELDS: "fields.lua";
    FINALIZE: "common.lua", "record.lua", "finalize.lua";
    FINISH: "exact.lua", "common.lua", "deadline.lua", "decision.lua", "finish.lua";
    FORGET: "common.lua", "record.lua", "forget.lua";
    FORGET_RECORDS: "exact.lua", "common.lua", "forget_records.lua";
    HISTORY: "exact.lua", "common.lua", "account.lua", "history.lua";
    LEASE: "exact.lua", "common.lua", "record.lua", "lease.lua";
    LOOKUP: "common.lua", "record.lua", "lookup.lua";
    PAGE: "common.lua", "page.lua";
    PREPARE: "exact.lua", "common.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "prepare.lua";
    READ: "footprint.lua", "read.lua";
    REFUSE: "common.lua", "known.lua", "refuse.lua";
    RELEASE: "common.lua", "record.lua", "release.lua";
    RENEW: "common.lua", "record.lua", "renew.lua";
    ROLLBACK_PREPARED: "exact.lua", "common.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "rollback_prepared.lua";
    STATUS: "exact.lua", "common.lua", "deadline.lua", "footprint.lua", "writes.lua",
        "outcome.lua", "status.lua";
    UNBIND: "unbind.lua";
}
