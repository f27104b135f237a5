//! The content of files: read in order, compressed in parallel, written in order.
//!
//! ```text
//!   file a: [ block ][ block ][ short ]     file b (below one block) ──┐   file c ──┐
//!   image:  │ packed │ packed │ packed │ …                 fragment: [ b │ c │ … ] packed when full
//! ```
//!
//! A fragment is written between files, never within one: the blocks of a file lie one behind the other. A file of the same
//! content as one before it is not read again: it lies where that one lies.

use super::super::on_disk::DATA_STORED;
use super::Out;
use super::pack::Packer;
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::codec::{Spares, run_ordered};
use crate::error::{Error, Result, ResultExt};
use crate::fs::FileSystem;
use crate::fs::source::{Node, Open};

/// Blocks in flight for each thread: one is worked on, the others wait for their turn or for the sink.
const WINDOW_PER_THREAD: usize = 4;

/// Where the content of one node lies in the image.
#[derive(Debug, Clone, Default)]
pub(super) struct Laid {
    /// The first block's offset.
    pub start: u64,
    /// Sizes as stored; 0 is a hole.
    pub sizes: Vec<u32>,
    /// Bytes in holes.
    pub sparse: u64,
    /// Fragment and offset in it.
    pub fragment: Option<(u32, u32)>,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Data {
    /// For every node; files only have something there.
    pub laid: Vec<Laid>,
    /// Offset and stored size of every fragment.
    pub fragments: Vec<(u64, u32)>,
}

/// What becomes of a packed block.
#[derive(Debug, Clone, Copy)]
enum Role {
    Block(usize),
    Fragment,
}

#[derive(Debug)]
struct Job {
    role: Role,
    data: Vec<u8>,
    /// Bytes of files it brings to an end, for the progress.
    done: usize,
}

#[derive(Debug)]
struct Packed {
    role: Role,
    /// `None` for a hole.
    bytes: Option<Vec<u8>>,
    stored: bool,
    len: usize,
    done: usize,
}

/// The files whose content is written, and in blocks of how many bytes.
pub(super) struct Files<'a> {
    pub source: &'a dyn FileSystem,
    pub nodes: &'a [Node],
    /// For each node the first one with the same content, where its own lies, too.
    pub same: &'a [usize],
    pub block_bytes: usize,
}

/// Writes the content of all files to `out`.
pub(super) fn write(
    files: &Files<'_>,
    new_packer: impl Fn() -> Result<Packer> + Sync,
    out: &mut Out<'_>,
    advance: impl Fn(u64),
) -> Result<Data> {
    let nodes = files.nodes;
    let buffers: Spares<Vec<u8>> = Spares::default();
    let mut reader = Reader {
        source: files.source,
        nodes,
        same: files.same,
        block_bytes: files.block_bytes,
        next: 0,
        open: None,
        buffers: &buffers,
        fragment: Vec::new(),
        fragments: 0,
        tails: vec![None; nodes.len()],
        over: false,
    };
    let mut data = Data {
        laid: vec![Laid::default(); nodes.len()],
        fragments: Vec::new(),
    };
    let packers: Spares<Packer> = Spares::default();
    let pack = |job: Job| {
        let Job { role, data, done } = job;
        let len = data.len();
        if matches!(role, Role::Block(_)) && is_zero(&data) {
            buffers.give(data);
            return Ok(Packed {
                role,
                bytes: None,
                stored: false,
                len,
                done,
            });
        }
        let mut packer = packers.take().map_or_else(&new_packer, Ok)?;
        let mut bytes = buffers.take().unwrap_or_default();
        let shrinks = packer.pack(&data, &mut bytes)?;
        packers.give(packer);
        buffers.give(data);
        Ok(Packed {
            role,
            bytes: Some(bytes),
            stored: !shrinks,
            len,
            done,
        })
    };
    let window = WINDOW_PER_THREAD * rayon::current_num_threads();
    run_ordered(&mut reader, window, pack, |packed: Packed| {
        advance(to_u64(packed.done));
        place(packed, &mut data, out, &buffers)
    })?;
    for (laid, tail) in data.laid.iter_mut().zip(reader.tails) {
        laid.fragment = tail;
    }
    for (id, &first) in files.same.iter().enumerate() {
        if first != id {
            data.laid[id] = data.laid[first].clone();
            advance(nodes[id].size());
        }
    }
    Ok(data)
}

