//! The tables of version 1, in which an operation's record was JSON, and the history a table of its
//! own.

/// Takes the balances' tables back to version 1, with all that is in them.
pub fn downgrade(schema: &str) -> String {
    format!(
        "CREATE TABLE {schema}.operations (
    namespace bytea NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    -- the changes as JSON, or the refusal as text: the receipt, kept as it was given
    changes bytea NOT NULL,
    PRIMARY KEY (namespace, key)
);
CREATE TABLE {schema}.history (
    namespace bytea NOT NULL,
    account bytea NOT NULL,
    version int8 NOT NULL,
    key bytea NOT NULL,
    kind text NOT NULL,
    delta int8 NOT NULL,
    before int8 NOT NULL,
    after int8 NOT NULL,
    PRIMARY KEY (namespace, account, version)
);
INSERT INTO {schema}.operations SELECT namespace, key, fingerprint, coalesce(refusal, \
    (SELECT convert_to(json_agg(json_build_object('key', convert_from(leg.key, 'UTF8'), \
    'account', convert_from(leg.account, 'UTF8'), 'kind', leg.kind, 'delta', leg.delta, \
    'before', leg.after - leg.delta, 'after', leg.after, 'version', leg.version) \
    ORDER BY leg.leg)::text, 'UTF8') \
    FROM {schema}.changes leg WHERE (leg.namespace, leg.key) = (first.namespace, first.key))) \
    FROM {schema}.changes first WHERE leg = 0;
INSERT INTO {schema}.history SELECT namespace, account, version, key, kind, delta, after - delta, \
    after FROM {schema}.changes WHERE account IS NOT NULL;
DROP TABLE {schema}.changes;
UPDATE {schema}.schema_version SET version = 1"
    )
}
