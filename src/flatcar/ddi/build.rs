//! Makes disk images, as systemd-repart makes them of extensions.
//!
//! ```text
//!   filesystem ──▶ tree, in a file without a name ──▶ root hash ──▶ signature
//!        └──────────────┴───────────────┬───────────────────────────────┘
//!                                       ▼
//!   20 KiB │ root-x86-64 │ root-x86-64-verity │ root-x86-64-verity-sig │ 20 KiB        of one pass, holes left out
//! ```
//!
//! A filesystem that is made for a disk image is made where it will lie in it, [`FILES_START`], and not copied.
//!
//! The two halves of the root hash are the identities of the first two partitions, as UAPI.2 wants it. All other identities,
//! and the salt, come from a seed: the same filesystem with the same seed gives the same bytes. Where none is given, the salt
//! comes from how the filesystem begins, and the identities from the root hash.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::partitions::{Kind, Partitions};
use super::signature::document;
use super::signer::Signer;
use crate::block::{BlockDevice, FileDevice, Piece, Sections, Window};
use crate::bytes::{Guid, hex, to_u64};
use crate::fs::verity::{TreeOptions, Verity, write_tree};
use crate::image::raw;
use crate::machine::Arch;
use crate::partition::{NewPartition, PartitionAttributes, PartitionTable};
use crate::progress::Progress;
use crate::{Error, Result, ResultExt};

/// What a seed is a digest of, beside what it is for.
const PURPOSE: &[u8] = b"flatbake disk image";
/// The partition of a signature has this many bytes, or the next multiple of a block.
const SIGNATURE_BYTES: usize = 16 << 10;
const BLOCK: usize = 4096;
/// Where a disk image's filesystem begins, in bytes.
pub const FILES_START: u64 = PartitionTable::FIRST_PARTITION;

/// What a disk image proves of its filesystem.
#[derive(Debug, Clone, Copy)]
pub enum Protection<'a> {
    /// Nothing.
    None,
    /// By a dm-verity tree, that nothing was changed since the root hash was made.
    Verity,
    /// And who made the root hash.
    Signed(&'a Signer),
}

/// How a disk image is made.
#[derive(Debug, Clone)]
pub struct BuildOptions<'a> {
    /// The architecture that its partitions are for.
    pub architecture: Arch,
    /// What it proves.
    pub protection: Protection<'a>,
    /// What identities and the salt are made from; by default, the filesystem.
    pub seed: Option<String>,
}

/// How a disk image is signed.
#[derive(Debug, Clone)]
pub struct SignOptions<'a> {
    /// Who signs.
    pub signer: &'a Signer,
    /// Put the signature in the place of one that is there.
    pub replaces: bool,
    /// What identities and the salt are made from; by default, the filesystem.
    pub seed: Option<String>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The length of the disk image.
    pub bytes: u64,
    /// The root hash of the dm-verity tree, in hexadecimal digits.
    pub root_hash: Option<String>,
    /// Whose certificate the signature can be verified with.
    pub subject: Option<String>,
    /// The SHA-256 of that certificate, in hexadecimal digits.
    pub fingerprint: Option<String>,
}

/// A partition and what it holds.
struct Part<'a> {
    type_guid: Guid,
    unique_guid: Guid,
    /// How its name ends, behind that of the kind.
    ending: &'static str,
    attributes: PartitionAttributes,
    content: Piece<'a>,
}

/// A tree and its root hash.
struct Tree<D> {
    hashes: D,
    root_hash: [u8; 32],
}

/// Writes a disk image with the filesystem `files` into `out`, an empty file; `temp_dir` is for the dm-verity tree.
///
/// `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
/// An empty filesystem, or one of more than 16 GiB; those of reading it, of the temporary file and of `out`.
pub fn build(
    files: &dyn BlockDevice,
    options: &BuildOptions<'_>,
    temp_dir: &Path,
    out: &File,
    progress: &dyn Progress,
) -> Result<Built> {
    Maker::new(options, false, progress)?.build(files, temp_dir, out)
}

