//! Random values of a type that holds whatever a receipt may hold, and what it may not.

use std::collections::{BTreeMap, HashMap, HashSet};

use exactly_once::Fingerprint;
use serde::{Deserialize, Serialize};

/// Splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Value {
    Unit,
    Double(f64),
    Single(f32),
    Whole(i64),
    Wide(i128),
    Unsigned(u128),
    Text(String),
    Letter(char),
    Bytes(Vec<u8>),
    Maybe(Option<Option<Box<Value>>>),
    MaybeFloat(Option<f64>),
    List(Vec<Value>),
    Map(HashMap<String, Value>),
    Numbers(BTreeMap<i64, u8>),
    Pairs(BTreeMap<(u8, u8), u8>),
    Set(HashSet<u64>),
    Struct { a: u8, b: Option<()>, c: Box<Value> },
    Tagged(Tagged),
    Flat(Flat),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
pub(crate) enum Tagged {
    Float(f64),
    Wide(u128),
    Text(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, f64>,
}

fn double(random: &mut Random) -> f64 {
    match random.below(8) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -0.0,
        3 => f64::from_bits(random.below(1 << 52)),
        4 => f64::from_bits(random.next()),
        _ => random.next() as f64 / u64::MAX as f64,
    }
}

fn text(random: &mut Random) -> String {
    let letter = |random: &mut Random| {
        let ends = [0x80, 0x800, 0x1_0000, 0x11_0000];
        let end = ends[random.below(4) as usize];
        char::from_u32(random.below(end) as u32).unwrap_or('\0')
    };
    (0..random.below(6)).map(|_| letter(random)).collect()
}

pub(crate) fn value(random: &mut Random, depth: u32) -> Value {
    let wide = |random: &mut Random| u128::from(random.next()) << 64 | u128::from(random.next());
    let deeper = if depth == 0 { 10 } else { 20 };
    match random.below(deeper) {
        0 => Value::Unit,
        1 => Value::Double(double(random)),
        2 => Value::Single(f32::from_bits(random.next() as u32)),
        3 => Value::Whole(random.next() as i64),
        4 => Value::Wide(wide(random) as i128),
        5 => Value::Unsigned(wide(random)),
        6 => Value::Text(text(random)),
        7 => Value::Letter(text(random).chars().next().unwrap_or('x')),
        8 => Value::Bytes((0..random.below(20)).map(|_| random.next() as u8).collect()),
        9 => Value::MaybeFloat((random.below(3) > 0).then(|| double(random))),
        10 => Value::Maybe(match random.below(3) {
            0 => None,
            1 => Some(None),
            _ => Some(Some(Box::new(value(random, depth - 1)))),
        }),
        11 => Value::List(
            (0..random.below(4))
                .map(|_| value(random, depth - 1))
                .collect(),
        ),
        12 => Value::Map(
            (0..random.below(4))
                .map(|_| (text(random), value(random, depth - 1)))
                .collect(),
        ),
        13 => Value::Numbers(
            (0..random.below(4))
                .map(|_| (random.next() as i64, 1))
                .collect(),
        ),
        14 => Value::Pairs((0..random.below(2)).map(|at| ((at as u8, 1), 1)).collect()),
        15 => Value::Set((0..random.below(9)).map(|_| random.next()).collect()),
        16 => Value::Struct {
            a: random.next() as u8,
            b: (random.below(2) > 0).then_some(()),
            c: Box::new(value(random, depth - 1)),
        },
        17 => Value::Tagged(match random.below(3) {
            0 => Tagged::Float(double(random)),
            1 => Tagged::Wide(wide(random)),
            _ => Tagged::Text(text(random)),
        }),
        18 => Value::Flat(Flat {
            id: 1,
            rest: (0..random.below(3))
                .map(|_| (text(random), double(random)))
                .collect(),
        }),
        _ => Value::Flat(Flat {
            id: 1,
            rest: BTreeMap::from([("id".to_owned(), 1.0)]),
        }),
    }
}

/// The value bit by bit, apart from the order of maps. Sets have an order each time, so not theirs.
pub(crate) fn bits(value: &Value) -> Option<Fingerprint> {
    (!format!("{value:?}").contains("Set(")).then(|| Fingerprint::of("bits", value).unwrap())
}
