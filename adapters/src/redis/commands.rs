//! A transaction's work: what it read (guards) and what it will write.

/// Which part of a key was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// All of it.
    Value,
    Field,
    Member,
    /// Whether there is anything.
    Present,
}

impl Part {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Field => "field",
            Self::Member => "member",
            Self::Present => "present",
        }
    }

    fn parse(word: &[u8]) -> Option<Self> {
        [Self::Value, Self::Field, Self::Member, Self::Present]
            .into_iter()
            .find(|part| part.as_str().as_bytes() == word)
    }
}

/// What was read, and its footprint: if it changes, the transaction can't commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) part: Part,
    pub(super) key: Vec<u8>,
    pub(super) argument: Vec<u8>,
    pub(super) footprint: Vec<u8>,
}

/// What a write does; each can be checked before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Del,
    Incr,
    HSet,
    HDel,
    HIncr,
    SAdd,
    SRem,
    RPush,
    ZAdd,
}

const VERBS: [Verb; 10] = [
    Verb::Set,
    Verb::Del,
    Verb::Incr,
    Verb::HSet,
    Verb::HDel,
    Verb::HIncr,
    Verb::SAdd,
    Verb::SRem,
    Verb::RPush,
    Verb::ZAdd,
];

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Del => "DEL",
            Self::Incr => "INCR",
            Self::HSet => "HSET",
            Self::HDel => "HDEL",
            Self::HIncr => "HINCR",
            Self::SAdd => "SADD",
            Self::SRem => "SREM",
            Self::RPush => "RPUSH",
            Self::ZAdd => "ZADD",
        }
    }
}

/// One write of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) verb: Verb,
    pub(super) key: Vec<u8>,
    pub(super) a: Vec<u8>,
    pub(super) b: Vec<u8>,
    /// The one-shot statement that it belongs to, from 1; 0 for none.
    pub(super) statement: u32,
}

impl Write {
    pub(super) fn new(
        verb: Verb,
        key: impl Into<Vec<u8>>,
        a: impl Into<Vec<u8>>,
        b: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            verb,
            key: key.into(),
            a: a.into(),
            b: b.into(),
            statement: 0,
        }
    }
}

/// All of a transaction's work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) guards: Vec<Guard>,
    pub(super) writes: Vec<Write>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.writes.is_empty()
    }

    /// Every key that is touched, once.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let read = self.guards.iter().map(|guard| &guard.key);
        for key in read.chain(self.writes.iter().map(|write| &write.key)) {
            if seen.insert(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// As the scripts take it: its keys and its arguments.
    pub(super) fn for_script(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let keys = self.keys();
        let places: std::collections::HashMap<&[u8], usize> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| (key.as_slice(), at + 1))
            .collect();
        let place = |key: &[u8]| {
            places
                .get(key)
                .copied()
                .unwrap_or_default()
                .to_string()
                .into_bytes()
        };
        let mut arguments = vec![self.guards.len().to_string().into_bytes()];
        for Guard {
            part,
            key,
            argument,
            footprint,
        } in &self.guards
        {
            arguments.push(part.as_str().into());
            arguments.push(place(key));
            arguments.push(argument.clone());
            arguments.push(footprint.clone());
        }
        arguments.push(self.writes.len().to_string().into_bytes());
        for Write {
            verb,
            key,
            a,
            b,
            statement,
        } in &self.writes
        {
            arguments.push(verb.as_str().into());
            arguments.push(place(key));
            arguments.push(a.clone());
            arguments.push(b.clone());
            arguments.push(statement.to_string().into_bytes());
        }
        (keys, arguments)
    }

    /// As it is staged: each part with its length before it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        };
        put(self.guards.len().to_string().as_bytes());
        for Guard {
            part,
            key,
            argument,
            footprint,
        } in &self.guards
        {
            put(part.as_str().as_bytes());
            put(key);
            put(argument);
            put(footprint);
        }
        for Write {
            verb, key, a, b, ..
        } in &self.writes
        {
            put(verb.as_str().as_bytes());
            put(key);
            put(a);
            put(b);
        }
        bytes
    }

    /// What was staged; `None` if the bytes are no work of this crate's.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<8>()?;
            let (part, tail) =
                tail.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
            parts.push(part);
            rest = tail;
        }
        let (count, parts) = parts.split_first()?;
        let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
        let (guards, writes) = parts.split_at_checked(count.checked_mul(4)?)?;
        let guards = guards.chunks(4).map(|parts| match parts {
            [part, key, argument, footprint] => Some(Guard {
                part: Part::parse(part)?,
                key: key.to_vec(),
                argument: argument.to_vec(),
                footprint: footprint.to_vec(),
            }),
            _ => None,
        });
        let writes = writes.chunks(4).map(|parts| match parts {
            [verb, key, a, b] => {
                let verb = VERBS
                    .into_iter()
                    .find(|known| known.as_str().as_bytes() == *verb)?;
                Some(Write::new(verb, *key, *a, *b))
            }
            _ => None,
        });
        Some(Self {
            guards: guards.collect::<Option<_>>()?,
            writes: writes.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_work_reads_back_as_it_was() {
        let work = Work {
            guards: vec![Guard {
                part: Part::Field,
                key: b"k".to_vec(),
                argument: vec![0, 255],
                footprint: b"absent".to_vec(),
            }],
            writes: vec![
                Write::new(Verb::HSet, "k", "f", vec![0, 10, 13]),
                Write::new(Verb::Del, "", "", ""),
            ],
        };
        assert_eq!(Work::from_bytes(&work.to_bytes()), Some(work.clone()));
        assert_eq!(Work::from_bytes(&work.to_bytes()[1..]), None);
        assert_eq!(
            Work::from_bytes(&Work::default().to_bytes()),
            Some(Work::default())
        );
    }
}
