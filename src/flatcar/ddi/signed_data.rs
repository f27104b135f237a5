//! SignedData of CMS (RFC 5652) over content that stands elsewhere:
//!
//! ```text
//!   ContentInfo    signedData, [0] SignedData
//!   SignedData     version, digests, content (none), [0] certificates, [1] lists of revoked ones, SignerInfos
//!   SignerInfo     version, who, digest, [0] attributes, method, signature, [1] attributes
//! ```
//!
//! The signature is over the content; or, where there are signed attributes, over those, and one of them is the content's
//! digest. Certificates in it prove nothing, and are not looked at.

use der::asn1::ObjectIdentifier;
use der::{Decode, Tag};
use x509_cert::name::Name;

use super::certificate::Certificate;
use super::element::{Element, Elements, damaged};
use super::public_key::{Hash, Method};
use crate::bytes::hex;
use crate::{Error, ErrorKind, Reason, Result};

pub(super) const SIGNED_DATA: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
pub(super) const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

/// Versions of a SignedData, by what it holds.
const SIGNED_DATA_VERSIONS: [u8; 4] = [1, 3, 4, 5];
/// The most signers that are looked at.
const SIGNERS_MAX: usize = 16;
/// The tag of a set, by which signed attributes are signed.
const SET: u8 = 0x31;

pub(super) struct SignedData<'a> {
    signers: Vec<Signer<'a>>,
}

/// A SignerInfo.
struct Signer<'a> {
    who: Who<'a>,
    hash: Hash,
    attributes: Option<Element<'a>>,
    method: Method,
    signature: &'a [u8],
}

/// Whose key it is said to be.
enum Who<'a> {
    /// Issuer and serial number of a certificate, as elements.
    Certificate { issuer: &'a [u8], serial: &'a [u8] },
    /// The identifier of a key.
    Key(&'a [u8]),
}

impl<'a> SignedData<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut info = Element::only(bytes)?.expect(Tag::Sequence)?.elements()?;
        if oid(info.next()?)? != SIGNED_DATA {
            return Err(Error::corrupt("the signature is not a SignedData of CMS"));
        }
        let inner = info
            .take_context(0)?
            .ok_or_else(|| Error::corrupt("the signature has no SignedData"))?;
        info.end()?;
        let mut fields = Element::only(inner.value)?
            .expect(Tag::Sequence)?
            .elements()?;
        version(fields.take(Tag::Integer)?, &SIGNED_DATA_VERSIONS)?;
        let digests = algorithms(fields.take(Tag::Set)?)?;
        check_content(fields.take(Tag::Sequence)?)?;
        fields.take_context(0)?;
        fields.take_context(1)?;
        let mut infos = fields.take(Tag::Set)?.elements()?;
        fields.end()?;
        let mut signers = Vec::new();
        while !infos.is_empty() {
            if signers.len() == SIGNERS_MAX {
                return Err(Error::unsupported(format!(
                    "the signature has more than {SIGNERS_MAX} signers"
                ))
                .because(Reason::Limit));
            }
            signers.push(Signer::parse(infos.take(Tag::Sequence)?, &digests)?);
        }
        Ok(Self { signers })
    }

    /// Who is said to have signed: issuer and serial number of a certificate, or the identifier of a key.
    pub fn signers(&self) -> Result<Vec<String>> {
        let name = |signer: &Signer<'_>| match signer.who {
            Who::Certificate { issuer, serial } => {
                let issuer = Name::from_der(issuer).map_err(|error| {
                    Error::corrupt("the issuer of the signer's certificate cannot be read")
                        .with_source(error)
                })?;
                let serial = Element::only(serial)?.value;
                Ok(format!("{issuer}, certificate {}", hex(serial)))
            }
            Who::Key(id) => Ok(format!("key {}", hex(id))),
        };
        self.signers.iter().map(name).collect()
    }

    /// The one of `certificates` whose key signed `content`.
    pub fn verify<'c>(
        &self,
        content: &[u8],
        certificates: &'c [Certificate],
    ) -> Result<&'c Certificate> {
        let mut is_known = false;
        for signer in &self.signers {
            for certificate in certificates.iter().filter(|one| signer.who.is(one)) {
                is_known = true;
                if signer.signed(content, certificate)? {
                    return Ok(certificate);
                }
            }
        }
        Err(if is_known { bad() } else { unknown() })
    }
}

/// The content must be data that stands elsewhere.
fn check_content(content: Element<'_>) -> Result<()> {
    let mut fields = content.elements()?;
    let kind = oid(fields.next()?)?;
    if kind != DATA || !fields.is_empty() {
        return Err(Error::corrupt(
            "the signature is not over content that stands elsewhere",
        ));
    }
    Ok(())
}

