//! Devices in memory of which most is zero.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::{Arc, RwLock};

use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind};
use flatbake::{Error, Result};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

/// A device that does not change: its pages that are not zero, by number.
#[derive(Debug, Default)]
pub struct Base {
    pub size: u64,
    pages: BTreeMap<u64, Box<Page>>,
}

impl Base {
    /// All bytes of a reader.
    pub fn read(mut reader: impl Read) -> Self {
        let mut base = Self::default();
        loop {
            let mut bytes = Vec::new();
            reader
                .by_ref()
                .take(PAGE)
                .read_to_end(&mut bytes)
                .expect("fixtures are whole");
            if bytes.is_empty() {
                return base;
            }
            let number = base.size / PAGE;
            base.size += bytes.len() as u64;
            if bytes.iter().any(|&byte| byte != 0) {
                bytes.resize(PAGE as usize, 0);
                base.pages
                    .insert(number, Box::new(bytes.try_into().expect("a whole page")));
            }
        }
    }

    /// Where pages begin that are not zero.
    pub fn places(&self) -> Vec<u64> {
        self.pages.keys().map(|number| number * PAGE).collect()
    }

    /// The bytes at a place.
    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.copy(offset, &mut bytes, |number| {
            self.pages.get(&number).map(|page| &**page)
        });
        bytes
    }

    fn copy<'a>(&self, offset: u64, buf: &mut [u8], page: impl Fn(u64) -> Option<&'a Page>) {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let len = (PAGE as usize - within).min(buf.len() - done);
            match page(at / PAGE) {
                Some(page) => buf[done..done + len].copy_from_slice(&page[within..within + len]),
                None => buf[done..done + len].fill(0),
            }
            done += len;
        }
    }
}

/// Changes over a [`Base`].
#[derive(Debug)]
pub struct Layer {
    base: Arc<Base>,
    changed: RwLock<HashMap<u64, Box<Page>>>,
}

impl Layer {
    pub fn new(base: &Arc<Base>) -> Arc<Self> {
        Arc::new(Self {
            base: Arc::clone(base),
            changed: RwLock::default(),
        })
    }

    /// A base that holds what this shows now.
    pub fn into_base(self: Arc<Self>) -> Base {
        let mut pages: BTreeMap<u64, Box<Page>> = self.base.pages.clone();
        let changed = self.changed.read().expect("no panic before");
        pages.extend(changed.iter().map(|(&number, page)| (number, page.clone())));
        pages.retain(|_, page| page.iter().any(|&byte| byte != 0));
        Base {
            size: self.base.size,
            pages,
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.base.size => Ok(()),
            _ => Err(Error::corrupt(format!(
                "{len} bytes at {offset} lie beyond the end of the device"
            ))),
        }
    }
}

impl BlockDevice for Layer {
    fn size(&self) -> u64 {
        self.base.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        let changed = self.changed.read().expect("no panic before");
        self.base.copy(offset, buf, |number| {
            changed
                .get(&number)
                .or_else(|| self.base.pages.get(&number))
                .map(|page| &**page)
        });
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.check(offset, 1)?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.base.size - offset,
        })
    }
}

impl BlockDeviceMut for Layer {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        let mut changed = self.changed.write().expect("no panic before");
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (number, within) = (at / PAGE, (at % PAGE) as usize);
            let len = (PAGE as usize - within).min(buf.len() - done);
            let page =
                changed
                    .entry(number)
                    .or_insert_with(|| match self.base.pages.get(&number) {
                        Some(page) => page.clone(),
                        None => Box::new([0; PAGE as usize]),
                    });
            page[within..within + len].copy_from_slice(&buf[done..done + len]);
            done += len;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        let mut at = offset;
        let end = offset
            .checked_add(len)
            .ok_or_else(|| Error::corrupt("zeroes beyond the end of the device"))?;
        self.check(end, 0)?;
        while at < end {
            let len = (PAGE - at % PAGE).min(end - at);
            let is_set = self.base.pages.contains_key(&(at / PAGE))
                || self
                    .changed
                    .read()
                    .expect("no panic before")
                    .contains_key(&(at / PAGE));
            if is_set {
                self.write_at(at, &[0; PAGE as usize][..len as usize])?;
            }
            at += len;
        }
        Ok(())
    }
}
