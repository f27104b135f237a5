//! Certificates for one's own keys, such as systemd and the kernel take: X.509 v3, signed by the key itself, which may sign
//! data and nothing else.

use std::time::{Duration, SystemTime};

use der::asn1::ObjectIdentifier;
use rsa::rand_core::TryRng;
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use super::encode::{bits, element, oid, sequence, small, tag};
use super::private_key::PrivateKey;
use super::random::OsRandom;
use crate::{Error, ErrorKind, Result};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// X.509 v3, counted from 0.
const VERSION: u8 = 2;
/// The longest common name, in characters (RFC 5280, `ub-common-name`).
const NAME_MAX: usize = 64;
/// The longest validity, in days: a hundred years.
const DAYS_MAX: u32 = 36_525;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a serial number.
const SERIAL: usize = 16;
/// Bytes of the identifier of a key: the left ones of its SHA-256 (RFC 7093).
const KEY_ID: usize = 20;
/// The key may make digital signatures: the first of the bits, and seven that are not used.
const DIGITAL_SIGNATURE: [u8; 2] = [7, 0x80];
/// The first year whose times have four digits of it (RFC 5280, 4.1.2.5).
const LONG_YEARS: &str = "2050";

impl Certificate {
    /// A certificate for `key` with the common name `name`, valid for `days` days from `now` on. Its serial number is random.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an empty name, one of more than 64 characters or with control characters, and for no
    /// days or more than 36525; [`ErrorKind::Environment`] where there is no randomness.
    pub fn self_signed(key: &PrivateKey, name: &str, now: SystemTime, days: u32) -> Result<Self> {
        let count = name.chars().count();
        if count == 0 || count > NAME_MAX || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "'{}' cannot be a common name",
                name.escape_debug()
            ))
            .with_hint(format!(
                "1 to {NAME_MAX} characters, no control characters among them"
            )));
        }
        if days == 0 || days > DAYS_MAX {
            return Err(Error::invalid(format!(
                "a certificate for {days} days: must be 1 to {DAYS_MAX}"
            )));
        }
        let name = element(tag::UTF8_STRING, &[name.as_bytes()]);
        let name = sequence(&[&oid(COMMON_NAME), &name]);
        let name = sequence(&[&element(tag::SET, &[&name])]);
        let validity = sequence(&[&time(now), &time(now + DAY * days)]);
        let public = key.public_der()?;
        let method = key.method_of_certificate();
        let fields = sequence(&[
            &element(tag::CONTEXT_0, &[&small(VERSION)]),
            &element(tag::INTEGER, &[&serial()?]),
            &method,
            &name,
            &validity,
            &name,
            &public,
            &element(tag::CONTEXT_3, &[&extensions(&public)]),
        ]);
        let signature = key.sign(&fields)?;
        Self::from_der(&sequence(&[&fields, &method, &bits(&signature)]))
    }
}

/// A positive number that fills its bytes.
fn serial() -> Result<[u8; SERIAL]> {
    let mut serial = [0; SERIAL];
    OsRandom.try_fill_bytes(&mut serial).map_err(|error| {
        Error::new(ErrorKind::Environment, "making a serial number").with_source(error)
    })?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// A time as `YYMMDDHHMMSSZ`, from 2050 on with four digits of the year.
fn time(time: SystemTime) -> Vec<u8> {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if text.as_str() < LONG_YEARS {
        element(tag::UTC_TIME, &[&digits.as_bytes()[2..], b"Z"])
    } else {
        element(tag::GENERALIZED_TIME, &[digits.as_bytes(), b"Z"])
    }
}

fn extensions(public: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(public);
    let id = &digest[..KEY_ID];
    let is_critical = element(tag::BOOLEAN, &[&[0xff]]);
    let extension = |kind, critical: &[u8], value: &[u8]| {
        let value = element(tag::OCTET_STRING, &[value]);
        sequence(&[&oid(kind), critical, &value])
    };
    let usage = element(tag::BIT_STRING, &[&DIGITAL_SIGNATURE]);
    let subject = element(tag::OCTET_STRING, &[id]);
    let authority = sequence(&[&element(tag::IMPLICIT_0, &[id])]);
    sequence(&[
        &extension(BASIC_CONSTRAINTS, &is_critical, &sequence(&[])),
        &extension(KEY_USAGE, &is_critical, &usage),
        &extension(SUBJECT_KEY_ID, &[], &subject),
        &extension(AUTHORITY_KEY_ID, &[], &authority),
    ])
}