/// Makes a disk image of `out`, which holds a filesystem from [`FILES_START`] to its end and nothing before it.
///
/// `temp_dir` and `out` are those of [`build`].
///
/// # Errors
/// Those of [`build`].
pub fn build_around(
    options: &BuildOptions<'_>,
    temp_dir: &Path,
    out: &File,
    progress: &dyn Progress,
) -> Result<Built> {
    let file = out
        .try_clone()
        .map_err(|error| Error::io("reading the new disk image", error))?;
    let device = FileDevice::from_file(file, Path::new("the new disk image"))?;
    let len = device.size().saturating_sub(FILES_START);
    let files = Window::new(device, FILES_START, len)?;
    Maker::new(options, true, progress)?.build(&files, temp_dir, out)
}

/// Writes a signed copy of the disk image `image` into `out`, an empty file. A dm-verity tree that it has stays as it is, and is
/// verified; where it has none, it gets one.
///
/// `temp_dir` and `out` are those of [`build`].
///
/// # Errors
/// It is no disk image with a filesystem for Flatcar, or signed already and not to be signed anew; its data is not what its
/// tree stands for; those of [`build`].
pub fn sign(
    image: Arc<dyn BlockDevice>,
    options: &SignOptions<'_>,
    temp_dir: &Path,
    out: &File,
    progress: &dyn Progress,
) -> Result<Built> {
    let found = Partitions::find(image)?.ok_or_else(|| {
        Error::unsupported("a disk image without a root or usr partition for x86-64 or arm64")
    })?;
    if found.signature.is_some() && !options.replaces {
        return Err(Error::invalid("the disk image is signed already"));
    }
    let name = found.kind.name;
    let tree = match &found.verity {
        None => None,
        Some(hashes) => {
            let verity = Verity::<&Window<Arc<dyn BlockDevice>>>::open(&found.files, hashes)
                .at(|| format!("{name}-verity"))?;
            let root_hash = verity.root_hash()?;
            verity.verify(&root_hash)?;
            Some(Tree { hashes, root_hash })
        }
    };
    let maker = Maker {
        kind: found.kind,
        protection: Protection::Signed(options.signer),
        seed: options.seed.as_deref().map(Seed::of_text),
        in_place: false,
        progress,
    };
    match &tree {
        Some(tree) => maker.with_tree(&found.files, tree, out),
        None => maker.build(&found.files, temp_dir, out),
    }
}

struct Maker<'a> {
    kind: &'static Kind,
    protection: Protection<'a>,
    /// The one that was given.
    seed: Option<Seed>,
    /// The filesystem lies in the disk image already.
    in_place: bool,
    progress: &'a dyn Progress,
}

impl<'a> Maker<'a> {
    fn new(options: &BuildOptions<'a>, in_place: bool, progress: &'a dyn Progress) -> Result<Self> {
        Ok(Self {
            kind: Kind::root_of(options.architecture)?,
            protection: options.protection,
            seed: options.seed.as_deref().map(Seed::of_text),
            in_place,
            progress,
        })
    }

    fn build(&self, files: &dyn BlockDevice, temp_dir: &Path, out: &File) -> Result<Built> {
        match self.protection {
            Protection::None => {
                let seed = match self.seed {
                    Some(seed) => seed,
                    None => Seed::of_content(files, self.progress)?,
                };
                self.assemble::<FileDevice>(files, None, seed, out)
            }
            Protection::Verity | Protection::Signed(_) => {
                let seed = match self.seed {
                    Some(seed) => seed,
                    None => Seed::of_start(files)?,
                };
                let tree = self.tree(files, seed, temp_dir)?;
                self.with_tree(files, &tree, out)
            }
        }
    }

    /// Writes the disk image; what no seed was given for comes from the root hash, which stands for the filesystem.
    fn with_tree<D: BlockDevice>(
        &self,
        files: &dyn BlockDevice,
        tree: &Tree<D>,
        out: &File,
    ) -> Result<Built> {
        let seed = self.seed.unwrap_or_else(|| Seed::new(&tree.root_hash));
        self.assemble(files, Some(tree), seed, out)
    }

