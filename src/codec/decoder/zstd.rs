//! Zstandard frames in a row (RFC 8878). The crate reads one frame; what lies around it is read here.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{WINDOW_MAX, is_at_end, trailing};
use crate::bytes::to_u64;
use crate::error::Error;

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
        Self { source, frame, given: None, started: false }
    }

    /// Begins the next frame; `false` at the end of the input.
    fn next_frame(&mut self) -> io::Result<bool> {
        if is_at_end(&mut self.source)? {
            return Ok(false);
        }
        match self.frame.init(&mut self.source) {
            Ok(()) => self.given = Some(0),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(_))) if self.started => {
                return Err(trailing().into());
            }
            Err(error) => return Err(self.explain(error)),
        }
        self.started = true;
        Ok(true)
    }

    /// Compares what the end of a frame says with what was given out.
    fn end_frame(&mut self, given: u64) -> io::Result<()> {
        let announced = self.frame.content_size();
        if announced != 0 && announced != given {
            return Err(Error::corrupt(format!("a frame of {announced} bytes holds {given}")).into());
        }
        if let Some(stored) = self.frame.get_checksum_from_data()
            && Some(stored) != self.frame.get_calculated_checksum()
        {
            return Err(
                Error::corrupt(format!("the content of a frame does not match its checksum {stored:08x}")).into()
            );
        }
        self.given = None;
        Ok(())
    }

    /// Gives an error of the crate a kind: an early end and a window too large mean other things than damage.
    fn explain(&mut self, error: FrameDecoderError) -> io::Error {
        match error {
            FrameDecoderError::WindowSizeTooBig { requested, .. } => too_large(requested),
            FrameDecoderError::DictNotProvided { dict_id } => {
                Error::unsupported(format!("needs the dictionary {dict_id}, which is not part of the file"))
                    .with_hint("pack the file without a dictionary")
                    .into()
            }
            // The crate reads all it needs at once, so after a failure at the end of the input something was missing.
            error => match is_at_end(&mut self.source) {
                Ok(true) => io::ErrorKind::UnexpectedEof.into(),
                _ => io::Error::other(error),
            },
        }
    }
}

fn too_large(requested: u64) -> io::Error {
    Error::unsupported(format!("needs a window of {requested} bytes, at most {WINDOW_MAX} are allowed"))
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
            let decoded = self.frame.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
            if let Err(error) = decoded {
                return Err(self.explain(error));
            }
        }
    }
}