impl<'a> Signer<'a> {
    fn parse(info: Element<'a>, digests: &[ObjectIdentifier]) -> Result<Self> {
        let mut fields = info.elements()?;
        let number = fields.take(Tag::Integer)?;
        let who = Who::parse(fields.next()?)?;
        version(number, &[who.version()])?;
        let digest = algorithm(fields.take(Tag::Sequence)?)?;
        if !digests.contains(&digest) {
            return Err(Error::corrupt(
                "the signature does not list the digest of its signer",
            ));
        }
        let hash = Hash::of(digest)?;
        let attributes = fields.take_context(0)?;
        let method = Method::of(algorithm(fields.take(Tag::Sequence)?)?, hash)?;
        let signature = fields.take(Tag::OctetString)?.value;
        fields.take_context(1)?;
        fields.end()?;
        Ok(Self {
            who,
            hash,
            attributes,
            method,
            signature,
        })
    }

    fn signed(&self, content: &[u8], certificate: &Certificate) -> Result<bool> {
        let of_content = self.hash.digest(content);
        let digest = match self.attributes {
            None => of_content,
            Some(attributes) => {
                if !attributes_fit(attributes, &of_content)? {
                    return Ok(false);
                }
                // They are signed with the tag of a set, not with the one by which they stand here.
                let mut signed = attributes.whole.to_vec();
                signed[0] = SET;
                self.hash.digest(&signed)
            }
        };
        let key = &certificate.key;
        Ok(key.verifies(self.method, self.hash, &digest, self.signature))
    }
}

impl<'a> Who<'a> {
    fn parse(element: Element<'a>) -> Result<Self> {
        if element.is_context(0, false) {
            return Ok(Self::Key(element.value));
        }
        let mut fields = element.expect(Tag::Sequence)?.elements()?;
        let issuer = fields.take(Tag::Sequence)?.whole;
        let serial = fields.take(Tag::Integer)?.whole;
        fields.end()?;
        Ok(Self::Certificate { issuer, serial })
    }

    /// That of a SignerInfo which says it that way.
    fn version(&self) -> u8 {
        match self {
            Self::Certificate { .. } => 1,
            Self::Key(_) => 3,
        }
    }

    fn is(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Certificate { issuer, serial } => {
                certificate.issuer == *issuer && certificate.serial == *serial
            }
            Self::Key(id) => certificate.key_id.as_deref() == Some(*id),
        }
    }
}

/// Whether the signed attributes say that the content is data with this digest, each of the two once.
fn attributes_fit(attributes: Element<'_>, digest: &[u8]) -> Result<bool> {
    let (mut kinds, mut digests) = (Vec::new(), Vec::new());
    let mut all = attributes.elements()?;
    while !all.is_empty() {
        let mut attribute = all.take(Tag::Sequence)?.elements()?;
        let kind = oid(attribute.next()?)?;
        let mut values = attribute.take(Tag::Set)?.elements()?;
        attribute.end()?;
        if kind == CONTENT_TYPE {
            kinds.push(oid(only_of(&mut values)?)?);
        } else if kind == MESSAGE_DIGEST {
            digests.push(only_of(&mut values)?.expect(Tag::OctetString)?.value);
        }
    }
    Ok(kinds == [DATA] && digests == [digest])
}

fn only_of<'a>(values: &mut Elements<'a>) -> Result<Element<'a>> {
    let value = values.next()?;
    values.end()?;
    Ok(value)
}

fn oid(element: Element<'_>) -> Result<ObjectIdentifier> {
    let value = element.expect(Tag::ObjectIdentifier)?.value;
    ObjectIdentifier::from_bytes(value).map_err(|error| damaged(error.into()))
}

/// The identifier of an algorithm that has no parameters.
fn algorithm(element: Element<'_>) -> Result<ObjectIdentifier> {
    let mut fields = element.elements()?;
    let identifier = oid(fields.next()?)?;
    if !fields.is_empty() {
        let parameters = fields.take(Tag::Null)?;
        parameters.elements()?.end()?;
        fields.end()?;
    }
    Ok(identifier)
}

fn algorithms(set: Element<'_>) -> Result<Vec<ObjectIdentifier>> {
    let mut elements = set.elements()?;
    let mut found = Vec::new();
    while !elements.is_empty() {
        found.push(algorithm(elements.take(Tag::Sequence)?)?);
    }
    Ok(found)
}

fn version(element: Element<'_>, known: &[u8]) -> Result<()> {
    match element.value {
        [number] if known.contains(number) => Ok(()),
        _ => {
            Err(Error::unsupported("the signature is of an unknown version")
                .because(Reason::Version))
        }
    }
}

fn bad() -> Error {
    Error::new(
        ErrorKind::Untrusted,
        "the signature of the root hash does not match",
    )
    .because(Reason::BadSignature)
    .with_hint("get the file again")
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::Untrusted,
        "the root hash is signed with the key of another certificate",
    )
    .because(Reason::UnknownKey)
    .with_hint(
        "use a disk image of the same build as the image, or give the certificate of its signer",
    )
}
