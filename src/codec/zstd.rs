//! zstd files (RFC 8878): frames in a row, among them such to be skipped. The crate reads one frame; what lies around it
//! is read here, and checksums and sizes of frames are verified.

use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::WINDOW_MAX;
use super::stream::{self, Decoded, Sink, at_end, cut_short, pump, trailing};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};

const FORMAT: &str = "zstd";
/// `Magic_Number` of a frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Magic number and `Frame_Header_Descriptor`, whose bit 3 is reserved.
const HEAD_LEN: usize = 5;
const RESERVED: u8 = 8;

/// Decodes all of `reader`, passes the bytes to `sink` piece by piece and returns how many there were.
///
/// Damaged, truncated or empty input and bytes behind the last frame are [`crate::ErrorKind::Corrupt`], windows above
/// 128 MiB and dictionaries [`crate::ErrorKind::Unsupported`]; the pieces before have then been passed on. An error of
/// `sink` ends the decoding and is returned.
pub fn decode_to(
    reader: impl Read,
    threads: NonZeroUsize,
    sink: impl FnMut(Decoded<'_>) -> Result<()>,
) -> Result<u64> {
    stream::decode_to(decode, reader, threads, sink)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    stream::decode_start(decode, reader, len)
}

fn decode(source: &mut dyn BufRead, _threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
    if at_end(FORMAT, source)? {
        return Err(cut_short(FORMAT));
    }
    pump(FORMAT, &mut Decoder::new(source), sink)
}

/// The content of all frames of an input. After an error it is in no defined state.
pub(super) struct Decoder<R> {
    source: R,
    frame: FrameDecoder,
    /// Bytes given out of the current frame; `None` between frames.
    given: Option<u64>,
    /// Whether a frame was read: before the first, nothing that follows is meant.
    started: bool,
}

impl<R: BufRead> Decoder<R> {
    pub(super) fn new(source: R) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(WINDOW_MAX);
        Self {
            source,
            frame,
            given: None,
            started: false,
        }
    }

    /// Begins the next frame; `false` at the end of the input.
    fn next_frame(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        // The crate does not look at the reserved bit of the frame's descriptor.
        let mut head = Vec::with_capacity(HEAD_LEN);
        (&mut self.source)
            .take(to_u64(HEAD_LEN))
            .read_to_end(&mut head)?;
        if head.starts_with(&MAGIC)
            && head
                .get(MAGIC.len())
                .is_some_and(|descriptor| descriptor & RESERVED != 0)
        {
            return Err(Error::unsupported("a zstd frame has a bit set that is reserved").into());
        }
        match self.frame.init((&head[..]).chain(&mut self.source)) {
            Ok(()) => self.given = Some(0),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // Fewer bytes than a magic number has are no frame either.
            Err(FrameDecoderError::ReadFrameHeaderError(
                ReadFrameHeaderError::BadMagicNumber(_)
                | ReadFrameHeaderError::MagicNumberReadError(_),
            )) if self.started => return Err(trailing(FORMAT).into()),
            Err(error) => return Err(self.explain(error)),
        }
        self.started = true;
        Ok(true)
    }

    /// Compares what the end of a frame says with what was given out.
    fn end_frame(&mut self, given: u64) -> io::Result<()> {
        let announced = self.frame.content_size();
        if announced != 0 && announced != given {
            return Err(
                Error::corrupt(format!("a frame of {announced} bytes holds {given}")).into(),
            );
        }
        if let Some(stored) = self.frame.get_checksum_from_data()
            && Some(stored) != self.frame.get_calculated_checksum()
        {
            return Err(Error::corrupt(format!(
                "the content of a frame does not match its checksum {stored:08x}"
            ))
            .because(Reason::Checksum)
            .into());
        }
        self.given = None;
        Ok(())
    }

    /// Gives an error of the crate a kind: an early end and a window too large mean other things than damage.
    fn explain(&mut self, error: FrameDecoderError) -> io::Error {
        match error {
            FrameDecoderError::WindowSizeTooBig { requested, .. } => too_large(requested),
            FrameDecoderError::DictNotProvided { dict_id } => Error::unsupported(format!(
                "needs the dictionary {dict_id}, which is not part of the file"
            ))
            .with_hint("pack the file without a dictionary")
            .into(),
            // The crate reads all it needs at once, so after a failure at the end of the input something was missing.
            error => match self.source.fill_buf() {
                Ok([]) => io::ErrorKind::UnexpectedEof.into(),
                _ => io::Error::other(error),
            },
        }
    }
}

fn too_large(requested: u64) -> io::Error {
    Error::unsupported(format!(
        "needs a window of {requested} bytes, at most {WINDOW_MAX} are allowed"
    ))
    .because(Reason::Limit)
    .with_hint("pack the file again with --long=27 or less")
    .into()
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(given) = self.given else {
                if !self.next_frame()? {
                    return Ok(0);
                }
                continue;
            };
            let len = self.frame.read(buf)?;
            if len > 0 {
                self.given = Some(given.saturating_add(to_u64(len)));
                return Ok(len);
            }
            if self.frame.is_finished() {
                self.end_frame(given)?;
                continue;
            }
            let decoded = self
                .frame
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
            if let Err(error) = decoded {
                return Err(self.explain(error));
            }
        }
    }
}
