//! The value of one column, read as the type that the program asks for.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IntoDeserializer, Visitor, value::SeqDeserializer},
};
use serde_json::{Error, value::RawValue};

use crate::value::json::bytes_of;

/// A value, as its JSON.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a>(pub(super) &'a str);

/// What JSON distinguishes.
enum Kind<'a> {
    Null,
    Bool(bool),
    Text(Cow<'a, str>),
    /// Its digits.
    Number(&'a str),
    /// A list or an object.
    Nested(&'a str),
}

impl<'a> Cell<'a> {
    fn kind(self) -> Result<Kind<'a>, Error> {
        /// Borrowed where it needs no escape.
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        Ok(match (self.0, self.0.as_bytes().first()) {
            ("null", _) => Kind::Null,
            ("true", _) => Kind::Bool(true),
            ("false", _) => Kind::Bool(false),
            (text, Some(b'"')) => Kind::Text(serde_json::from_str::<Text<'_>>(text)?.0),
            (json, Some(b'[' | b'{')) => Kind::Nested(json),
            (digits, _) => Kind::Number(digits),
        })
    }

    /// As text, whatever it is.
    fn text(self) -> Result<Cow<'a, str>, Error> {
        Ok(match self.kind()? {
            Kind::Null => return Err(Error::custom("NULL")),
            Kind::Bool(flag) => Cow::from(if flag { "true" } else { "false" }),
            Kind::Text(text) => text,
            Kind::Number(json) | Kind::Nested(json) => Cow::from(json),
        })
    }

    fn parse<T: std::str::FromStr>(self) -> Result<T, Error> {
        let parsed = self.text()?.parse();
        parsed.map_err(|_| Error::custom("no such number"))
    }
}

fn nested(json: &str) -> serde_json::Deserializer<serde_json::de::StrRead<'_>> {
    serde_json::Deserializer::from_str(json)
}

/// JSON that stands in text, as in a database without a type for it. Nothing is borrowed from the text.
fn owned(text: &str) -> serde_json::Deserializer<serde_json::de::IoRead<&[u8]>> {
    serde_json::Deserializer::from_reader(text.as_bytes())
}

/// Whether a float gives the number as it is written.
fn is_exact(digits: &str, number: f64) -> bool {
    let written = digits.strip_suffix(".0").unwrap_or(digits);
    number.is_finite() && number.to_string() == written
}

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parse()?)
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32
        deserialize_i64 visit_i64 deserialize_i128 visit_i128 deserialize_u8 visit_u8
        deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    texts! { deserialize_str deserialize_string deserialize_char deserialize_identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(flag) => visitor.visit_bool(flag),
            Kind::Text(_) => self.deserialize_str(visitor),
            Kind::Nested(json) => nested(json).deserialize_any(visitor),
            Kind::Number(digits) => {
                if let Ok(number) = digits.parse() {
                    return visitor.visit_i64(number);
                }
                if let Ok(number) = digits.parse() {
                    return visitor.visit_u64(number);
                }
                match digits.parse() {
                    Ok(number) if is_exact(digits, number) => visitor.visit_f64(number),
                    _ => visitor.visit_borrowed_str(digits),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &*self.text()? {
            "true" | "t" | "1" => visitor.visit_bool(true),
            "false" | "f" | "0" => visitor.visit_bool(false),
            _ => Err(Error::custom("no truth value")),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text()?;
        match bytes_of(&text) {
            Some(bytes) => visitor.visit_byte_buf(bytes),
            None => visitor.visit_byte_buf(text.into_owned().into_bytes()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Null => visitor.visit_unit(),
            _ => Err(Error::custom("no NULL")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // How serde_json asks for the JSON itself.
        if name == "$serde_json::private::RawValue" {
            return nested(self.0).deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Nested(json) => {
                let items: Vec<&'de RawValue> = serde_json::from_str(json)?;
                let cells = items.into_iter().map(|item| Cell(item.get()));
                visitor.visit_seq(SeqDeserializer::new(cells))
            }
            Kind::Text(text) => match bytes_of(&text) {
                Some(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
                None if text.starts_with('[') => owned(&text).deserialize_seq(visitor),
                None => Err(Error::custom("no list")),
            },
            _ => Err(Error::custom("no list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Nested(json) => nested(json).deserialize_map(visitor),
            Kind::Text(text) if text.starts_with('{') => owned(&text).deserialize_map(visitor),
            _ => Err(Error::custom("no object")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Nested(json) => nested(json).deserialize_enum(name, variants, visitor),
            Kind::Text(text) if text.starts_with('{') => {
                owned(&text).deserialize_enum(name, variants, visitor)
            }
            Kind::Text(text) => visitor.visit_enum(text.into_owned().into_deserializer()),
            _ => Err(Error::custom("no name of a variant")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

impl<'de> IntoDeserializer<'de, Error> for Cell<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
