//! Fingerprints: the published test vectors, and what a request type may hold and how it may grow.

// Helpers of tests may panic as tests do.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};

use exactly_once_core::{Error, Fingerprint};
use serde::{
    Deserialize, Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

const VECTORS: &str = include_str!("fingerprint_vectors.json");

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    operation: String,
    value: Form,
    canonical: String,
    fingerprint: Fingerprint,
}

/// A value of the file: what serde is asked to write.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Unit(()),
    None(()),
    Some(Box<Form>),
    Bool(bool),
    Int(String),
    Float(String),
    Text(String),
    Bytes(String),
    Sequence(Vec<Form>),
    Map(Vec<(Form, Form)>),
    Variant(String, Box<Form>),
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit(()) => to.serialize_unit(),
            Self::None(()) => to.serialize_none(),
            Self::Some(value) => to.serialize_some(value),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(text) => match text.parse::<i64>() {
                Ok(value) => to.serialize_i64(value),
                Err(_) => match text.parse::<i128>() {
                    Ok(value) => to.serialize_i128(value),
                    Err(_) => to.serialize_u128(text.parse().expect("an integer")),
                },
            },
            Self::Float(bits) => {
                let bits = u64::from_str_radix(bits, 16).expect("bits");
                to.serialize_f64(f64::from_bits(bits))
            }
            Self::Text(text) => to.serialize_str(text),
            Self::Bytes(hex) => to.serialize_bytes(&unhex(hex)),
            Self::Sequence(items) => {
                let mut to = to.serialize_seq(None)?;
                items
                    .iter()
                    .try_for_each(|item| to.serialize_element(item))?;
                to.end()
            }
            Self::Map(entries) => {
                let mut to = to.serialize_map(None)?;
                entries
                    .iter()
                    .try_for_each(|(key, value)| to.serialize_entry(key, value))?;
                to.end()
            }
            Self::Variant(name, content) => {
                // Serde wants the names of variants to be static.
                let name: &'static str = Box::leak(name.clone().into_boxed_str());
                match &**content {
                    Self::Unit(()) => to.serialize_unit_variant("", 0, name),
                    content => to.serialize_newtype_variant("", 0, name, content),
                }
            }
        }
    }
}

/// The canonical form as another language would write it.
fn canonical(form: &Form, some: usize) -> Vec<u8> {
    let sized = |tag: u8, bytes: &[u8]| {
        let length = (bytes.len() as u64).to_be_bytes();
        [&[tag], &length[..], bytes].concat()
    };
    match form {
        Form::Unit(()) => b"u".to_vec(),
        Form::None(()) => [&vec![b'S'; some][..], b"n"].concat(),
        Form::Some(value) => canonical(value, some + 1),
        Form::Bool(value) => vec![if *value { b't' } else { b'f' }],
        Form::Int(text) => {
            let low = text.parse::<i128>().map_or_else(
                |_| text.parse::<u128>().expect("an integer").to_be_bytes(),
                i128::to_be_bytes,
            );
            let sign = if text.starts_with('-') { 0xff } else { 0 };
            [&[b'i', sign], &low[..]].concat()
        }
        Form::Float(bits) => [b"d", &unhex(bits)[..]].concat(),
        Form::Text(text) => sized(b's', text.as_bytes()),
        Form::Bytes(hex) => sized(b'b', &unhex(hex)),
        Form::Sequence(items) => {
            let items: Vec<_> = items.iter().map(|item| canonical(item, 0)).collect();
            [b"a", &items.concat()[..], b"e"].concat()
        }
        Form::Map(entries) => {
            let entry =
                |(key, value): &(Form, Form)| [canonical(key, 0), canonical(value, 0)].concat();
            let mut entries: Vec<_> = entries.iter().map(entry).collect();
            entries.sort();
            [b"m", &entries.concat()[..], b"e"].concat()
        }
        Form::Variant(name, content) => {
            [sized(b'v', name.as_bytes()), canonical(content, 0)].concat()
        }
    }
}

#[test]
fn the_published_vectors_hold() -> Result<(), Error> {
    let file: Vectors = serde_json::from_str(VECTORS).expect("the file is JSON");
    assert!(file.vectors.len() > 40);
    let mut seen = HashMap::new();
    for vector in file.vectors {
        let name = &vector.name;
        assert_eq!(
            canonical(&vector.value, 0),
            unhex(&vector.canonical),
            "{name}"
        );
        let print = Fingerprint::of(&vector.operation, &vector.value)?;
        assert_eq!(print, vector.fingerprint, "{name}");
        if name.contains(" is the ") {
            continue;
        }
        if let Some(other) = seen.insert(print, name.clone()) {
            panic!("{name} and {other} are one");
        }
    }
    Ok(())
}

