//! The skeleton that every header view shares.
//!
//! A view wraps exactly the fixed bytes of a header as an array: the length is checked once, when the view is made,
//! and every access after that is a constant offset that needs no check and cannot panic. The same view works over
//! borrowed bytes (to read or patch a packet) and over an array of its own (to build a header).

/// An integer or hardware address as it lies on the wire.
pub(crate) trait Wire: Sized {
    /// Reads at a byte offset.
    fn get<const N: usize>(bytes: &[u8; N], at: usize) -> Self;
    /// Writes at a byte offset.
    fn put<const N: usize>(self, bytes: &mut [u8; N], at: usize);
}

macro_rules! wire_integers {
    ($($t:ty)+) => {$(
        impl Wire for $t {
            #[inline(always)]
            fn get<const N: usize>(bytes: &[u8; N], at: usize) -> Self {
                let mut value = [0; size_of::<$t>()];
                value.copy_from_slice(&bytes[at..at + size_of::<$t>()]);
                <$t>::from_be_bytes(value)
            }

            #[inline(always)]
            fn put<const N: usize>(self, bytes: &mut [u8; N], at: usize) {
                bytes[at..at + size_of::<$t>()].copy_from_slice(&self.to_be_bytes());
            }
        }
    )+};
}

wire_integers!(u8 u16 u32 u128);

impl Wire for [u8; 6] {
    #[inline(always)]
    fn get<const N: usize>(bytes: &[u8; N], at: usize) -> Self {
        let mut value = [0; 6];
        value.copy_from_slice(&bytes[at..at + 6]);
        value
    }

    #[inline(always)]
    fn put<const N: usize>(self, bytes: &mut [u8; N], at: usize) {
        bytes[at..at + 6].copy_from_slice(&self);
    }
}

/// Declares a view: its name, its length in bytes, and its whole fields as `getter, setter: type = offset`.
macro_rules! view {
    (
        $(#[$outer:meta])*
        $name:ident[$len:literal] {
            $($(#[$doc:meta])+ $get:ident, $set:ident: $t:ty = $at:literal;)+
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<T>(T);

        impl<'a> $name<&'a [u8; $len]> {
            /// Views the first bytes of `bytes` to read; `None` if there are too few.
            #[inline(always)]
            pub fn new_checked(bytes: &'a [u8]) -> Option<Self> {
                bytes.first_chunk().map(Self)
            }
        }

        impl<'a> $name<&'a mut [u8; $len]> {
            /// Views an array to read and write.
            #[inline(always)]
            pub fn of_mut(bytes: &'a mut [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Views the first bytes of `bytes` to read and write; `None` if there are too few.
            #[inline(always)]
            pub fn new_checked_mut(bytes: &'a mut [u8]) -> Option<Self> {
                bytes.first_chunk_mut().map(Self)
            }
        }

        impl $name<[u8; $len]> {
            /// A header of zeros, to build on.
            #[inline(always)]
            pub const fn zeroed() -> Self {
                Self([0; $len])
            }
        }

        impl<T: core::borrow::Borrow<[u8; $len]>> $name<T> {
            /// Length of the fixed part in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[inline(always)]
            pub fn bytes(&self) -> &[u8; $len] {
                self.0.borrow()
            }

            $(
                $(#[$doc])+
                #[inline(always)]
                pub fn $get(&self) -> $t {
                    <$t as $crate::view::Wire>::get(self.0.borrow(), $at)
                }
            )+
        }

        impl<T: core::borrow::BorrowMut<[u8; $len]>> $name<T> {
            $(
                #[doc = concat!("Writes what `", stringify!($get), "` reads.")]
                #[inline(always)]
                pub fn $set(&mut self, value: $t) {
                    $crate::view::Wire::put(value, self.0.borrow_mut(), $at);
                }
            )+
        }
    };
}

pub(crate) use view;
