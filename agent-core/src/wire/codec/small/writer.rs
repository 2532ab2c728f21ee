//! Writing a body. What does not fit is remembered, and nothing more is written.

use super::Never;
use core::fmt::Display;
use serde::ser::{self, Impossible, Serialize};

/// Writes one body.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut [u8],
    length: usize,
    fits: bool,
}

impl<'o> Writer<'o> {
    pub(in super::super) fn new(out: &'o mut [u8]) -> Self {
        Self { out, length: 0, fits: true }
    }

    #[inline(always)]
    pub(in super::super) fn put<T: ?Sized + Serialize>(&mut self, body: &T) {
        let Ok(()) = body.serialize(self);
    }

    /// Bytes that were written; `None` if it was too much.
    pub(in super::super) fn length(self) -> Option<usize> {
        self.fits.then_some(self.length)
    }

    #[inline(never)]
    fn byte(&mut self, byte: u8) {
        match self.out.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.fits = false,
        }
    }

    /// Seven bits a byte, the lowest first; all but the last have the highest bit set.
    #[inline(never)]
    fn number(&mut self, number: u64) {
        let mut rest = number;
        while rest > 0x7F {
            self.byte(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.byte(rest as u8);
    }

    /// Numbers near 0 are short, whatever their sign.
    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    #[inline(never)]
    fn counted(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for byte in bytes {
            self.byte(*byte);
        }
    }
}

/// Defines methods for kinds that are not on the wire; the reader of such a body would not compile.
macro_rules! not_on_the_wire {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {$(
        fn $name(self, $(_: $argument),*) -> Result<$result, Never> {
            unreachable!("this kind is not on the wire")
        }
    )*};
}

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), Never>;
    type SerializeTupleVariant = Impossible<(), Never>;
    type SerializeMap = Impossible<(), Never>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Never>;

    #[inline(always)]
    fn serialize_bool(self, value: bool) -> Result<(), Never> {
        self.byte(value.into());
        Ok(())
    }

    #[inline(always)]
    fn serialize_u8(self, value: u8) -> Result<(), Never> {
        self.byte(value);
        Ok(())
    }

    #[inline(always)]
    fn serialize_i8(self, value: i8) -> Result<(), Never> {
        self.byte(value as u8);
        Ok(())
    }

    #[inline(always)]
    fn serialize_u16(self, value: u16) -> Result<(), Never> {
        self.number(value.into());
        Ok(())
    }

    #[inline(always)]
    fn serialize_u32(self, value: u32) -> Result<(), Never> {
        self.number(value.into());
        Ok(())
    }

    #[inline(always)]
    fn serialize_u64(self, value: u64) -> Result<(), Never> {
        self.number(value);
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Never> {
        self.signed(value.into());
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Never> {
        self.signed(value.into());
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Never> {
        self.signed(value);
        Ok(())
    }

    #[inline(always)]
    fn serialize_str(self, value: &str) -> Result<(), Never> {
        self.counted(value.as_bytes());
        Ok(())
    }

    #[inline(always)]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Never> {
        self.counted(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Never> {
        self.byte(0);
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Never> {
        self.byte(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        Ok(())
    }

    #[inline(always)]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }

    #[inline(always)]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Never> {
        // Slices know theirs.
        self.number(length.unwrap_or(0) as u64);
        Ok(self)
    }

    #[inline(always)]
    fn serialize_tuple(self, _: usize) -> Result<Self, Never> {
        Ok(self)
    }

    #[inline(always)]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Never> {
        Ok(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Never> {
        const { panic!("this kind is not on the wire") }
    }

    fn collect_str<T: ?Sized + Display>(self, _: &T) -> Result<(), Never> {
        const { panic!("this kind is not on the wire") }
    }

    not_on_the_wire! {
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple_struct(&'static str, usize) -> Impossible<(), Never>;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Never>;
        serialize_map(Option<usize>) -> Impossible<(), Never>;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Never>;
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Implements what writes several values: one behind the other.
macro_rules! several {
    ($($kind:ident: $method:ident($($name:ty)?);)*) => {$(
        impl ser::$kind for &mut Writer<'_> {
            type Ok = ();
            type Error = Never;

            #[inline(always)]
            fn $method<T: ?Sized + Serialize>(&mut self, $(_: $name,)? value: &T) -> Result<(), Never> {
                value.serialize(&mut **self)
            }

            #[inline(always)]
            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        }
    )*};
}

several! {
    SerializeStruct: serialize_field(&'static str);
    SerializeTuple: serialize_element();
    SerializeSeq: serialize_element();
}

impl ser::Error for Never {
    fn custom<T: Display>(_: T) -> Self {
        // Only of kinds that are not on the wire.
        unreachable!()
    }
}