#[test]
fn what_rust_writes_is_in_the_vectors() -> Result<(), Error> {
    #[derive(Serialize)]
    struct Charge<'a> {
        to: &'a str,
        cents: u32,
    }
    #[derive(Serialize)]
    enum Pay {
        Card(u8),
    }
    #[derive(Serialize)]
    enum Named {
        Card { number: u8 },
    }
    let file: Vectors = serde_json::from_str(VECTORS).expect("the file is JSON");
    let published = |name: &str| {
        let found = file.vectors.iter().find(|vector| vector.name == name);
        found.expect("it is published").fingerprint
    };
    let tuples: BTreeMap<_, _> = [((2, 1), Some(())), ((1, 2), None)].into();
    for (name, print) in [
        (
            "struct",
            Fingerprint::of(
                "charge",
                &Charge {
                    to: "alice",
                    cents: 500,
                },
            )?,
        ),
        (
            "map with tuples as keys",
            Fingerprint::of("charge", &tuples)?,
        ),
        ("newtype variant", Fingerprint::of("charge", &Pay::Card(7))?),
        (
            "struct variant",
            Fingerprint::of("charge", &Named::Card { number: 7 })?,
        ),
        ("nan", Fingerprint::of("charge", &f32::NAN)?),
        ("u128 max", Fingerprint::of("charge", &u128::MAX)?),
        ("i128 min", Fingerprint::of("charge", &i128::MIN)?),
        (
            "some of none",
            Fingerprint::of("charge", &Some(None::<u8>))?,
        ),
        ("bytes", Fingerprint::of_bytes("charge", b"\0\xffa\x80")),
    ] {
        assert_eq!(print, published(name), "{name}");
    }
    Ok(())
}

/// The table in the documentation of [`Fingerprint::of`].
#[test]
fn a_request_type_may_grow_as_documented() -> Result<(), Error> {
    #[derive(Serialize)]
    struct First {
        to: &'static str,
        cents: u32,
    }
    #[derive(Serialize)]
    struct Wider {
        cents: i128,
        to: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        first: First,
    }
    #[derive(Serialize)]
    struct Null {
        to: &'static str,
        cents: u32,
        note: Option<&'static str>,
    }
    let first = || First {
        to: "alice",
        cents: 5,
    };
    let before = Fingerprint::of("charge", &first())?;
    let wider = |note, to| Fingerprint::of("charge", &Wider { cents: 5, to, note });
    assert_eq!(wider(None, Some("alice"))?, before);
    assert_ne!(wider(Some("x"), Some("alice"))?, before);
    assert_ne!(wider(None, None)?, before);
    assert_eq!(Fingerprint::of("charge", &Flat { first: first() })?, before);
    let null = Null {
        to: "alice",
        cents: 5,
        note: None,
    };
    assert_ne!(Fingerprint::of("charge", &null)?, before);
    assert_ne!(Fingerprint::of("a", &1.0)?, Fingerprint::of("a", &1)?);
    Ok(())
}

/// As serde_json writes its numbers where a crate switches `arbitrary_precision` on.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::Number")]
struct Number {
    #[serde(rename = "$serde_json::private::Number")]
    text: &'static str,
}

#[test]
fn arbitrary_precision_changes_no_fingerprint() -> Result<(), Error> {
    for text in [
        "0",
        "-0",
        "7",
        "-7",
        "1.5",
        "1.10",
        "1e2",
        "0.1",
        "18446744073709551615",
        "1e300",
        "5e-324",
        "100000000000000000000",
        "-9223372036854775808",
        "2.2250738585072014e-308",
    ] {
        let without: serde_json::Value = serde_json::from_str(text).expect("a number");
        assert_eq!(
            Fingerprint::of("a", &Number { text })?,
            Fingerprint::of("a", &without)?,
            "{text}"
        );
    }
    // What no double holds is not rounded: these are numbers of their own.
    let exact = [
        "1.00000000000000000001",
        "1.00000000000000000002",
        "1",
        "1e400",
        "1e500",
        "340282366920938463463374607431768211455",
        "340282366920938463463374607431768211456",
    ];
    let prints: Result<std::collections::HashSet<_>, _> = exact
        .iter()
        .map(|text| Fingerprint::of("a", &Number { text }))
        .collect();
    assert_eq!(prints?.len(), exact.len());
    assert_eq!(
        Fingerprint::of(
            "a",
            &Number {
                text: "340282366920938463463374607431768211455"
            }
        )?,
        Fingerprint::of("a", &u128::MAX)?
    );
    assert_eq!(
        Fingerprint::of(
            "a",
            &Number {
                text: "0.100000000000000000010"
            }
        )?,
        Fingerprint::of(
            "a",
            &Number {
                text: "10000000000000000001e-20"
            }
        )?
    );
    Ok(())
}

#[test]
fn maps_in_any_order_and_depth_are_one() -> Result<(), Error> {
    let one: HashMap<_, HashMap<_, _>> = (0..30)
        .map(|i| (i, (0..i).map(|j| ((i, j), Some(j))).collect()))
        .collect();
    let two: HashMap<_, BTreeMap<_, _>> = (0..30)
        .rev()
        .map(|i| (i, (0..i).rev().map(|j| ((i, j), Some(j))).collect()))
        .collect();
    assert_eq!(Fingerprint::of("a", &one)?, Fingerprint::of("a", &two)?);
    // Around a map, nothing is held back wrongly.
    assert_ne!(
        Fingerprint::of("a", &(&one, 1))?,
        Fingerprint::of("a", &(1, &one))?
    );
    assert_eq!(
        Fingerprint::of("a", &(&one, &two))?,
        Fingerprint::of("a", &(&two, &one))?
    );
    Ok(())
}
