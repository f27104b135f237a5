//! DER as it is written: elements from the inside out.

/// Tags of the elements that are made here.
pub(super) mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// `[0]` in front of an element as it is, or of some.
    pub const CONTEXT_0: u8 = 0xa0;
    /// `[0]` in place of the tag of an element without elements.
    pub const IMPLICIT_0: u8 = 0x80;
    /// `[3]`
    pub const CONTEXT_3: u8 = 0xa3;
}

use der::asn1::ObjectIdentifier;

/// Lengths up to this one are a byte of their own.
const SHORT_LENGTH_MAX: usize = 0x7f;

/// An element with this tag over the parts, one behind the other.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(len) if content.len() <= SHORT_LENGTH_MAX => element.push(len),
        _ => {
            let bytes = content.len().to_be_bytes();
            let unused = bytes.iter().take_while(|&&byte| byte == 0).count();
            let bytes = &bytes[unused..];
            // At most eight: the marker leaves room for 126.
            element.push(0x80 | bytes.iter().fold(0, |count, _| count + 1));
            element.extend_from_slice(bytes);
        }
    }
    element.extend(content);
    element
}

/// A sequence of the parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A number from 0 to 127.
pub(super) fn small(number: u8) -> Vec<u8> {
    element(tag::INTEGER, &[&[number]])
}

/// An identifier.
pub(super) fn oid(identifier: ObjectIdentifier) -> Vec<u8> {
    element(tag::OID, &[identifier.as_bytes()])
}

/// Whole bytes as a string of bits.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], bytes])
}

/// An algorithm whose parameters are said to be none.
pub(super) fn algorithm_with_null(identifier: ObjectIdentifier) -> Vec<u8> {
    sequence(&[&oid(identifier), &element(tag::NULL, &[])])
}

#[cfg(test)]
mod tests {
    use der::{AnyRef, Decode};

    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (len, head) in [
            (0, &[0x04, 0][..]),
            (127, &[0x04, 127]),
            (128, &[0x04, 0x81, 128]),
            (255, &[0x04, 0x81, 255]),
            (256, &[0x04, 0x82, 1, 0]),
            (70_000, &[0x04, 0x83, 1, 0x11, 0x70]),
        ] {
            let content = vec![7; len];
            let made = element(tag::OCTET_STRING, &[&content]);
            assert_eq!(made[..head.len()], *head);
            let read = AnyRef::from_der(&made).unwrap();
            assert!(read.value() == content, "{len}");
        }
    }
}
