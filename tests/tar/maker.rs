//! Archives made header by header, as no program would make them.

pub const BLOCK: usize = 512;

/// An archive being made.
#[derive(Debug, Clone, Default)]
pub struct Maker(pub Vec<u8>);

/// A ustar header with a right checksum.
pub fn header(name: &str, typeflag: u8, size: u64, link: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    block[157..157 + link.len().min(100)].copy_from_slice(&link.as_bytes()[..link.len().min(100)]);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"14000000000\0");
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    repair(&mut block);
    block
}

/// Makes the checksum of a header right.
pub fn repair(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let len = (1..9)
        .map(|digits| body + digits)
        .find(|len| body + len.to_string().len() == *len)
        .unwrap();
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

impl Maker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn block(mut self, mut block: [u8; BLOCK], change: impl FnOnce(&mut [u8; BLOCK])) -> Self {
        change(&mut block);
        repair(&mut block);
        self.0.extend(block);
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub fn entry(self, name: &str, typeflag: u8, content: &[u8], link: &str) -> Self {
        self.block(header(name, typeflag, content.len() as u64, link), |_| {})
            .data(content)
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, b'0', content.as_bytes(), "")
    }

    pub fn dir(self, name: &str) -> Self {
        self.block(header(name, b'5', 0, ""), |block| {
            block[100..108].copy_from_slice(b"0000750\0")
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, b'2', b"", target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, b'1', b"", target)
    }

    pub fn node(self, name: &str, typeflag: u8, major: u32, minor: u32) -> Self {
        self.block(header(name, typeflag, 0, ""), |block| {
            block[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
            block[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        })
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.entry("pax", b'x', &body, "")
    }

    pub fn global(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.entry("pax", b'g', &body, "")
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
