//! Extensions by recipes: each built from archives laid out like those of its makers, and held against what the recipe says.

mod box_of;
#[cfg(feature = "fetch")]
mod fetched;
#[cfg(feature = "fetch")]
mod published;
mod refused;
mod stories;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::programs::{flatbake, said, success};
use crate::common::reading::text;
use crate::common::scratch_dir;

/// A folder with archives in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: scratch_dir() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The program, whose cache is here.
    fn flatbake(&self, arguments: &[&str]) -> Output {
        let mut command = flatbake();
        command.current_dir(self.dir.path());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command.args(arguments).output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.flatbake(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It ends with this exit code and says all of these words.
    fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.flatbake(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for word in words {
            assert!(
                said.contains(word),
                "{arguments:?} says no '{word}':\n{said}"
            );
        }
    }
}

/// What is in an extension, a line each.
fn listing(image: &Path) -> String {
    let output = success(flatbake().args(["sysext", "inspect", text(image), "--tree"]));
    String::from_utf8(output.stdout).unwrap()
}

/// The file of an extension, by our own reader.
fn content(image: &Path, path: &str) -> String {
    use flatbake::fs::{FsPath, read_file};
    let device = std::sync::Arc::new(flatbake::block::FileDevice::open(image).unwrap());
    let fs = flatbake::flatcar::sysext::open_extension(device).unwrap();
    let bytes = read_file(&*fs, &FsPath::new(path).unwrap(), 1 << 20).unwrap();
    String::from_utf8(bytes).unwrap()
}
