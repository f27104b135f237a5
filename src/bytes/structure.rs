//! On-disk structures as tables: each field's name, offset and width stand once, and readers and writers share them.

use std::ops::Range;

use super::Guid;

/// Byte order of the numbers of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

/// A value that a field of a structure can hold.
pub(crate) trait Field: Sized {
    /// Its bytes on disk.
    const WIDTH: usize;

    /// The value in `bytes`, which are [`WIDTH`](Self::WIDTH) long.
    fn get(bytes: &[u8], order: Order) -> Self;

    /// Stores the value in `bytes`, which are [`WIDTH`](Self::WIDTH) long.
    fn put(self, bytes: &mut [u8], order: Order);
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Field for $number {
            const WIDTH: usize = size_of::<$number>();

            fn get(bytes: &[u8], order: Order) -> Self {
                let bytes = Field::get(bytes, order);
                match order {
                    Order::Little => Self::from_le_bytes(bytes),
                    Order::Big => Self::from_be_bytes(bytes),
                }
            }

            fn put(self, bytes: &mut [u8], order: Order) {
                match order {
                    Order::Little => bytes.copy_from_slice(&self.to_le_bytes()),
                    Order::Big => bytes.copy_from_slice(&self.to_be_bytes()),
                }
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 i16 i32 i64);

impl<const N: usize> Field for [u8; N] {
    const WIDTH: usize = N;

    fn get(bytes: &[u8], _order: Order) -> Self {
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        array
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        bytes.copy_from_slice(&self);
    }
}

impl<const N: usize> Field for [u32; N] {
    const WIDTH: usize = N * u32::WIDTH;

    fn get(bytes: &[u8], order: Order) -> Self {
        let mut array = [0; N];
        for (number, bytes) in array.iter_mut().zip(bytes.chunks_exact(u32::WIDTH)) {
            *number = Field::get(bytes, order);
        }
        array
    }

    fn put(self, bytes: &mut [u8], order: Order) {
        for (number, bytes) in self.into_iter().zip(bytes.chunks_exact_mut(u32::WIDTH)) {
            number.put(bytes, order);
        }
    }
}

/// In the mixed order of EFI and of Microsoft's formats, whatever the order of the numbers around it.
impl Field for Guid {
    const WIDTH: usize = 16;

    fn get(bytes: &[u8], order: Order) -> Self {
        Self::from_disk(Field::get(bytes, order))
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        bytes.copy_from_slice(&self.to_disk());
    }
}

/// The values that lie in `bytes` one after another.
pub(crate) fn in_a_row<T: Field>(bytes: &[u8], order: Order) -> impl Iterator<Item = T> {
    bytes
        .chunks_exact(T::WIDTH)
        .map(move |bytes| T::get(bytes, order))
}

/// Stores values one after another from the start of `bytes`, as far as there is room; what lies behind them is kept.
pub(crate) fn put_in_a_row<T: Field>(
    bytes: &mut [u8],
    values: impl IntoIterator<Item = T>,
    order: Order,
) {
    for (place, value) in bytes.chunks_exact_mut(T::WIDTH).zip(values) {
        value.put(place, order);
    }
}

/// Values one after another.
pub(crate) fn row_of<T: Field + Copy>(values: &[T], order: Order) -> Vec<u8> {
    let mut bytes = vec![0; T::WIDTH * values.len()];
    put_in_a_row(&mut bytes, values.iter().copied(), order);
    bytes
}

/// In place of a structure's buffer: `Footer::<Place>::checksum()` is where the field lies, from the structure's start.
#[derive(Debug)]
pub(crate) struct Place;

/// Whether a field lies within a structure of `size` bytes.
pub(crate) const fn field_fits(offset: usize, width: usize, size: usize) -> bool {
    offset + width <= size
}

/// The range of a field.
pub(crate) const fn field_range(offset: usize, width: usize) -> Range<usize> {
    offset..offset + width
}

/// Declares an on-disk structure over a buffer.
///
/// ```text
/// structure! {
///     /// The footer of a VHD (its specification, "Hard Disk Footer Format").
///     pub(super) struct Footer: "VHD footer", Big, 512 {
///         /// `conectix`.
///         0 => cookie: [u8; 8],
///         8 => features / set_features: u32,
///     }
/// }
/// ```
///
/// `Footer<B>` lies over any bytes, owned or borrowed. `Footer::over(bytes)` is an error where they are shorter than the
/// structure, as is `Footer::at(bytes, offset)`, one of several in a row; `Footer::zeroed()` owns as many zeroes as it
/// is long, and `Footer::blank()` does so without the heap. Each field has a method that reads it and, where a second
/// name is given, one that writes it; bytes that no field names stay as they are. An offset that does not fit the
/// structure does not compile. `Footer::<Place>::checksum()` is the range of a field's bytes.
macro_rules! structure {
    (
        $(#[$about:meta])*
        $see:vis struct $name:ident: $what:literal, $order:ident, $size:literal {
            $($(#[$doc:meta])* $offset:literal => $field:ident $(/ $set:ident)?: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $see struct $name<B>(B);

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl $name<Vec<u8>> {
            /// As many zeroes as the structure is long.
            $see fn zeroed() -> Self {
                Self(vec![0; $size])
            }
        }

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl $name<[u8; $size]> {
            /// As many zeroes as the structure is long, on the stack.
            $see const fn blank() -> Self {
                Self([0; $size])
            }
        }

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl $name<$crate::bytes::Place> {
            $(
                #[doc = concat!("Where `", stringify!($field), "` lies.")]
                $see const fn $field() -> std::ops::Range<usize> {
                    $crate::bytes::field_range($offset, <$type as $crate::bytes::Field>::WIDTH)
                }
            )*
        }

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl<'a> $name<&'a [u8]> {
            /// The structure at `offset` of `bytes`. Where it does not fit is [`crate::ErrorKind::Corrupt`].
            $see fn at(bytes: &'a [u8], offset: usize) -> $crate::error::Result<Self> {
                Ok(Self($crate::bytes::Fields::new($what, bytes).slice(offset, $size)?))
            }
        }

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl<B: AsRef<[u8]>> $name<B> {
            /// Length of the structure in bytes.
            $see const SIZE: usize = $size;

            /// The structure that begins at the start of `bytes`. Shorter bytes are [`crate::ErrorKind::Corrupt`].
            $see fn over(bytes: B) -> $crate::error::Result<Self> {
                $crate::bytes::Fields::new($what, bytes.as_ref()).slice(0, $size)?;
                Ok(Self(bytes))
            }

            /// All bytes, those behind the structure too.
            $see fn bytes(&self) -> &[u8] {
                self.0.as_ref()
            }

            /// Gives the buffer back.
            $see fn into_inner(self) -> B {
                self.0
            }

            $(
                $(#[$doc])*
                #[allow(clippy::int_plus_one, reason = "an offset of 1 is one of many")]
                $see fn $field(&self) -> $type {
                    const WIDTH: usize = <$type as $crate::bytes::Field>::WIDTH;
                    const { assert!($crate::bytes::field_fits($offset, WIDTH, $size), "the field ends within the structure") };
                    let bytes = &self.0.as_ref()[$offset..$offset + WIDTH];
                    <$type as $crate::bytes::Field>::get(bytes, $crate::bytes::Order::$order)
                }
            )*
        }

        #[allow(dead_code, reason = "a table names what there is; who reads and who writes use what they need")]
        impl<B: AsMut<[u8]>> $name<B> {
            /// All bytes, to be changed.
            $see fn bytes_mut(&mut self) -> &mut [u8] {
                self.0.as_mut()
            }

            $($(
                #[doc = concat!("Stores `", stringify!($field), "`.")]
                $see fn $set(&mut self, value: $type) {
                    const WIDTH: usize = <$type as $crate::bytes::Field>::WIDTH;
                    let bytes = &mut self.0.as_mut()[$offset..$offset + WIDTH];
                    <$type as $crate::bytes::Field>::put(value, bytes, $crate::bytes::Order::$order);
                }
            )?)*
        }
    };
}

pub(crate) use structure;

#[cfg(test)]
mod tests {
    use super::*;

    structure! {
        /// A structure with a gap.
        struct Sample: "sample", Big, 24 {
            /// A number.
            0 => number / set_number: u32,
            /// Another, behind a byte without a name.
            5 => small: u8,
            /// Bytes in their order.
            6 => tag / set_tag: [u8; 2],
            /// A GUID.
            8 => id / set_id: Guid,
        }
    }

    #[test]
    fn fields_are_read_and_written_and_the_rest_is_kept() {
        let mut bytes = [0xee; 30];
        let mut sample = Sample::over(&mut bytes[..]).unwrap();
        sample.set_number(0x0102_0304);
        sample.set_tag(*b"ab");
        let id = Guid::from_disk([7; 16]);
        sample.set_id(id);
        assert_eq!(bytes[..8], [1, 2, 3, 4, 0xee, 0xee, b'a', b'b']);
        assert_eq!(bytes[24..], [0xee; 6]);

        let sample = Sample::over(&bytes).unwrap();
        assert_eq!(
            (sample.number(), sample.small(), sample.tag(), sample.id()),
            (0x0102_0304, 0xee, *b"ab", id)
        );
        assert_eq!(sample.bytes().len(), 30);
        assert_eq!(Sample::at(&bytes, 3).unwrap().number(), 0x04ee_ee61);
    }

    structure! {
        /// A structure with a row of numbers.
        struct Row: "row", Little, 12 {
            /// The numbers.
            4 => numbers / set_numbers: [u32; 2],
        }
    }

    #[test]
    fn rows_of_numbers_are_read_and_written_in_their_order() {
        let mut row = Row::blank();
        row.set_numbers([1, 0x0203_0405]);
        assert_eq!(row.bytes(), [0, 0, 0, 0, 1, 0, 0, 0, 5, 4, 3, 2]);
        assert_eq!(row.numbers(), [1, 0x0203_0405]);
        let again: Vec<u32> = in_a_row(row.bytes(), Order::Big).collect();
        assert_eq!(again, [0, 0x0100_0000, 0x0504_0302]);
        assert_eq!(row_of(&again, Order::Big), row.bytes());

        let mut bytes = [9; 5];
        put_in_a_row(&mut bytes, [0x0102_u16], Order::Big);
        assert_eq!(bytes, [1, 2, 9, 9, 9]);
        put_in_a_row(&mut bytes, [3_u16, 4, 5], Order::Little);
        assert_eq!(bytes, [3, 0, 4, 0, 9]);
    }

    #[test]
    fn a_field_says_where_it_lies() {
        assert_eq!(Row::<Place>::numbers(), 4..12);
        assert_eq!(Sample::<Place>::small(), 5..6);
        assert_eq!(Sample::<Place>::id(), 8..24);
    }

    #[test]
    fn short_bytes_are_an_error() {
        let error = Sample::over(&[0; 23][..]).unwrap_err();
        assert!(error.to_string().contains("sample is cut short"), "{error}");
        assert!(Sample::at(&[0; 24], 1).is_err() && Sample::at(&[0; 24], usize::MAX).is_err());
        assert_eq!(Sample::zeroed().into_inner(), vec![0; 24]);
    }
}
