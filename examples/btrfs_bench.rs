//! x
use flatbake::block::*;
use flatbake::fs::btrfs::Btrfs;
use flatbake::fs::*;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
#[derive(Debug)]
struct T(std::fs::File, u64);
impl BlockDevice for T {
    fn size(&self) -> u64 {
        self.1
    }
    fn read_at(&self, o: u64, b: &mut [u8]) -> flatbake::Result<()> {
        self.0.read_exact_at(b, o).map_err(|e| flatbake::Error::io("r", e))
    }
    fn extent_at(&self, o: u64) -> flatbake::Result<Extent> {
        Ok(Extent { kind: ExtentKind::Data, len: self.1 - o })
    }
}
impl BlockDeviceMut for T {
    fn write_at(&self, o: u64, b: &[u8]) -> flatbake::Result<()> {
        self.0.write_all_at(b, o).map_err(|e| flatbake::Error::io("w", e))
    }
    fn write_zeroes(&self, o: u64, l: u64) -> flatbake::Result<()> {
        use rustix::fs::*;
        fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, o, l)
            .map_err(|e| flatbake::Error::io("z", e.into()))
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "zlib" {
        use rayon::prelude::*;
        let mut total = 0usize;
        let mut files = vec![];
        add(Path::new(&a[2]), &mut files);
        for f in files {
            let d = std::fs::read(f).unwrap();
            total += d
                .par_chunks(128 << 10)
                .map_init(
                    || flate2::Compress::new(flate2::Compression::new(6), true),
                    |c, x| {
                        c.reset();
                        let mut o = vec![0; x.len() + x.len() / 64 + 1024];
                        c.compress(x, &mut o, flate2::FlushCompress::Finish).unwrap();
                        c.total_out() as usize
                    },
                )
                .sum::<usize>();
        }
        println!("{total}");
        return;
    }
    let dev = Arc::new(FileDevice::open(Path::new(&a[2])).unwrap());
    let size = dev.size();
    let f = std::fs::File::options().create(true).read(true).write(true).truncate(true).open(&a[3]).unwrap();
    f.set_len(size).unwrap();
    let mut e = Btrfs::edit(dev, Arc::new(T(f, size)), Path::new("/tmp")).unwrap();
    if a[1] == "add" {
        let top = Path::new(&a[4]);
        put(&mut e, top, &FsPath::new("/x").unwrap());
    }
    e.commit().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
fn add(p: &Path, out: &mut Vec<std::path::PathBuf>) {
    let m = std::fs::symlink_metadata(p).unwrap();
    if m.is_dir() {
        for c in std::fs::read_dir(p).unwrap() {
            add(&c.unwrap().path(), out)
        }
    } else if m.is_file() {
        out.push(p.to_owned())
    }
}
fn put(e: &mut flatbake::fs::btrfs::BtrfsEditor, p: &Path, to: &FsPath) {
    let m = std::fs::symlink_metadata(p).unwrap();
    let at = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::default() };
    if m.is_dir() {
        e.create_dir(to, &at).unwrap();
        for c in std::fs::read_dir(p).unwrap() {
            let c = c.unwrap();
            put(e, &c.path(), &to.join(std::os::unix::ffi::OsStrExt::as_bytes(&*c.file_name())).unwrap())
        }
    } else if m.is_file() {
        e.write_file(to, &at, m.len(), &mut std::fs::File::open(p).unwrap()).unwrap();
    } else if m.is_symlink() {
        let t = std::fs::read_link(p).unwrap();
        e.symlink(to, std::os::unix::ffi::OsStrExt::as_bytes(t.as_os_str()), &at).unwrap();
    }
}
