//! The file as it is written: names and texts with their places, nothing checked but its shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
/// By name; each name with its place.
pub(super) type Named<T> = BTreeMap<Text, T>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) service: Text,
    pub(super) docs: Option<String>,
    pub(super) listen: Option<Text>,
    pub(super) admin: Option<Text>,
    pub(super) ingress: Option<Text>,
    #[serde(default)]
    pub(super) identity_keys: Vec<Text>,
    pub(super) max_body_bytes: Option<Spanned<u64>>,
    pub(super) grace: Option<Text>,
    pub(super) register: Option<Text>,
    #[serde(default)]
    pub(super) stores: Named<Store>,
    #[serde(default)]
    pub(super) effects: Named<Effect>,
    #[serde(default)]
    pub(super) queries: Named<Query>,
    #[serde(default)]
    pub(super) transactions: Named<Transaction>,
    pub(super) accounts: Option<Accounts>,
    #[serde(default)]
    pub(super) schedules: Schedules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) url_env: Text,
    pub(super) namespace: Option<Text>,
    pub(super) pool_size: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    pub(super) store: Text,
    pub(super) docs: Option<String>,
    #[serde(default)]
    pub(super) parameters: Named<Text>,
    pub(super) retention: Option<Text>,
    pub(super) answer: Option<Text>,
    /// Of an effect with one statement; otherwise there are `statements`.
    pub(super) sql: Option<Text>,
    pub(super) rows: Option<u64>,
    pub(super) returns: Option<Spanned<Named<Text>>>,
    pub(super) max_rows: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    pub(super) sql: Text,
    pub(super) rows: Option<u64>,
    pub(super) returns: Option<Spanned<Named<Text>>>,
    pub(super) max_rows: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) store: Text,
    pub(super) docs: Option<String>,
    #[serde(default)]
    pub(super) parameters: Named<Text>,
    pub(super) answer: Option<Text>,
    pub(super) sql: Text,
    pub(super) returns: Spanned<Named<Text>>,
    pub(super) max_rows: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transaction {
    pub(super) effects: Spanned<Vec<Text>>,
    pub(super) docs: Option<String>,
    pub(super) deadline: Option<Text>,
    pub(super) retention: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accounts {
    pub(super) store: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedules {
    pub(super) key_expiry: Option<Text>,
    pub(super) sweep: Option<Text>,
}
