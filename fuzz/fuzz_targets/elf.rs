//! Headers of programs and libraries: any bytes.
#![no_main]

use flatbake::FileRead;
use flatbake::flatcar::elf;
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

/// A file in memory.
struct Bytes<'a>(&'a [u8]);

impl FileRead for Bytes<'_> {
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
    let read = elf::read(&Bytes(input));
    blames_the_input(&read);
    if let Ok(Some(elf)) = read {
        assert!(!elf.architecture().is_empty());
    }
});
