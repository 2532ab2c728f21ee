//! Reading a body. What is bad is remembered, and read as 0 or empty.

use super::Never;
use core::fmt::Display;
use serde::de::{self, DeserializeSeed, Expected, Unexpected, Visitor};

/// See the module.
#[derive(Debug)]
pub(super) struct Reader<'de> {
    /// Not read so far.
    pub(super) rest: &'de [u8],
    /// A field was cut short, or is not valid.
    pub(super) is_bad: bool,
    /// Zeros were read that are not there.
    pub(super) is_short: bool,
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes, is_bad: false, is_short: false }
    }

    /// Behind the end are zeros. A length is one of the bytes that are made up, and is then 0, so that no made-up text
    /// can be longer than nothing.
    #[inline(never)]
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            self.is_short = true;
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// A number of so many bits, seven a byte, the lowest first; all bytes but the last have the highest bit set.
    #[inline(never)]
    fn number(&mut self, bits: u32) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while shift < bits {
            let byte = self.byte();
            let part = u64::from(byte & 0x7F);
            number |= part << shift;
            if byte == part as u8 {
                let room = bits - shift;
                self.is_bad |= room < 7 && part >> room != 0;
                return number;
            }
            shift += 7;
        }
        self.is_bad = true;
        0
    }

    /// See the writer's.
    fn signed(&mut self, bits: u32) -> i64 {
        let number = self.number(bits);
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    fn flag(&mut self) -> bool {
        let byte = self.byte();
        self.is_bad |= byte > 1;
        byte == 1
    }

    #[inline(never)]
    fn counted(&mut self) -> &'de [u8] {
        let length = self.number(usize::BITS) as usize;
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                taken
            }
            None => {
                self.is_bad = true;
                &[]
            }
        }
    }

    #[inline(never)]
    fn text(&mut self) -> &'de str {
        core::str::from_utf8(self.counted()).unwrap_or_else(|_| {
            self.is_bad = true;
            ""
        })
    }
}

/// Defines methods for kinds that are not on the wire: to use one is an error of the compiler.
macro_rules! not_on_the_wire {
    ($($name:ident($($argument:ty),*);)*) => {$(
        fn $name<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Never> {
            const { panic!("this kind is not on the wire") }
        }
    )*};
}

/// Defines methods for kinds that are read by an expression of a reader.
macro_rules! plain {
    ($($name:ident: $visit:ident(|$reader:ident| $value:expr);)*) => {$(
        #[inline(always)]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
            let $reader = self;
            visitor.$visit($value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Never;

    plain! {
        deserialize_bool: visit_bool(|reader| reader.flag());
        deserialize_u8: visit_u8(|reader| reader.byte());
        deserialize_i8: visit_i8(|reader| reader.byte() as i8);
        deserialize_u16: visit_u16(|reader| reader.number(16) as u16);
        deserialize_u32: visit_u32(|reader| reader.number(32) as u32);
        deserialize_u64: visit_u64(|reader| reader.number(64));
        deserialize_i16: visit_i16(|reader| reader.signed(16) as i16);
        deserialize_i32: visit_i32(|reader| reader.signed(32) as i32);
        deserialize_i64: visit_i64(|reader| reader.signed(64));
        deserialize_str: visit_borrowed_str(|reader| reader.text());
        deserialize_bytes: visit_borrowed_bytes(|reader| reader.counted());
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        if self.flag() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Never> {
        visitor.visit_unit()
    }

    #[inline(always)]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Never> {
        visitor.visit_newtype_struct(self)
    }

    #[inline(always)]
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_seq(Fields(self))
    }

    #[inline(always)]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Never> {
        visitor.visit_seq(Fields(self))
    }

    not_on_the_wire! {
        deserialize_any();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_string();
        deserialize_byte_buf();
        deserialize_seq();
        deserialize_map();
        deserialize_identifier();
        deserialize_ignored_any();
        deserialize_tuple_struct(&'static str, usize);
        deserialize_enum(&'static str, &'static [&'static str]);
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The fields of a struct, of which there are always more.
struct Fields<'r, 'de>(&'r mut Reader<'de>);

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Never;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Never> {
        let Ok(value) = seed.deserialize(&mut *self.0);
        Ok(Some(value))
    }

    #[inline(always)]
    fn next_element<T: de::Deserialize<'de>>(&mut self) -> Result<Option<T>, Never> {
        let Ok(value) = T::deserialize(&mut *self.0);
        Ok(Some(value))
    }
}

/// What is read is always of the kind that was asked for, and never ends: none of these is called but by a kind that
/// refuses values by itself, which is not on the wire.
impl de::Error for Never {
    fn custom<T: Display>(_: T) -> Self {
        unreachable!()
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        unreachable!()
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        unreachable!()
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        unreachable!()
    }
}
