//! One disk, its images, and their conversions.

use std::fs;
use std::path::Path;

use flatbake::NoProgress;
use flatbake::bake::emit;
use flatbake::image::{Image, OpenOptions, open};

use crate::common::programs::{flatbake, said};
use crate::common::{scratch_dir, scratch_root};
use crate::matrix::digest::Content;
use crate::matrix::disks::Kind;
use crate::matrix::outputs::{OUTPUTS, Wanted};
use crate::matrix::variants::{VARIANTS, Variant};

/// An image of a disk in a folder of its own.
pub struct Source {
    dir: tempfile::TempDir,
    image: Image,
    content: Content,
    what: String,
}

impl Source {
    pub fn new(kind: Kind, variant: &Variant) -> Self {
        Self::of_size(kind, variant, variant.raw_size(kind))
    }

    /// The disk as one of `size` bytes.
    pub fn of_size(kind: Kind, variant: &Variant, size: u64) -> Self {
        let dir = scratch_dir();
        let raw = dir.path().join("disk.raw");
        kind.write(&raw, size);
        let content = Content::of_file(&raw).padded(variant.size(size));
        let path = variant.image(dir.path());
        let what = format!("{kind:?} in {}", variant.name);
        let options = OpenOptions {
            allow_external: true,
            ..OpenOptions::new(scratch_root())
        };
        let image =
            open(&path, &options, &NoProgress).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(
            (image.format, image.compression),
            (variant.format, variant.compression),
            "{what}"
        );
        assert_eq!(image.device.size(), content.size, "{what}: size");
        Self {
            dir,
            image,
            content,
            what,
        }
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn write(&self, wanted: &Wanted, folder: &Path) {
        let artifact = emit(&*self.image.device, &wanted.output(folder), &NoProgress);
        let artifact =
            artifact.unwrap_or_else(|error| panic!("{} to {}: {error:?}", self.what, wanted.name));
        assert_eq!(
            artifact.disk_bytes, self.content.size,
            "{} to {}",
            self.what, wanted.name
        );
    }

    /// Converts it, and has the result judged.
    pub fn converts_to(&self, wanted: &Wanted) {
        let folder = self.folder("to");
        self.write(wanted, &folder);
        wanted.judge(
            &folder,
            &self.content,
            &format!("{} to {}", self.what, wanted.name),
        );
        fs::remove_dir_all(folder).unwrap();
    }

    /// As [`converts_to`](Self::converts_to), and other numbers of threads write the same bytes.
    pub fn converts_the_same_each_time(&self, wanted: &Wanted) {
        let folder = self.folder("to");
        let again = self.folder("again");
        self.write(wanted, &folder);
        let files = contents(wanted, &folder);
        for threads in [1, 5] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| self.write(wanted, &again));
            assert!(
                contents(wanted, &again) == files,
                "{} to {}: {threads} threads",
                self.what,
                wanted.name
            );
            fs::remove_dir_all(&again).unwrap();
            fs::create_dir(&again).unwrap();
        }
        wanted.judge(
            &folder,
            &self.content,
            &format!("{} to {}", self.what, wanted.name),
        );
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir(again).unwrap();
    }

    /// `flatbake convert` writes what the library does.
    pub fn converts_on_the_command_line(&self, wanted: &Wanted, threads: &str) {
        let folder = self.folder("to");
        let by_command = self.folder("command");
        self.write(wanted, &folder);
        let mut command = flatbake();
        command.current_dir(&by_command);
        command.args([
            "convert",
            "--no-cache",
            "--allow-external",
            "--threads",
            threads,
            "../image",
            "out",
            "--json",
        ]);
        let output = command.args(wanted.arguments).output().unwrap();
        let what = format!("{} to {}", self.what, wanted.name);
        assert!(output.status.success(), "{what}: {}", said(&output));
        let artifact: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let files: u64 = wanted
            .files(&by_command)
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert_eq!(
            (&artifact["disk_bytes"], &artifact["file_bytes"]),
            (&self.content.size.into(), &files.into())
        );
        assert_eq!(artifact["format"], wanted.format.to_string(), "{what}");
        assert!(
            contents(wanted, &by_command) == contents(wanted, &folder),
            "{what}: the command line"
        );
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(by_command).unwrap();
    }
}

/// The bytes of all files of an output.
fn contents(wanted: &Wanted, folder: &Path) -> Vec<(String, Content)> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    wanted
        .files(folder)
        .iter()
        .map(|path| (name(path), Content::of_file(path)))
        .collect()
}

/// What `flatbake` writes for Parallels it reads again, by the name of the folder.
#[test]
fn a_parallels_folder_is_read() {
    let source = Source::new(Kind::Odd, &VARIANTS[0]);
    let folder = source.folder("to");
    let wanted = OUTPUTS.iter().find(|output| output.name == "hdd").unwrap();
    source.write(wanted, &folder);
    let image = open(
        &folder.join("out"),
        &OpenOptions::new(scratch_root()),
        &NoProgress,
    )
    .unwrap();
    assert!(Content::of(&*image.device) == source.content.padded(wanted.size(source.content.size)));
    assert!(open(&folder, &OpenOptions::new(scratch_root()), &NoProgress).is_err());
}
