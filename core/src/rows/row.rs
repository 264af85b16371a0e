//! A row, read by the names or the places of its columns.

use std::{borrow::Cow, cell::Cell as Shared, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        Visitor,
    },
};
use serde_json::{Error, value::RawValue};

use super::cell::Cell;

/// The columns of one row, in order; also where two have one name.
#[derive(Default)]
pub(super) struct Columns<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Where a row did not read.
pub(super) enum Place {
    Column(String),
    Missing(String),
    Row,
}

impl<'a> Columns<'a> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, Place> {
        let at = Shared::new(None);
        let row = Row {
            columns: &self.0,
            at: &at,
        };
        T::deserialize(row).map_err(|error| {
            let text = error.to_string();
            let missing = text
                .strip_prefix("missing field `")
                .and_then(|rest| rest.split_once('`'));
            match (missing, at.get().and_then(|at| self.0.get(at))) {
                (Some((field, _)), _) => Place::Missing(field.to_owned()),
                (None, Some((name, _))) => Place::Column(name.clone().into_owned()),
                (None, None) => Place::Row,
            }
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    columns.push((name, map.next_value::<&RawValue>()?));
                }
                Ok(Columns(columns))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

/// The name of a column, borrowed where it needs no escape.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A row as something to deserialize from.
struct Row<'a> {
    columns: &'a [(Cow<'a, str>, &'a RawValue)],
    /// The column that is being read.
    at: &'a Shared<Option<usize>>,
}

impl<'a> Row<'a> {
    /// The only column.
    fn only(self) -> Result<Cell<'a>, Error> {
        match self.columns {
            [(_, value)] => {
                self.at.set(Some(0));
                Ok(Cell(value.get()))
            }
            columns => Err(Error::custom(format!("a row of {} columns", columns.len()))),
        }
    }

    fn in_order(self) -> InOrder<'a> {
        InOrder { row: self, next: 0 }
    }
}

/// What only a row of one column has.
macro_rules! of_the_only_column {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Row<'de> {
    type Error = Error;

    of_the_only_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    /// A type that takes what there is, such as a decimal number.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.columns {
            [_] => self.only()?.deserialize_any(visitor),
            _ => visitor.visit_map(self.in_order()),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.in_order())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(self.in_order())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.columns {
            [_] => self.only()?.deserialize_seq(visitor),
            _ => visitor.visit_seq(self.in_order()),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.columns.len() {
            columns if columns == length => visitor.visit_seq(self.in_order()),
            _ => self.only()?.deserialize_tuple(length, visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.columns {
            [_] => self.only()?.deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// Column by column.
struct InOrder<'a> {
    row: Row<'a>,
    next: usize,
}

impl<'a> InOrder<'a> {
    fn current(&self) -> Option<&'a (Cow<'a, str>, &'a RawValue)> {
        self.row.columns.get(self.next)
    }

    fn value<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((_, value)) = self.current() else {
            return Ok(None);
        };
        self.row.at.set(Some(self.next));
        self.next += 1;
        let value = seed.deserialize(Cell(value.get()))?;
        self.row.at.set(None);
        Ok(Some(value))
    }
}

impl<'de> MapAccess<'de> for InOrder<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        match self.current() {
            Some((name, _)) => seed.deserialize((&**name).into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.value(seed)?
            .ok_or_else(|| Error::custom("a value without its column"))
    }
}

impl<'de> SeqAccess<'de> for InOrder<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.value(seed)
    }
}
