//! Programs and libraries rewritten: any bytes give an error, or a file that says what was asked for.
#![no_main]

use flatbake::FileRead;
use flatbake::flatcar::elf::{Change, edit};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

/// A file in memory.
struct Bytes(Vec<u8>);

impl FileRead for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> flatbake::Result<()> {
        let start = usize::try_from(offset).expect("within the file");
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let change = Change {
        interpreter: "/usr/local/tools/ld.so".to_owned(),
        search: vec!["/usr/local/tools".to_owned()],
        ..Change::default()
    };
    let edited = edit(Box::new(Bytes(input.to_vec())), &change);
    if let Ok(edited) = &edited {
        assert!(edited.size() > input.len() as u64);
    }
    blames_the_input(&edited);
});
