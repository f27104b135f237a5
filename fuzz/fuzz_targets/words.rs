//! Words that people write: what is understood is shown in a form that is understood again.
#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use flatbake::archive::Glob;
use flatbake::bytes::{ByteSize, Guid};
use flatbake::flatcar::{Designator, PartitionRef, tmpfiles, unit};
use flatbake::fs::{FsPath, Timestamp};
use flatbake::image::{CompressOptions, OutputFormat};
use flatbake::machine::{Arch, BundleFormat, ConfFormat};
use flatbake::manifest::parse_set;
use flatbake::partition::PartitionName;
use flatbake::{Error, Hostname, LinkSpec, Place, RootSize, SysextSpec};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fn read<T: FromStr<Err = Error> + Debug>(text: &str) {
    blames_the_input(&text.parse::<T>());
}

fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<FsPath>() {
        assert_eq!(FsPath::new(path.as_bytes()).ok().as_ref(), Some(&path));
    }
    if let Ok(guid) = text.parse::<Guid>() {
        assert_eq!(guid.to_string().parse::<Guid>().ok(), Some(guid));
    }
    read::<ByteSize>(text);
    read::<Timestamp>(text);
    read::<Designator>(text);
    read::<PartitionRef>(text);
    read::<PartitionName>(text);
    read::<CompressOptions>(text);
    read::<OutputFormat>(text);
    read::<Arch>(text);
    read::<ConfFormat>(text);
    read::<BundleFormat>(text);
    read::<Hostname>(text);
    read::<LinkSpec>(text);
    read::<Place>(text);
    read::<RootSize>(text);
    read::<SysextSpec>(text);
    blames_the_input(&parse_set(text));
    blames_the_input(&unit::path(text));
    unit::file_of(text);
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(glob) = Glob::new(pattern) {
        glob.matches(name.as_bytes());
    }
    tmpfiles::name_fits(pattern.as_bytes(), name.as_bytes());
});
