//! Writes what was prepared to a stream.

use std::fs::File;
use std::io::{Read, Seek, Write};

use super::super::prepare::{Prepared, PreparedImage};
use super::super::report::FileReport;
use super::super::request::{Context, Stream};
use super::Output;
use super::run::{Outcome, Written};
use super::schedule::Oversight;
use super::stream::{Pipe, Streamed, stream};
use crate::error::{Error, Result, ResultExt};
use crate::machine::{BundleFormat, Member, WriteOptions, write_bundle};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

impl Prepared {
    /// Writes the one image that was asked for to `out`, front to back.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] where the request asks for files; [`crate::ErrorKind::Unsupported`] for what
    /// is more than one file; those of reading the disk and of `out`.
    pub fn stream(&self, context: &Context<'_>, out: &mut dyn Write) -> Result<Written> {
        let (Some(asked), [image]) = (&self.request.stream, self.images.as_slice()) else {
            return Err(Error::invalid(
                "the request asks for files, not for a stream",
            ));
        };
        let disk = self.disk_of(context, image)?;
        let streamed = match asked {
            Stream::Disk(output) => {
                let output = Output {
                    identity: self.identity(&image.key),
                    ..output.clone()
                };
                let oversight = Oversight::new(context.progress, &context.cancel);
                stream(&disk, &output, out, &context.temp_dir, &oversight)?
            }
            Stream::Bundle => self.stream_bundle(context, image, &disk, out)?,
        };
        if self.request.needs_digests() {
            self.inputs.complete(context.progress)?;
        }
        self.inputs.check(&[])?;
        let mut report = self.written_report(&[Outcome::default()]);
        if let Some(output) = report.outputs.first_mut() {
            let bytes = Some(streamed.bytes);
            let sha256 = streamed.sha256;
            output.files.push(FileReport {
                bytes,
                sha256,
                ..asked.planned()
            });
        }
        Ok(Written {
            report,
            failure: None,
        })
    }

    fn stream_bundle(
        &self,
        context: &Context<'_>,
        image: &PreparedImage,
        disk: &dyn crate::block::BlockDevice,
        out: &mut dyn Write,
    ) -> Result<Streamed> {
        let spooled = |error| Error::io("writing a temporary file", error);
        let mut spool: File = tempfile::tempfile_in(&context.temp_dir).map_err(spooled)?;
        let options = WriteOptions {
            time: self.timestamp.secs,
            ..WriteOptions::default()
        };
        let members = [Member::device(super::vendor::GCE_MEMBER, disk)];
        write_bundle(
            BundleFormat::Gce,
            &members,
            &spool,
            options,
            context.progress,
        )
        .at(|| image.key.to_string())?;
        spool.rewind().map_err(spooled)?;
        let mut pipe = Pipe::new(out, &context.cancel, true);
        let mut chunk = vec![0; CHUNK];
        loop {
            match spool
                .read(&mut chunk)
                .map_err(|error| Error::io("reading a temporary file", error))?
            {
                0 => return pipe.finish(),
                len => pipe.put(&chunk[..len])?,
            }
        }
    }
}
