//! The content of files: read in order, packed in parallel, written in order.
//!
//! ```text
//!   file a: [ stretch ][ stretch ][ rest ]     each packed by itself, into extents of whole blocks
//!   image:  │ blocks of a │ blocks of b │ …    an end that fits behind its inode is left to it
//! ```

use super::lz4::Compressor;
use super::pack::{CHUNK_BYTES, Extent, Packed, blocks, pack, used_chunks};
use super::{BLOCK_BYTES, BLOCK_USIZE, Out};
use crate::bytes::to_u64;
use crate::codec::{Spares, run_ordered};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::FileSystem;
use crate::fs::erofs::chunk::HOLE;
use crate::fs::source::{Node, Open, Part};

/// What is packed at a time: unpacked bytes, or more where an extent may be long.
const STRETCH_BYTES: usize = 1 << 20;
/// Stretches in flight for each thread: one is worked on, the others wait for their turn or for the sink.
const WINDOW_PER_THREAD: usize = 3;

/// Where the content of a file lies.
#[derive(Debug, Clone, Default)]
pub(super) enum Laid {
    /// Nowhere: it has none, or is no file.
    #[default]
    Nothing,
    /// In blocks from `first` on; the end perhaps behind the inode.
    Flat { first: u32, is_tail_inline: bool },
    /// In chunks: the first block of each, or a hole.
    Chunks(Vec<u32>),
    /// Packed.
    Packed { first: u32, extents: Vec<Extent> },
}

/// How content is to be stored.
pub(super) struct Plan<'a> {
    /// Most bytes of a packed extent; `None` where nothing is packed.
    pub cluster_bytes: Option<usize>,
    /// For each node, whether an end of so many bytes fits behind its inode.
    pub fits_inline: &'a dyn Fn(usize, u64) -> bool,
    /// For each node, the first with the same content; that one's is stored.
    pub same: &'a [usize],
}

impl Plan<'_> {
    fn stretch_bytes(&self) -> usize {
        STRETCH_BYTES.max(4 * self.cluster_bytes.unwrap_or(0))
    }
}

/// A stretch to pack.
struct Job {
    node: usize,
    offset: u64,
    /// A buffer that goes round; it is as long as the longest stretch.
    buffer: Vec<u8>,
    /// How much of it the stretch is.
    len: usize,
    is_last: bool,
}

