//! The canonical form of a value: written by serde straight into SHA-256.
//!
//! Each value begins with a tag of one byte. Text and bytes carry their length; sequences, maps and
//! variants carry an end or are followed by exactly one value. So no form is the beginning of
//! another one, and two values have one form only if serde says the same of both.
//! [`Fingerprint::of`](crate::Fingerprint::of) documents the form.

use std::fmt;

use serde::{Serialize, ser};
use sha2::{Digest, Sha256};

use decimal::Decimal;

mod decimal;

/// The type whose number serde_json writes as text, where a crate of the program switches
/// `arbitrary_precision` on.
const JSON_NUMBER: &str = "$serde_json::private::Number";

/// All NaN are one.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// Why a value has no canonical form: its own `Serialize` refused.
#[derive(Debug)]
pub(crate) struct NoForm(String);

impl fmt::Display for NoForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoForm {}

impl ser::Error for NoForm {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Done = Result<(), NoForm>;

/// Whether the order of a sequence's items counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequences {
    Ordered,
    /// Sorted like maps: for comparing one value with its copy, whose sets iterate in another order.
    Sorted,
}

/// Writes values in their canonical form into a hash.
pub(crate) struct Canonical {
    hash: Sha256,
    /// What lies inside a map that is open, until the map's entries can be sorted.
    held: Vec<u8>,
    /// How many maps are open.
    open: usize,
    /// How many `Some` surround the value that comes next.
    some: usize,
    sequences: Sequences,
}

impl Canonical {
    /// Into a hash that has absorbed something already, or nothing.
    pub(crate) fn new(hash: Sha256, sequences: Sequences) -> Self {
        Self {
            hash,
            held: Vec::new(),
            open: 0,
            some: 0,
            sequences,
        }
    }

    /// Absorbs one value and gives the hash.
    pub(crate) fn digest(mut self, value: &(impl Serialize + ?Sized)) -> Result<[u8; 32], NoForm> {
        value.serialize(&mut self)?;
        Ok(self.hash.finalize().into())
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.open == 0 {
            self.hash.update(bytes);
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Begins a value. `Some` is seen only around a `None`: there it gives the depth.
    fn tag(&mut self, tag: u8) {
        let some = std::mem::take(&mut self.some);
        if tag == b'n' {
            for _ in 0..some {
                self.write(b"S");
            }
        }
        self.write(&[tag]);
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.tag(tag);
        self.write(&(bytes.len() as u64).to_be_bytes());
        self.write(bytes);
    }

    /// The sign, and 16 bytes: two's complement, big-endian, of 136 bits.
    fn integer(&mut self, sign: u8, low: [u8; 16]) {
        self.tag(b'i');
        self.write(&[sign]);
        self.write(&low);
    }

    fn signed(&mut self, value: i128) {
        let sign = if value < 0 { 0xff } else { 0 };
        self.integer(sign, value.to_be_bytes());
    }

    fn float(&mut self, value: f64) {
        let bits = if value.is_nan() { NAN } else { value.to_bits() };
        self.tag(b'd');
        self.write(&bits.to_be_bytes());
    }

    /// A number of serde_json that comes as text, as what it would be without that feature where
    /// nothing is lost by it.
    fn number(&mut self, text: &str) {
        if text != "-0" {
            if let Ok(value) = text.parse::<u64>() {
                return self.integer(0, u128::from(value).to_be_bytes());
            }
            if let Ok(value) = text.parse::<i64>() {
                return self.signed(value.into());
            }
        }
        let exact = Decimal::parse(text);
        if let Ok(value) = text.parse::<f64>()
            && value.is_finite()
            && Decimal::parse(&format!("{value:e}")) == exact
        {
            return self.float(value);
        }
        if let Ok(value) = text.parse::<u128>() {
            return self.integer(0, value.to_be_bytes());
        }
        if let Ok(value) = text.parse::<i128>() {
            return self.signed(value);
        }
        match exact {
            Some(exact) => self.sized(b'N', exact.to_string().as_bytes()),
            None => self.sized(b'N', text.as_bytes()),
        }
    }

    fn variant(&mut self, name: &str) {
        self.sized(b'v', name.as_bytes());
    }

    fn sorted(&mut self, tag: u8) -> Parts<'_> {
        self.tag(tag);
        self.open += 1;
        let entries = Some(Entries {
            begin: self.held.len(),
            starts: Vec::new(),
        });
        Parts { to: self, entries }
    }

    fn map(&mut self) -> Parts<'_> {
        self.sorted(b'm')
    }