    /// Makes the tree in a file without a name.
    fn tree(
        &self,
        files: &dyn BlockDevice,
        seed: Seed,
        temp_dir: &Path,
    ) -> Result<Tree<FileDevice>> {
        let failed = |error| {
            let doing = format!("writing a temporary file in {}", temp_dir.display());
            Error::io(doing, error).with_hint("choose another temporary folder")
        };
        let file = tempfile::tempfile_in(temp_dir).map_err(failed)?;
        let options = TreeOptions {
            salt: seed.digest("salt").to_vec(),
            uuid: seed.guid("tree").to_printed(),
        };
        let put = |offset, bytes: &[u8]| file.write_all_at(bytes, offset).map_err(failed);
        let step = "making the dm-verity tree";
        self.progress.start(step, files.size());
        let root_hash = write_tree(&files, &options, self.progress, &put);
        self.progress.finish();
        let root_hash = root_hash.at(|| step)?;
        let hashes = FileDevice::from_file(file, temp_dir)?;
        Ok(Tree { hashes, root_hash })
    }

    /// Writes the disk image.
    fn assemble<D: BlockDevice>(
        &self,
        files: &dyn BlockDevice,
        tree: Option<&Tree<D>>,
        seed: Seed,
        out: &File,
    ) -> Result<Built> {
        let read_only = PartitionAttributes::READ_ONLY;
        let (first, second) = match tree {
            Some(tree) => halves(&tree.root_hash),
            None => (seed.guid("files"), Guid::ZERO),
        };
        let mut parts = vec![Part {
            type_guid: self.kind.files,
            unique_guid: first,
            ending: "",
            attributes: read_only,
            content: Piece::whole(files),
        }];
        if let Some(tree) = tree {
            parts.push(Part {
                type_guid: self.kind.verity,
                unique_guid: second,
                ending: "-verity",
                attributes: read_only,
                content: Piece::whole(&tree.hashes),
            });
        }
        let mut built = Built {
            bytes: 0,
            root_hash: tree.map(|tree| hex(&tree.root_hash)),
            subject: None,
            fingerprint: None,
        };
        if let (Protection::Signed(signer), Some(tree)) = (self.protection, tree) {
            parts.push(Part {
                type_guid: self.kind.signature,
                unique_guid: seed.guid("signature"),
                ending: "-verity-sig",
                attributes: PartitionAttributes::default(),
                content: Piece::Bytes(signature_of(&tree.root_hash, signer)?),
            });
            built.subject = Some(signer.certificate().subject().to_owned());
            built.fingerprint = Some(hex(signer.certificate().fingerprint()));
        }
        built.bytes = self.write(parts, seed, out)?;
        Ok(built)
    }

    /// Writes the partitions with their table, and returns the length of the whole.
    fn write(&self, parts: Vec<Part<'_>>, seed: Seed, out: &File) -> Result<u64> {
        let partition = |part: &Part<'_>| {
            Ok(NewPartition {
                type_guid: part.type_guid,
                unique_guid: part.unique_guid,
                name: format!("{}{}", self.kind.name, part.ending).parse()?,
                attributes: part.attributes,
                size: part.content.size(),
            })
        };
        let partitions = parts.iter().map(partition).collect::<Result<Vec<_>>>()?;
        let table = PartitionTable::create(seed.guid("disk"), &partitions)?;
        let mut pieces: Vec<(u64, Piece<'_>)> = Vec::new();
        for (offset, bytes) in table.pieces()? {
            pieces.push((offset, Piece::Bytes(bytes)));
        }
        for (place, part) in table.partitions().zip(parts) {
            pieces.push((place.offset(), part.content));
        }
        pieces.sort_by_key(|(offset, _)| *offset);
        let mut disk = Sections::new();
        for (offset, piece) in pieces {
            disk.push_zeroes(offset - disk.size())?;
            if self.in_place && offset == FILES_START {
                disk.push_zeroes(piece.size())?;
            } else {
                disk.push_piece(piece)?;
            }
        }
        disk.push_zeroes(table.size() - disk.size())?;
        let write = if self.in_place {
            raw::write_over
        } else {
            raw::write
        };
        write(&disk, out, self.progress)?;
        Ok(table.size())
    }
}

