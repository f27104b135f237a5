//! DER, element by element: a tag, a length, and what lies between.

use der::{AnyRef, Decode, Reader, SliceReader, Tag};

use crate::{Error, Result};

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub tag: Tag,
    /// Without tag and length.
    pub value: &'a [u8],
    /// With both.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The one element that `bytes` are.
    pub fn only(bytes: &'a [u8]) -> Result<Self> {
        let mut elements = Elements::new(bytes)?;
        let element = elements.next()?;
        elements.end()?;
        Ok(element)
    }

    /// The same, where it has this tag.
    pub fn expect(self, tag: Tag) -> Result<Self> {
        if self.tag == tag {
            return Ok(self);
        }
        Err(Error::corrupt(format!(
            "the signature has a {} where it should have a {tag}",
            self.tag
        )))
    }

    /// What it is made of.
    pub fn elements(self) -> Result<Elements<'a>> {
        Elements::new(self.value)
    }

    /// Whether it has a tag of its context, such as `[0]`, and is made of elements or not.
    pub fn is_context(self, number: u8, is_constructed: bool) -> bool {
        self.tag.is_context_specific()
            && self.tag.is_constructed() == is_constructed
            && u32::from(number) == self.tag.number().value()
    }
}

/// Elements one after another.
#[derive(Debug)]
pub(super) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        SliceReader::new(bytes).map(Self).map_err(damaged)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// The next one, which must be there.
    pub fn next(&mut self) -> Result<Element<'a>> {
        let whole = self.0.tlv_bytes().map_err(damaged)?;
        let any = AnyRef::from_der(whole).map_err(damaged)?;
        Ok(Element {
            tag: der::Tagged::tag(&any),
            value: any.value(),
            whole,
        })
    }

    /// The next one, which must have this tag.
    pub fn take(&mut self, tag: Tag) -> Result<Element<'a>> {
        self.next()?.expect(tag)
    }

    /// The next one, made of elements, where it is the one of a context's number; it is left there where it is another.
    pub fn take_context(&mut self, number: u8) -> Result<Option<Element<'a>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut ahead = Self(self.0.clone());
        let element = ahead.next()?;
        if !element.is_context(number, true) {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(element))
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt("the signature has more behind its end"))
    }
}

pub(super) fn damaged(error: der::Error) -> Error {
    Error::corrupt("the signature cannot be read").with_source(error)
}