    fn sequence(&mut self) -> Parts<'_> {
        if self.sequences == Sequences::Sorted {
            return self.sorted(b'a');
        }
        self.tag(b'a');
        Parts {
            to: self,
            entries: None,
        }
    }

    /// Passes the entries on in the order of their bytes: of the keys, since no key's form is the
    /// beginning of another's.
    fn sort(&mut self, entries: &Entries) {
        let ends = entries.starts.iter().skip(1).copied();
        let ends = ends.chain([self.held.len()]);
        let held = &self.held;
        let mut sorted: Vec<&[u8]> = entries
            .starts
            .iter()
            .zip(ends)
            .filter_map(|(start, end)| held.get(*start..end))
            .collect();
        let ordered = sorted.is_sorted();
        if !ordered {
            sorted.sort_unstable();
        }
        if self.open == 1 {
            sorted.iter().for_each(|entry| self.hash.update(entry));
            self.held.clear();
        } else if !ordered {
            let sorted = sorted.concat();
            self.held.truncate(entries.begin);
            self.held.extend_from_slice(&sorted);
        }
        self.open -= 1;
    }
}

/// Where the entries of an open map begin.
struct Entries {
    begin: usize,
    starts: Vec<usize>,
}

/// A sequence or a map that is being written.
pub(crate) struct Parts<'a> {
    to: &'a mut Canonical,
    /// Of what is sorted at the end.
    entries: Option<Entries>,
}

impl Parts<'_> {
    fn entry(&mut self) {
        if let Some(entries) = &mut self.entries {
            entries.starts.push(self.to.held.len());
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Done {
        self.entry();
        value.serialize(&mut *self.to)
    }

    fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Done {
        self.entry();
        self.to.sized(b's', name.as_bytes());
        value.serialize(&mut *self.to)
    }

    fn close(self) {
        if let Some(entries) = &self.entries {
            self.to.sort(entries);
        }
        self.to.write(b"e");
    }
}

/// A struct, or the number that serde_json writes as one.
pub(crate) enum Fields<'a> {
    Parts(Parts<'a>),
    Number(&'a mut Canonical),
}

macro_rules! integers {
    ($($method:ident: $from:ty),*) => {$(
        fn $method(self, value: $from) -> Done {
            self.signed(value.into());
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Canonical {
    type Ok = ();
    type Error = NoForm;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Parts<'a>;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64
    );

    fn serialize_u128(self, value: u128) -> Done {
        self.integer(0, value.to_be_bytes());
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Done {
        self.tag(if value { b't' } else { b'f' });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.float(value.into());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Done {
        self.float(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Done {
        self.sized(b's', value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.sized(b'b', value);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.tag(b'n');
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.some += 1;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        self.tag(b'u');
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.variant(variant);
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        self.variant(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, NoForm> {
        Ok(self.sequence())
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, NoForm> {
        Ok(self.sequence())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, NoForm> {
        Ok(self.sequence())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, NoForm> {
        self.variant(variant);
        Ok(self.sequence())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, NoForm> {
        Ok(self.map())
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a>, NoForm> {
        Ok(match name {
            JSON_NUMBER => Fields::Number(self),
            _ => Fields::Parts(self.map()),
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, NoForm> {
        self.variant(variant);
        Ok(self.map())
    }
}

macro_rules! items {
    ($($trait:ident :: $method:ident),*) => {$(
        impl ser::$trait for Parts<'_> {
            type Ok = ();
            type Error = NoForm;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.item(value)
            }
            fn end(self) -> Done {
                self.close();
                Ok(())
            }
        }
    )*};
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = NoForm;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.item(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut *self.to)
    }

    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Parts<'_> {
    type Ok = ();
    type Error = NoForm;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        self.field(name, value)
    }

    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = NoForm;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        match self {
            Self::Parts(parts) => parts.field(name, value),
            Self::Number(to) => {
                to.number(&value.serialize(decimal::Text)?);
                Ok(())
            }
        }
    }

    fn end(self) -> Done {
        match self {
            Self::Parts(parts) => parts.close(),
            Self::Number(_) => {}
        }
        Ok(())
    }
}