fn place(
    packed: Packed,
    data: &mut Data,
    out: &mut Out<'_>,
    buffers: &Spares<Vec<u8>>,
) -> Result<()> {
    let start = out.position;
    let size = match &packed.bytes {
        None => 0,
        Some(bytes) => {
            out.put(bytes)?;
            let len =
                u32::try_from(bytes.len()).map_err(|_| Error::internal("a block is too long"))?;
            if packed.stored {
                len | DATA_STORED
            } else {
                len
            }
        }
    };
    match packed.role {
        Role::Fragment => data.fragments.push((start, size)),
        Role::Block(node) => {
            let laid = &mut data.laid[node];
            if laid.sizes.is_empty() {
                laid.start = start;
            }
            laid.sizes.push(size);
            if packed.bytes.is_none() {
                laid.sparse += to_u64(packed.len);
            }
        }
    }
    if let Some(bytes) = packed.bytes {
        buffers.give(bytes);
    }
    Ok(())
}

/// Cuts all files into jobs, on the thread that writes.
struct Reader<'a> {
    source: &'a dyn FileSystem,
    nodes: &'a [Node],
    same: &'a [usize],
    block_bytes: usize,
    /// The node to look at next.
    next: usize,
    open: Option<Open<'a>>,
    buffers: &'a Spares<Vec<u8>>,
    fragment: Vec<u8>,
    /// Fragments that are full.
    fragments: u32,
    tails: Vec<Option<(u32, u32)>>,
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

impl<'a> Reader<'a> {
    /// The next job; small files go into the fragment until it is full.
    fn job(&mut self) -> Result<Option<Job>> {
        loop {
            if let Some(open) = &mut self.open {
                let node = &self.nodes[open.node];
                let buffer = self.buffers.take().unwrap_or_default();
                let job = block(open, self.block_bytes, buffer).at(|| node.name())?;
                if open.is_over() {
                    self.open = None;
                }
                return Ok(Some(job));
            }
            let Some(node) = self.nodes.get(self.next) else {
                return Ok(self.flush());
            };
            let id = self.next;
            let is_first = self.same[id] == id;
            if is_first && node.nlink > 0 && node.size() > 0 {
                let open = Open::new(self.source, self.nodes, id).at(|| self.nodes[id].name())?;
                if open.size >= to_u64(self.block_bytes) {
                    self.open = Some(open);
                } else if self.fragment.len() + to_usize(open.size)? > self.block_bytes {
                    // This file begins the next fragment.
                    return Ok(self.flush());
                } else {
                    self.append(&open).at(|| self.nodes[id].name())?;
                }
            }
            self.next += 1;
        }
    }

    /// Puts a whole small file behind what the fragment holds.
    fn append(&mut self, open: &Open<'_>) -> Result<()> {
        let at = self.fragment.len();
        let offset = u32::try_from(at).map_err(|_| Error::internal("a fragment is too long"))?;
        self.fragment.resize(at + to_usize(open.size)?, 0);
        open.content.read(0, &mut self.fragment[at..])?;
        self.tails[open.node] = Some((self.fragments, offset));
        Ok(())
    }

    fn flush(&mut self) -> Option<Job> {
        if self.fragment.is_empty() {
            return None;
        }
        self.fragments += 1;
        let mut next = self.buffers.take().unwrap_or_default();
        next.clear();
        let data = std::mem::replace(&mut self.fragment, next);
        Some(Job {
            role: Role::Fragment,
            done: data.len(),
            data,
        })
    }
}

/// The next block of a file.
fn block(open: &mut Open<'_>, block_bytes: usize, mut data: Vec<u8>) -> Result<Job> {
    data.resize(block_bytes, 0);
    let len = open.next_piece(&mut data)?;
    data.truncate(len);
    Ok(Job {
        role: Role::Block(open.node),
        done: data.len(),
        data,
    })
}
