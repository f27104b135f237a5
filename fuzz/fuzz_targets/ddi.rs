//! Signed disk images: any bytes, which are never taken for signed with the certificate of the fixtures unless they say what
//! the fixture says; what is signed of them is then verified. And any certificates and private keys.
#![no_main]

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use flatbake::block::FileDevice;
use flatbake::flatcar::ddi::{Certificate, KeyKind, PrivateKey, SignOptions, Signer, sign, verify};
use flatbake::{MemoryDevice, NoProgress};
use flatbake_fuzz::blames_the_input;
use flatbake_fuzz::volumes::{fixture, fixture_path};
use libfuzzer_sys::fuzz_target;

const IMAGE: &str = "ddi/oem-qemu-4757.2.1.raw.zst";

/// The certificates, and a sound image.
fn sound() -> &'static (Vec<Certificate>, Vec<u8>) {
    static SOUND: OnceLock<(Vec<Certificate>, Vec<u8>)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let certificate = std::fs::read(fixture_path("ddi/sysexts.crt")).expect("a fixture");
        let base = fixture(IMAGE);
        let size = usize::try_from(base.size).expect("small");
        let certificates = Certificate::read(&certificate).expect("a certificate");
        (certificates, base.bytes(0, size))
    })
}

/// A key of this process.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let key = PrivateKey::generate(KeyKind::P256).expect("randomness");
        let certificate = Certificate::self_signed(&key, "fuzz", SystemTime::UNIX_EPOCH, 1);
        Signer::new(key, certificate.expect("a certificate")).expect("they are one")
    })
}

/// Signs a copy, which must be verified then.
fn sign_copy(image: &[u8]) {
    let out = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC);
    let out = File::from(out.expect("memory"));
    let device = Arc::new(MemoryDevice::new(image.to_vec()));
    let temp_dir = std::env::temp_dir();
    let options = SignOptions {
        signer: signer(),
        replaces: true,
        seed: None,
    };
    let signed = sign(device, &options, &temp_dir, &out, &NoProgress);
    blames_the_input(&signed);
    if let Ok(signed) = signed {
        let device = FileDevice::from_file(out, Path::new("image")).expect("a file");
        let certificates = [signer().certificate().clone()];
        let verdict = verify(Arc::new(device), &certificates).expect("what was signed");
        assert_eq!(Some(verdict.root_hash), signed.root_hash);
    }
}

fuzz_target!(|input: &[u8]| {
    let (certificates, image) = sound();
    let read = Certificate::read(input);
    blames_the_input(&read);
    blames_the_input(&PrivateKey::read(input));
    sign_copy(input);
    blames_the_input(&verify(
        Arc::new(MemoryDevice::new(input.to_vec())),
        certificates,
    ));
    // The input in the place of the signature: its first two bytes say where it begins.
    let [low, high, rest @ ..] = input else {
        return;
    };
    let mut changed = image.clone();
    let tail = usize::from(u16::from_le_bytes([*low, *high])).min(changed.len());
    let start = changed.len() - tail;
    let len = rest.len().min(tail);
    changed[start..start + len].copy_from_slice(&rest[..len]);
    let verdict = verify(Arc::new(MemoryDevice::new(changed)), certificates);
    blames_the_input(&verdict);
    if let Ok(verdict) = verdict {
        assert_eq!(verdict.subject, certificates[0].subject());
    }
});
