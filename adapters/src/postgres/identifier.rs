//! Identifiers that can't be bound as parameters: the schema's name, and the identifier of a
//! prepared transaction.

use exactly_once_core::{
    Participation, Result, Timestamp, TransactionDigest, adapter::TERMS_BYTES,
};
use sha2::{Digest, Sha256};

use super::{
    base64,
    literal::{hex, unhex},
};

/// The longest identifier of the server, in bytes (`NAMEDATALEN - 1`); it cuts longer ones.
const MAX_SCHEMA_BYTES: usize = 63;

/// The longest identifier of a prepared transaction, in bytes.
const MAX_GID_BYTES: usize = 199;

/// Why a schema's name is refused.
pub(super) fn check_schema(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_SCHEMA_BYTES {
        return Err(format!(
            "the schema name has {} bytes; it needs 1 to {MAX_SCHEMA_BYTES}, and a longer one \
             would be cut by the server",
            name.len()
        ));
    }
    if name.contains('\0') {
        return Err("the schema name holds a NUL byte".to_owned());
    }
    if name.starts_with("pg_") {
        return Err("schema names that begin with pg_ are the server's own".to_owned());
    }
    Ok(())
}

/// An identifier in double quotes. Doubling is enough here: no setting gives the backslash a
/// meaning within them.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the identifiers of one database, schema and namespace begin with.
///
/// Identifiers are cluster-wide, so two participants of one transaction in two databases, schemas
/// or namespaces of one server must not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GidPrefix(String);

/// The digits of a transaction's digest in an identifier: hexadecimal, as its order by bytes is
/// then the digests' own.
pub(super) const DIGEST_CHARS: usize = 64;

impl GidPrefix {
    pub(super) fn new(database: &str, schema: &str, namespace: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/postgres/prefix/1");
        for part in [database, schema, namespace] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(format!("eo1:{}:", base64::encode(&digest[..12])))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What every identifier of this transaction begins with, whatever its request and deadlines.
    pub(super) fn of(&self, transaction: &TransactionDigest) -> String {
        format!("{}{}:", self.0, hex(transaction.as_bytes()))
    }

    /// The identifier of a participation. It carries all of it, so that a sweeper needs nothing
    /// but the server's own list: terms and deadlines in base 64, to fit.
    pub(super) fn gid(&self, participation: &Participation) -> String {
        let moments = [participation.not_after(), participation.forget_after()];
        let mut rest = participation.terms().to_vec();
        rest.extend(
            moments
                .into_iter()
                .flat_map(|at| at.as_micros().to_be_bytes()),
        );
        let gid = format!(
            "{}{}",
            self.of(participation.transaction()),
            base64::encode(&rest)
        );
        debug_assert!(gid.len() <= MAX_GID_BYTES && is_plain(&gid));
        gid
    }

    /// The participation behind an identifier, if it is one of these.
    pub(super) fn parse(&self, gid: &str) -> Option<Participation> {
        let mut parts = gid.strip_prefix(&self.0)?.split(':');
        let digest: [u8; 32] = unhex(parts.next()?)?.try_into().ok()?;
        let rest = base64::decode(parts.next()?)?;
        if parts.next().is_some() {
            return None;
        }
        let (terms, rest) = rest.split_first_chunk::<TERMS_BYTES>()?;
        let (not_after, rest) = rest.split_first_chunk()?;
        let moment = |bytes| Timestamp::from_micros(i64::from_be_bytes(bytes));
        Participation::from_terms(
            TransactionDigest::from_bytes(digest),
            terms,
            moment(*not_after),
            moment(rest.try_into().ok()?),
        )
        .ok()
    }
}

/// Whether the text can stand between single quotes whatever the server's settings.
fn is_plain(gid: &str) -> bool {
    gid.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use exactly_once_core::{
        Fingerprint, Namespace, NamespaceIdentity, Participants, TransactionId,
    };

    const NASTY: [&str; 9] = [
        "'",
        "\\",
        "\\'; DROP TABLE x; --",
        "a\nb",
        "\u{202e}é",
        "$$",
        "E'\\x00'",
        "%_",
        "0",
    ];

    fn participation(name: &str, not_after: i64, forget_after: i64) -> Participation {
        Participation::new(
            &TransactionId::new(name).unwrap(),
            Fingerprint::of("op", name).unwrap(),
            Timestamp::from_micros(not_after),
            Timestamp::from_micros(forget_after),
        )
        .unwrap()
        .entitled(
            NamespaceIdentity::from_bytes([0xff; 16]),
            Participants::from_digest([0xfb; 16]),
        )
    }

    #[test]
    fn every_identifier_is_plain_short_and_reads_back() {
        let moments = [i64::MIN, -1, 0, 1, 1_700_000_000_000_000, i64::MAX - 1];
        for name in NASTY {
            let long = Namespace::new("n".repeat(255)).unwrap();
            let prefix = GidPrefix::new(name, name, long.as_str());
            for moment in moments {
                let one = participation(name, moment, i64::MAX);
                let gid = prefix.gid(&one);
                assert!(gid.len() <= MAX_GID_BYTES, "{} bytes", gid.len());
                assert!(is_plain(&gid), "{gid}");
                assert!(gid.starts_with(&prefix.of(one.transaction())));
                assert_eq!(prefix.parse(&gid), Some(one));
            }
        }
    }

    #[test]
    fn long_names_do_not_collide() {
        let prefix = GidPrefix::new("db", "schema", "ns");
        let long = "x".repeat(240);
        let gids: std::collections::HashSet<_> = (0..20_000)
            .map(|number| prefix.gid(&participation(&format!("{long}{number}"), 1, 2)))
            .collect();
        assert_eq!(gids.len(), 20_000);
    }

    #[test]
    fn another_database_schema_or_namespace_has_another_prefix() {
        let prefixes = [
            GidPrefix::new("a", "b", "c"),
            GidPrefix::new("ab", "", "c"),
            GidPrefix::new("a", "bc", ""),
            GidPrefix::new("b", "a", "c"),
        ];
        for (at, prefix) in prefixes.iter().enumerate() {
            assert!(prefixes[..at].iter().all(|other| other != prefix));
        }
    }

    #[test]
    fn foreign_identifiers_are_not_taken_for_ours() {
        let prefix = GidPrefix::new("db", "schema", "ns");
        let gid = prefix.gid(&participation("t", 1, 2));
        for foreign in [
            "",
            "eo1:",
            "eo1::::",
            "someone's own",
            &gid[..gid.len() - 20],
            &format!("{gid}:x"),
            &gid.replace("eo1:", "eo2:"),
        ] {
            assert_eq!(prefix.parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn schema_names_are_checked_and_quoted() {
        assert!(check_schema(&"é".repeat(31)).is_ok());
        assert!(check_schema(&"é".repeat(32)).is_err());
        assert!(check_schema("").is_err());
        assert!(check_schema("pg_mine").is_err());
        assert!(check_schema("a\0b").is_err());
        assert_eq!(quote(r#"a"; DROP"#), r#""a""; DROP""#);
    }
}
