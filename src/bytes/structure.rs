//! On-disk structures as tables: each field's name, offset and width stand once, and readers and writers share them.

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

numbers!(u8 u16 u32 u64 i32 i64);

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

/// Whether a field lies within a structure of `size` bytes.
pub(crate) const fn field_fits(offset: usize, width: usize, size: usize) -> bool {
    offset + width <= size
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
/// structure, as is `Footer::at(bytes, offset)`, one of several in a row; `Footer::zeroed()` owns as many zeroes as it is long. Each field has a method that reads it and, where a
/// second name is given, one that writes it; bytes that no field names stay as they are. An offset that does not fit
/// the structure does not compile.
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

    #[test]
    fn short_bytes_are_an_error() {
        let error = Sample::over(&[0; 23][..]).unwrap_err();
        assert!(error.to_string().contains("sample is cut short"), "{error}");
        assert!(Sample::at(&[0; 24], 1).is_err() && Sample::at(&[0; 24], usize::MAX).is_err());
        assert_eq!(Sample::zeroed().into_inner(), vec![0; 24]);
    }
}
