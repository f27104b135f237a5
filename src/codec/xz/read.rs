//! Unpacks streams as they are read.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::check::Check;
use super::container::{Container, Input};
use super::header::BlockHeader;
use crate::bytes::to_u64;
use crate::error::Error;

/// The input, which the filters of a block hold as long as they are there.
struct Shared<R>(Rc<RefCell<Input<R>>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buf)
    }
}

/// A block being read.
struct Block<'a> {
    header: BlockHeader,
    reader: Box<dyn Read + 'a>,
    check: Check,
    /// Where its data begin.
    start: u64,
    uncompressed: u64,
}

/// The content of all streams of an input. After an error it is in no defined state.
pub(in crate::codec) struct Decoder<'a, R> {
    input: Rc<RefCell<Input<R>>>,
    container: Container,
    block: Option<Block<'a>>,
    ended: bool,
}

impl<'a, R: BufRead + 'a> Decoder<'a, R> {
    pub(in crate::codec) fn new(reader: R) -> Self {
        let input = Rc::new(RefCell::new(Input::new(reader)));
        Self {
            input,
            container: Container::new(),
            block: None,
            ended: false,
        }
    }

    fn next_block(&mut self) -> io::Result<Option<Block<'a>>> {
        let mut input = self.input.borrow_mut();
        let Some((header, check)) = self.container.next(&mut input)? else {
            return Ok(None);
        };
        let reader = header.reader(Shared(Rc::clone(&self.input)))?;
        Ok(Some(Block {
            header,
            reader,
            check: check.start(),
            start: input.position,
            uncompressed: 0,
        }))
    }

    fn end_block(&mut self, block: Block<'a>) -> io::Result<()> {
        let mut input = self.input.borrow_mut();
        let sizes = (input.position - block.start, block.uncompressed);
        let sizes = block.header.end(&mut *input, block.check, sizes)?;
        self.container.add(sizes);
        Ok(())
    }
}

impl<'a, R: BufRead + 'a> Read for Decoder<'a, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buf.is_empty() {
            let Some(mut block) = self.block.take() else {
                self.block = self.next_block()?;
                self.ended = self.block.is_none();
                continue;
            };
            let len = block.reader.read(buf).map_err(corrupt)?;
            if len == 0 {
                self.end_block(block)?;
                continue;
            }
            block.check.update(&buf[..len]);
            block.uncompressed = block.uncompressed.saturating_add(to_u64(len));
            self.block = Some(block);
            return Ok(len);
        }
        Ok(0)
    }
}

/// The crate calls damage "invalid input"; only an early end has a meaning of its own.
fn corrupt(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => error,
        _ => Error::corrupt("the LZMA2 data is damaged")
            .with_source(error)
            .into(),
    }
}