/// The partition of a signature.
fn signature_of(root_hash: &[u8; 32], signer: &Signer) -> Result<Vec<u8>> {
    let mut bytes = document(root_hash, signer)?;
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(SIGNATURE_BYTES), 0);
    Ok(bytes)
}

/// The identities of the partitions of the filesystem and of its tree.
fn halves(root_hash: &[u8; 32]) -> (Guid, Guid) {
    let half = |start: usize| std::array::from_fn(|at| root_hash[start + at]);
    (Guid::from_printed(half(0)), Guid::from_printed(half(16)))
}

/// What identities are made from.
#[derive(Clone, Copy)]
struct Seed([u8; 32]);

impl Seed {
    fn new(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    fn of_text(text: &str) -> Self {
        Self::new(text.as_bytes())
    }

    /// That of a tree over a filesystem for which none is given: the block with which it begins, where its own identity is.
    fn of_start(files: &dyn BlockDevice) -> Result<Self> {
        let mut block = [0; BLOCK];
        let len = usize::try_from(files.size()).map_or(BLOCK, |size| size.min(BLOCK));
        files.read_at(0, &mut block[..len])?;
        Ok(Self::new(&block[..len]))
    }

    /// That of a filesystem without a tree for which none is given: the root hash of a tree without salt.
    fn of_content(files: &dyn BlockDevice, progress: &dyn Progress) -> Result<Self> {
        let options = TreeOptions {
            salt: Vec::new(),
            uuid: [0; 16],
        };
        let step = "reading the filesystem";
        progress.start(step, files.size());
        let root_hash = write_tree(&files, &options, progress, &|_, _| Ok(()));
        progress.finish();
        root_hash.map(|hash| Self::new(&hash)).at(|| step)
    }

    fn digest(&self, purpose: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in [PURPOSE, purpose.as_bytes(), &self.0] {
            hasher.update(to_u64(part.len()).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// A GUID that is marked as a random one (version 4 of RFC 9562), which it stands for.
    fn guid(&self, purpose: &str) -> Guid {
        let digest = self.digest(purpose);
        let mut bytes: [u8; 16] = std::array::from_fn(|at| digest[at]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid::from_printed(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;
    use crate::bytes::random::Random;
    use crate::progress::NoProgress;

    #[test]
    fn what_is_put_around_a_filesystem_is_what_a_copy_of_it_gets() {
        let folder = tempfile::tempdir().unwrap();
        for (protection, blocks) in [
            (Protection::Verity, 1),
            (Protection::Verity, 200),
            (Protection::None, 3),
        ] {
            let mut files = Random::new(9).bytes(blocks * BLOCK);
            files[..BLOCK / 2].fill(0);
            let options = BuildOptions {
                architecture: Arch::Amd64,
                protection,
                seed: None,
            };
            let (copied, around) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            let device = MemoryDevice::new(files.clone());
            let one = build(&device, &options, folder.path(), &copied, &NoProgress).unwrap();
            around.write_all_at(&files, FILES_START).unwrap();
            let other = build_around(&options, folder.path(), &around, &NoProgress).unwrap();
            assert_eq!(one, other);
            let read = |file: &File| {
                let mut bytes = vec![0; usize::try_from(one.bytes).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                assert_eq!(file.metadata().unwrap().len(), one.bytes);
                bytes
            };
            assert!(read(&copied) == read(&around));
        }
    }

    #[test]
    fn nothing_is_put_around_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let options = BuildOptions {
            architecture: Arch::Amd64,
            protection: Protection::Verity,
            seed: None,
        };
        for len in [0, 5, FILES_START] {
            let out = tempfile::tempfile().unwrap();
            out.set_len(len).unwrap();
            assert!(build_around(&options, folder.path(), &out, &NoProgress).is_err());
        }
    }
}