impl Job {
    fn data(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// A stretch that was packed, or is stored as it is.
struct Done {
    job: Job,
    packed: Option<Packed>,
    /// Chunks that hold something.
    used: Vec<bool>,
}

/// Writes the content of all files of `nodes`, but for what is the same as that of an earlier node.
pub(super) fn write(
    source: &dyn FileSystem,
    nodes: &[Node],
    plan: &Plan<'_>,
    out: &mut Out<'_>,
    advance: impl Fn(u64),
) -> Result<Vec<Laid>> {
    let same = plan.same;
    let buffers: Spares<Vec<u8>> = Spares::default();
    let mut reader = Reader {
        source,
        nodes,
        same,
        stretch_bytes: plan.stretch_bytes(),
        buffers: &buffers,
        next: 0,
        open: None,
        over: false,
    };
    let compressors: Spares<Compressor> = Spares::default();
    // Not those of stretches: a shorter one would be filled with zeroes first.
    let packed_buffers: Spares<Vec<u8>> = Spares::default();
    let cluster_bytes = plan.cluster_bytes;
    let work = |job: Job| {
        // A file of a block cannot become smaller.
        let is_small = job.offset == 0 && job.is_last && job.len <= BLOCK_USIZE;
        let Some(cluster_bytes) = cluster_bytes.filter(|_| !is_small) else {
            return Ok(Done {
                used: used(&job),
                job,
                packed: None,
            });
        };
        let mut compressor = compressors.take().unwrap_or_else(Compressor::new);
        let buffer = packed_buffers.take().unwrap_or_default();
        let packed = pack(
            &mut compressor,
            job.data(),
            job.offset,
            cluster_bytes,
            buffer,
        )?;
        compressors.give(compressor);
        let is_whole = job.offset == 0 && job.is_last;
        let gains = packed.bytes.len() < job.len.next_multiple_of(BLOCK_USIZE);
        let packed = if gains || !is_whole {
            Some(packed)
        } else {
            packed_buffers.give(packed.bytes);
            None
        };
        Ok(Done {
            used: vec![true; job.len.div_ceil(CHUNK_BYTES)],
            job,
            packed,
        })
    };
    let mut sink = Sink {
        laid: vec![Laid::Nothing; nodes.len()],
        plan,
        out,
    };
    let window = WINDOW_PER_THREAD * rayon::current_num_threads();
    run_ordered(&mut reader, window, work, |done: Done| {
        advance(to_u64(done.job.len));
        sink.place(&done)?;
        buffers.give(done.job.buffer);
        if let Some(packed) = done.packed {
            packed_buffers.give(packed.bytes);
        }
        Ok(())
    })?;
    let mut laid = sink.laid;
    for (node, first) in same
        .iter()
        .enumerate()
        .filter(|(node, first)| node != *first)
    {
        laid[node] = laid[*first].clone();
    }
    Ok(laid)
}

/// Which chunks of a stretch hold something. A short file has no holes: a table of chunks would gain nothing.
fn used(job: &Job) -> Vec<bool> {
    if job.offset == 0 && job.is_last && job.len < CHUNK_BYTES {
        return vec![true];
    }
    used_chunks(job.data())
}

/// Puts stretches into the image.
struct Sink<'a, 'o> {
    laid: Vec<Laid>,
    plan: &'a Plan<'a>,
    out: &'a mut Out<'o>,
}

impl Sink<'_, '_> {
    fn place(&mut self, done: &Done) -> Result<()> {
        match &done.packed {
            Some(packed) => self.place_packed(done.job.node, packed),
            None => self.place_plain(&done.job, &done.used),
        }
    }

    fn place_packed(&mut self, node: usize, packed: &Packed) -> Result<()> {
        let first = self.out.put_blocks(&packed.bytes)?;
        match &mut self.laid[node] {
            Laid::Packed { extents, .. } => extents.extend_from_slice(&packed.extents),
            laid => {
                *laid = Laid::Packed {
                    first,
                    extents: packed.extents.clone(),
                }
            }
        }
        Ok(())
    }

    fn place_plain(&mut self, job: &Job, used: &[bool]) -> Result<()> {
        if matches!(self.laid[job.node], Laid::Nothing) {
            self.laid[job.node] = Laid::Flat {
                first: self.out.next_block()?,
                is_tail_inline: false,
            };
        }
        let has_holes = used.contains(&false);
        match &mut self.laid[job.node] {
            Laid::Flat { first, .. } if has_holes => {
                // What came before had no hole.
                let chunk_blocks = u32::try_from(CHUNK_BYTES / BLOCK_USIZE)
                    .map_err(|_| Error::internal("16 blocks"))?;
                let chunks = u32::try_from(job.offset / to_u64(CHUNK_BYTES)).map_err(|_| {
                    Error::unsupported("a file of more than 2^32 chunks").because(Reason::Limit)
                })?;
                let before = (0..chunks)
                    .map(|chunk| *first + chunk * chunk_blocks)
                    .collect();
                self.laid[job.node] = Laid::Chunks(before);
                self.place_chunks(job, used)
            }
            Laid::Chunks(_) => self.place_chunks(job, used),
            _ => self.place_flat(job),
        }
    }

    fn place_flat(&mut self, job: &Job) -> Result<()> {
        let tail = job.len % BLOCK_USIZE;
        let is_inline = job.is_last && tail > 0 && (self.plan.fits_inline)(job.node, to_u64(tail));
        let in_blocks = if is_inline { job.len - tail } else { job.len };
        self.out.put_blocks(&job.data()[..in_blocks])?;
        if let Laid::Flat { is_tail_inline, .. } = &mut self.laid[job.node] {
            *is_tail_inline = is_inline;
        }
        Ok(())
    }

    fn place_chunks(&mut self, job: &Job, used: &[bool]) -> Result<()> {
        for (chunk, is_used) in job.data().chunks(CHUNK_BYTES).zip(used) {
            let block = if *is_used {
                self.out.put_blocks(chunk)?
            } else {
                HOLE
            };
            if let Laid::Chunks(blocks) = &mut self.laid[job.node] {
                blocks.push(block);
            }
        }
        Ok(())
    }
}

/// Cuts all files into stretches, on the thread that writes.
struct Reader<'a> {
    source: &'a dyn FileSystem,
    nodes: &'a [Node],
    same: &'a [usize],
    stretch_bytes: usize,
    buffers: &'a Spares<Vec<u8>>,
    /// The node to look at next.
    next: usize,
    open: Option<Open<'a>>,
    /// Nothing more comes: all is read, or reading failed.
    over: bool,
}

impl Iterator for &mut Reader<'_> {
    type Item = Result<Job>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let job = self.job();
        self.over = !matches!(job, Ok(Some(_)));
        job.transpose()
    }
}

impl Reader<'_> {
    fn job(&mut self) -> Result<Option<Job>> {
        loop {
            if let Some(open) = &mut self.open {
                let node = &self.nodes[open.node];
                let buffer = self.buffers.take().unwrap_or_default();
                let job = stretch(open, self.stretch_bytes, buffer).at(|| node.name())?;
                if job.is_last {
                    self.open = None;
                }
                return Ok(Some(job));
            }
            let Some(node) = self.nodes.get(self.next) else {
                return Ok(None);
            };
            let id = self.next;
            self.next += 1;
            if let Part::File(_, 1..) = node.part
                && node.nlink > 0
                && self.same[id] == id
            {
                let open = Open::new(self.source, self.nodes, id).at(|| node.name())?;
                self.open = Some(open);
            }
        }
    }
}

/// The next stretch of a file.
fn stretch(open: &mut Open<'_>, stretch_bytes: usize, mut buffer: Vec<u8>) -> Result<Job> {
    buffer.resize(stretch_bytes, 0);
    let offset = open.offset;
    let len = open.next_piece(&mut buffer)?;
    Ok(Job {
        node: open.node,
        offset,
        buffer,
        len,
        is_last: open.is_over(),
    })
}

impl Laid {
    /// Blocks of a packed file.
    pub fn packed_blocks(&self) -> u32 {
        match self {
            Self::Packed { extents, .. } => extents.iter().map(|extent| extent.blocks).sum(),
            _ => 0,
        }
    }

    /// Bytes at the end of a file of `size` bytes that lie behind its inode.
    pub fn inline_bytes(&self, size: u64) -> u64 {
        match self {
            Self::Flat {
                is_tail_inline: true,
                ..
            } => size - (blocks(size) - 1) * BLOCK_BYTES,
            _ => 0,
        }
    }
}
