//! Disk images that are made here: veritysetup, openssl, sgdisk and systemd-dissect judge them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flatbake::block::FileDevice;
use flatbake::bytes::hex;
use flatbake::flatcar::ddi::{
    BuildOptions, Built, Certificate, KeyKind, PrivateKey, Protection, SignOptions, Signer, build,
    is_signed, sign, verify,
};
use flatbake::flatcar::sysext::{inspect, open_extension};
use flatbake::fs::verity::{TreeOptions, tree_bytes, write_tree};
use flatbake::machine::Arch;
use flatbake::{BlockDevice, ErrorKind, MemoryDevice, NoProgress, Reason, Result};

use super::maker::{self, Tree, can_make};
use crate::common::flatcar::ddi;
use crate::common::judges::{gpt_clean, partitions};
use crate::common::programs::{ask, judge, must_run, said};
use crate::common::random::Random;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::{longer, noise, scratch_dir};

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const UUID_BYTES: [u8; 16] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];
const ROUNDS: u64 = 300;

/// A certificate of openssl's and its key in PKCS#8.
fn signer_of(maker: &maker::Signer) -> Signer {
    let key = PrivateKey::read(&maker.pkcs8("PEM")).unwrap();
    let certificate = Certificate::read(&maker.certificate()).unwrap().remove(0);
    Signer::new(key, certificate).unwrap()
}

/// A file in a folder that goes when it does.
struct Made {
    dir: tempfile::TempDir,
    built: Built,
}

impl Made {
    /// What `make` writes.
    fn new(make: impl FnOnce(&Path, &File) -> Result<Built>) -> Self {
        let dir = scratch_dir();
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join("image.raw"))
            .unwrap();
        let built = make(dir.path(), &file).unwrap();
        let made = Self { dir, built };
        assert_eq!(made.bytes().len() as u64, made.built.bytes);
        made
    }

    fn of(files: &[u8], protection: Protection<'_>, seed: Option<&str>) -> Self {
        let device = MemoryDevice::new(files.to_vec());
        let options = BuildOptions {
            architecture: Arch::Amd64,
            protection,
            seed: seed.map(str::to_owned),
        };
        Self::new(|dir, out| build(&device, &options, dir, out, &NoProgress))
    }

    fn signed_from(image: &[u8], signer: &Signer, replaces: bool) -> Self {
        Self::new(|dir, out| sign_copy(image, signer, replaces, dir, out))
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("image.raw")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Where the partitions lie.
    fn ranges(&self) -> Vec<std::ops::Range<usize>> {
        let found = partitions(&self.path()).unwrap();
        let bytes = |sectors: u64| usize::try_from(sectors * 512).unwrap();
        let range = |start, sectors| bytes(start)..bytes(start + sectors);
        found
            .iter()
            .map(|one| range(one.start, one.sectors))
            .collect()
    }

    /// The document in the partition of the signature.
    fn document(&self) -> serde_json::Value {
        let bytes = &self.bytes()[self.ranges()[2].clone()];
        let text = bytes.split(|&byte| byte == 0).next().unwrap();
        serde_json::from_slice(text).unwrap()
    }

    fn signed_data(&self) -> Vec<u8> {
        let document = self.document();
        STANDARD
            .decode(document["signature"].as_str().unwrap())
            .unwrap()
    }

    /// Its data and tree, as veritysetup wants them.
    fn tree(&self) -> Tree {
        let bytes = self.bytes();
        let ranges = self.ranges();
        Tree {
            data: bytes[ranges[0].clone()].to_vec(),
            hashes: bytes[ranges[1].clone()].to_vec(),
            root_hash: self.built.root_hash.clone().unwrap(),
        }
    }
}

fn sign_copy(
    image: &[u8],
    signer: &Signer,
    replaces: bool,
    dir: &Path,
    out: &File,
) -> Result<Built> {
    let image = Arc::new(MemoryDevice::new(image.to_vec()));
    let options = SignOptions {
        signer,
        replaces,
        seed: None,
    };
    sign(image, &options, dir, out, &NoProgress)
}

fn verdict(image: &[u8], certificate: &Certificate) -> Result<flatbake::flatcar::ddi::Verdict> {
    let device = Arc::new(MemoryDevice::new(image.to_vec()));
    verify(device, std::slice::from_ref(certificate))
}

/// A sysext of some hundred kilobytes.
fn files(format: Format) -> Vec<u8> {
    let dir = scratch_dir();
    let made = Sysext {
        ballast: 700_000,
        ..Sysext::new("hello", "x86-64", format)
    };
    fs::read(sysext(dir.path(), "hello.raw", &made).unwrap()).unwrap()
}

#[test]
fn trees_are_those_of_veritysetup_byte_for_byte() {
    if !can_make() {
        return;
    }
    for (blocks, salt) in [
        (1, "-"),
        (2, "00ff"),
        (128, "0123456789abcdef"),
        (129, "-"),
        (1000, &"5a".repeat(32)),
        (128 * 128, "-"),
        (128 * 128 + 1, "77"),
    ] {
        let salt_option = format!("--salt={salt}");
        let uuid_option = format!("--uuid={UUID}");
        let theirs = Tree::new(blocks, 4096, 4096, &[&salt_option, &uuid_option]);
        let salt = if salt == "-" { "" } else { salt };
        let salt = (0..salt.len()).step_by(2);
        let options = TreeOptions {
            salt: salt
                .map(|at| u8::from_str_radix(&salt_option[7 + at..9 + at], 16).unwrap())
                .collect(),
            uuid: UUID_BYTES,
        };
        let len = tree_bytes(theirs.data.len() as u64).unwrap();
        let ours = Mutex::new(vec![0; usize::try_from(len).unwrap()]);
        let put = |offset: u64, bytes: &[u8]| {
            let offset = usize::try_from(offset).unwrap();
            ours.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        };
        let data = MemoryDevice::new(theirs.data.clone());
        let root = write_tree(&data, &options, &NoProgress, &put).unwrap();
        let ours = ours.into_inner().unwrap();
        assert_eq!(hex(&root), theirs.root_hash, "{blocks} blocks");
        // veritysetup does not fill up the block of a superblock behind which there is nothing.
        let (same, rest) = ours.split_at(theirs.hashes.len());
        assert!(same == theirs.hashes, "{blocks} blocks");
        assert!(rest.iter().all(|&byte| byte == 0) && (rest.is_empty() || blocks == 1));
        let tree = Tree {
            hashes: ours,
            ..theirs
        };
        assert!(tree.holds());
    }
}

#[test]
fn signatures_are_those_of_openssl() {
    if !can_make() {
        return;
    }
    let data = noise(3, 9 * 4096);
    for algorithm in [
        "rsa:2048",
        "rsa:3072",
        "rsa:4096",
        "ec:prime256v1",
        "ec:secp384r1",
    ] {
        let maker = maker::Signer::new("builder", algorithm);
        let signer = signer_of(&maker);
        let made = Made::of(&data, Protection::Signed(&signer), None);
        let root_hash = made.built.root_hash.as_deref().unwrap();
        let signed_data = made.signed_data();
        assert!(maker.accepts(root_hash, &signed_data), "{algorithm}");
        assert!(maker.smime_accepts(root_hash, &signed_data), "{algorithm}");
        let other = root_hash.replacen(|_: char| true, "x", 1);
        assert!(!maker.accepts(&other, &signed_data), "{algorithm}");
        let theirs = maker.smime_sign(root_hash);
        if algorithm.starts_with("rsa") {
            assert_eq!(signed_data, theirs, "{algorithm}");
        } else {
            // Theirs has another nonce each time; all before the signature itself is the same but for lengths.
            let kinds = |der: &[u8]| {
                let said = must_run_with("openssl", &["asn1parse", "-inform", "DER"], der);
                let column = |line: &str| line.split_once(" prim: ").map(|(_, it)| it.to_owned());
                let mut kinds: Vec<_> = said.lines().filter_map(column).collect();
                kinds.pop();
                kinds
            };
            assert_eq!(kinds(&signed_data), kinds(&theirs), "{algorithm}");
        }
        let document = made.document();
        assert_eq!(document["rootHash"], root_hash);
        assert_eq!(document["certificateFingerprint"], maker.fingerprint());
        let again = Made::of(&data, Protection::Signed(&signer), None);
        assert!(again.bytes() == made.bytes(), "{algorithm}");
    }
}

fn must_run_with(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let output = ask(program, arguments, input).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn signed_sysexts_are_what_systemd_and_the_others_take_them_for() {
    if !can_make() {
        return;
    }
    let maker = maker::Signer::new("builder", "ec:prime256v1");
    let signer = signer_of(&maker);
    for format in [Format::Squashfs, Format::Erofs] {
        let files = files(format);
        for (protection, count) in [
            (Protection::None, 1),
            (Protection::Verity, 2),
            (Protection::Signed(&signer), 3),
        ] {
            let made = Made::of(&files, protection, None);
            gpt_clean(&made.path()).unwrap();
            let found = partitions(&made.path()).unwrap();
            let names = [
                "root-x86-64",
                "root-x86-64-verity",
                "root-x86-64-verity-sig",
            ];
            let labels: Vec<&str> = found.iter().map(|one| one.label.as_str()).collect();
            assert_eq!(labels, names[..count]);
            assert_eq!(found[0].attributes, "GUID:60");
            assert!(
                found
                    .iter()
                    .all(|one| one.start % 8 == 0 && one.sectors % 8 == 0)
            );
            dissected(&made.path(), "hello", count);
            let device: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(&made.path()).unwrap());
            assert_eq!(is_signed(device.clone()).unwrap(), count == 3);
            let fs = open_extension(device).unwrap();
            assert_eq!(inspect(&*fs).unwrap().releases[0].name, "hello");
            assert!(made.bytes()[made.ranges()[0].clone()].starts_with(&files));
            if count > 1 {
                assert!(made.tree().holds());
                let root_hash = made.built.root_hash.as_deref().unwrap();
                let identities: String = found[..2]
                    .iter()
                    .map(|one| one.unique_guid.replace('-', "").to_lowercase())
                    .collect();
                assert_eq!(identities, root_hash);
            }
            let verdict = verdict(&made.bytes(), signer.certificate());
            match protection {
                Protection::Signed(_) => {
                    let verdict = verdict.unwrap();
                    assert_eq!(Some(verdict.root_hash), made.built.root_hash);
                    assert_eq!(
                        verdict.data_bytes,
                        files.len().next_multiple_of(4096) as u64
                    );
                }
                _ => {
                    let reason = verdict.unwrap_err().reason();
                    assert_eq!(reason, Some(Reason::NoSignature));
                }
            }
        }
    }
}

/// systemd-dissect, where it may set up a loop device, says that it is the extension `name`, of so many partitions.
fn dissected(image: &Path, name: &str, count: usize) {
    if judge("systemd-dissect").is_none() {
        return;
    }
    let dir = scratch_dir();
    let named = dir.path().join(format!("{name}.raw"));
    fs::copy(image, &named).unwrap();
    let image = named.as_path();
    let arguments = ["--json=short", "--no-pager", image.to_str().unwrap()];
    let output = ask("systemd-dissect", arguments, b"").unwrap();
    if !output.status.success() && said(&output).contains("loop") {
        eprintln!("skipped: systemd-dissect: {}", said(&output));
        return;
    }
    assert!(output.status.success(), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["useSystemExtension"], true, "{found}");
    let mounts = found["mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), count, "{found}");
    // Of a tree without a signature not all versions tell.
    let is_signed = mounts[0]["verity"] == "signed";
    assert_eq!(is_signed, count == 3, "{found}");
    assert_eq!(mounts[0]["rw"], "ro", "{found}");
    let has_words = ["--validate", "--image-policy"];
    let help = said(&ask("systemd-dissect", ["--help"], b"").unwrap());
    // Since systemd 254.
    if count == 3 && has_words.iter().all(|word| help.contains(word)) {
        let policy = "--image-policy=root=signed";
        must_run(
            "systemd-dissect",
            ["--validate", policy, image.to_str().unwrap()],
        );
    }
}

#[test]
fn a_changed_bit_anywhere_in_what_counts_is_refused() {
    if !can_make() {
        return;
    }
    let maker = maker::Signer::new("builder", "rsa:2048");
    let signer = signer_of(&maker);
    let made = Made::of(&files(Format::Erofs), Protection::Signed(&signer), None);
    let sound = made.bytes();
    let ranges = made.ranges();
    let of_sound = verdict(&sound, signer.certificate()).unwrap();
    let mut random = Random::new(11);
    let mut changes = Vec::new();
    for range in [
        // The data; the tree behind its superblock; the document and what fills up behind it.
        ranges[0].clone(),
        ranges[1].start + 4096..ranges[1].end,
        ranges[2].clone(),
    ] {
        for _ in 0..longer(60) {
            changes.push(range.start + random.below(range.len()));
        }
    }
    let document_bytes = made.document().to_string().len();
    for at in changes {
        let mut changed = sound.clone();
        changed[at] ^= 1 << random.below(8);
        match verdict(&changed, signer.certificate()) {
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}"),
            // What only tells which certificate to look for proves nothing.
            Ok(verdict) => {
                assert!(ranges[2].contains(&at) && at < ranges[2].start + document_bytes);
                assert_eq!(verdict, of_sound, "byte {at}");
            }
        }
    }
    let tree = made.tree();
    for part in 0..2 {
        let mut tree = tree.clone();
        let bytes = if part == 0 {
            &mut tree.data
        } else {
            &mut tree.hashes
        };
        bytes[5000] ^= 1;
        assert!(!tree.holds(), "veritysetup");
    }
    let other = maker::Signer::new("builder", "rsa:2048");
    let other = signer_of(&other);
    let reason = verdict(&sound, other.certificate()).unwrap_err().reason();
    assert_eq!(reason, Some(Reason::UnknownKey));
}

#[test]
fn one_seed_gives_one_image_with_any_number_of_threads() {
    if !can_make() {
        return;
    }
    let signer = signer_of(&maker::Signer::new("builder", "rsa:2048"));
    let data = noise(4, (5 << 20) + 300);
    let of = |threads: usize, data: &[u8], seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let make = || Made::of(data, Protection::Signed(&signer), seed).bytes();
        pool.build().unwrap().install(make)
    };
    for seed in [None, Some("node")] {
        let one = of(1, &data, seed);
        assert!(of(2, &data, seed) == one && of(7, &data, seed) == one);
        assert!(of(2, &data, Some("other")) != one);
    }
    // Without a seed the content decides, and with one it does not decide on the identity of the disk.
    let disk = |image: &[u8]| image[512 + 56..512 + 72].to_vec();
    let other = noise(5, 4096);
    assert_ne!(disk(&of(1, &data, None)), disk(&of(1, &other, None)));
    assert_eq!(
        disk(&of(1, &data, Some("a"))),
        disk(&of(1, &other, Some("a")))
    );
}

#[test]
fn disk_images_that_are_there_get_a_signature() {
    if !can_make() {
        return;
    }
    let maker = maker::Signer::new("builder", "ec:secp384r1");
    let signer = signer_of(&maker);
    let data = files(Format::Squashfs);
    let verity = Made::of(&data, Protection::Verity, Some("seed"));
    let signed = Made::signed_from(&verity.bytes(), &signer, false);
    assert_eq!(signed.built.root_hash, verity.built.root_hash);
    assert!(signed.tree().hashes == verity.tree().hashes);
    verdict(&signed.bytes(), signer.certificate()).unwrap();
    let plain = Made::of(&data, Protection::None, None);
    let signed = Made::signed_from(&plain.bytes(), &signer, false);
    verdict(&signed.bytes(), signer.certificate()).unwrap();
    // Those of systemd-repart, and of veritysetup and sgdisk.
    let repart = ddi("flatcar-podman-4757.2.1");
    let dir = scratch_dir();
    let out = File::create(dir.path().join("refused")).unwrap();
    let error = sign_copy(&repart, &signer, false, dir.path(), &out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    let signed = Made::signed_from(&repart, &signer, true);
    gpt_clean(&signed.path()).unwrap();
    dissected(&signed.path(), "podman", 3);
    assert!(signed.tree().holds());
    verdict(&signed.bytes(), signer.certificate()).unwrap();
    let theirs = Tree::new(300, 512, 512, &["--salt=00ff"]);
    let signed = Made::signed_from(&theirs.unsigned_image(), &signer, false);
    assert_eq!(signed.built.root_hash.as_deref(), Some(&*theirs.root_hash));
    assert!(signed.tree().hashes.starts_with(&theirs.hashes));
    verdict(&signed.bytes(), signer.certificate()).unwrap();
    // Data that is not what its tree stands for gets none.
    let mut changed = verity.bytes();
    changed[verity.ranges()[0].start + 77] ^= 1;
    let error = sign_copy(&changed, &signer, false, dir.path(), &out).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Checksum), "{error:?}");
    let error = sign_copy(&data, &signer, false, dir.path(), &out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert_eq!(out.metadata().unwrap().len(), 0);
}

#[test]
fn damaged_disk_images_are_never_signed_as_something_else() {
    if !can_make() {
        return;
    }
    let signer = signer_of(&maker::Signer::new("builder", "ec:prime256v1"));
    let sound = Made::of(&noise(8, 40_000), Protection::Verity, None).bytes();
    let dir = scratch_dir();
    for seed in 0..longer(ROUNDS) {
        let mut random = Random::new(seed);
        let mut changed = sound.clone();
        for _ in 0..=random.below(4) {
            let at = match random.below(3) {
                0 => random.below(2048),
                _ => random.below(changed.len()),
            };
            changed[at] ^= 1 << random.below(8);
        }
        if random.below(4) == 0 {
            changed.truncate(random.below(sound.len()));
        }
        let out = tempfile::tempfile_in(dir.path()).unwrap();
        match sign_copy(&changed, &signer, false, dir.path(), &out) {
            Ok(built) => {
                let signed = FileDevice::from_file(out, dir.path()).unwrap();
                let certificates = [signer.certificate().clone()];
                let verdict = verify(Arc::new(signed), &certificates);
                let verdict = verdict.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
                assert_eq!(Some(verdict.root_hash), built.root_hash, "seed {seed}");
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "seed {seed}: {error:?}"),
        }
    }
}

#[test]
fn private_keys_are_read_in_pkcs8_and_nothing_else() {
    if !can_make() {
        return;
    }
    for algorithm in ["rsa:2048", "ec:prime256v1", "ec:secp384r1"] {
        let maker = maker::Signer::new("builder", algorithm);
        let certificate = Certificate::read(&maker.certificate()).unwrap().remove(0);
        for form in ["PEM", "DER"] {
            let key = PrivateKey::read(&maker.pkcs8(form)).unwrap();
            let shown = format!("{key:?}");
            assert!(shown.len() < 20, "{shown}");
            Signer::new(key, certificate.clone()).unwrap();
            let encrypted = PrivateKey::read(&maker.encrypted(form)).unwrap_err();
            assert!(encrypted.to_string().contains("encrypted"), "{encrypted:?}");
            assert!(encrypted.hint().unwrap().contains("openssl pkcs8"));
        }
        let older = PrivateKey::read(&maker.traditional()).unwrap_err();
        assert!(older.hint().unwrap().contains("-topk8"), "{older:?}");
        // A key whose halves do not belong together is none, and its bytes are not told.
        let mut changed = maker.pkcs8("DER");
        let at = changed.len() / 2;
        changed[at] ^= 0x10;
        if let Err(error) = PrivateKey::read(&changed) {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        }
    }
    let one = maker::Signer::new("one", "rsa:2048");
    for other in ["rsa:2048", "ec:prime256v1"] {
        let other = maker::Signer::new("other", other);
        let key = PrivateKey::read(&one.pkcs8("PEM")).unwrap();
        let certificate = Certificate::read(&other.certificate()).unwrap().remove(0);
        let error = Signer::new(key, certificate).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("CN=other"), "{error}");
    }
    let weak = maker::Signer::new("weak", "rsa:1024");
    let error = PrivateKey::read(&weak.pkcs8("PEM")).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WeakAlgorithm));
    let curve = maker::Signer::new("curve", "ec:secp521r1");
    assert!(PrivateKey::read(&curve.pkcs8("PEM")).is_err());
    for bytes in [
        &one.certificate()[..],
        b"",
        b"text",
        b"-----BEGIN PRIVATE KEY-----\nAAAA",
        &[0x30; 99],
    ] {
        let error = PrivateKey::read(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
    assert_eq!(
        PrivateKey::read(&vec![b'x'; 70_000]).unwrap_err().reason(),
        Some(Reason::Limit)
    );
}

#[test]
fn changed_keys_never_make_a_wrong_signature() {
    if !can_make() {
        return;
    }
    for algorithm in ["rsa:2048", "ec:prime256v1"] {
        let maker = maker::Signer::new("builder", algorithm);
        let certificate = Certificate::read(&maker.certificate()).unwrap().remove(0);
        let der = maker.pkcs8("DER");
        for seed in 0..longer(60) {
            let mut random = Random::new(seed);
            let mut changed = der.clone();
            changed[random.below(der.len())] ^= 1 << random.below(8);
            let Ok(key) = PrivateKey::read(&changed) else {
                continue;
            };
            let Ok(signer) = Signer::new(key, certificate.clone()) else {
                continue;
            };
            let made = Made::of(&[1; 4096], Protection::Signed(&signer), Some("s"));
            verdict(&made.bytes(), &certificate)
                .unwrap_or_else(|error| panic!("{seed}: {error:?}"));
        }
    }
}

#[test]
fn new_keys_and_their_certificates_are_sound_to_openssl() {
    if !can_make() {
        return;
    }
    let day = Duration::from_secs(86_400);
    let start = SystemTime::UNIX_EPOCH + day * 20_000;
    for (kind, days, word) in [
        (KeyKind::P256, 30, "prime256v1"),
        (KeyKind::P384, 20_000, "secp384r1"),
        (KeyKind::Rsa(2048), 3650, "Public-Key: (2048 bit)"),
    ] {
        let key = PrivateKey::generate(kind).unwrap();
        let certificate = Certificate::self_signed(&key, "Käthe & co", start, days).unwrap();
        assert_eq!(certificate.subject(), "CN=Käthe & co");
        let pem = key.to_pem().unwrap();
        let checked = must_run_with("openssl", &["pkey", "-check", "-noout"], pem.as_bytes());
        assert!(checked.contains("Key is valid"), "{checked}");
        let text = ["x509", "-noout", "-text", "-dates", "-nameopt", "utf8"];
        let told = must_run_with("openssl", &text, certificate.to_pem().as_bytes());
        for part in [
            word,
            "Version: 3 (0x2)",
            "CA:FALSE",
            "Digital Signature",
            "Subject Key Identifier",
            "notBefore=Oct  4 00:00:00 2024 GMT",
            "Käthe",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
        let dir = scratch_dir();
        let file = dir.path().join("certificate.pem");
        fs::write(&file, certificate.to_pem()).unwrap();
        let file = file.to_str().unwrap();
        must_run(
            "openssl",
            [
                "verify",
                "-no_check_time",
                "-check_ss_sig",
                "-CAfile",
                file,
                file,
            ],
        );
        let again = Certificate::read(certificate.to_pem().as_bytes()).unwrap();
        assert_eq!(again[0].fingerprint(), certificate.fingerprint());
        let read = PrivateKey::read(pem.as_bytes()).unwrap();
        let signer = Signer::new(read, certificate.clone()).unwrap();
        let made = Made::of(&[7; 5000], Protection::Signed(&signer), None);
        verdict(&made.bytes(), &certificate).unwrap();
        let content = dir.path().join("content");
        fs::write(&content, made.built.root_hash.as_deref().unwrap()).unwrap();
        // With the certificate as what is trusted, and all that openssl looks at besides.
        let verify = [
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-no_check_time",
            "-certfile",
            file,
            "-CAfile",
            file,
            "-content",
            content.to_str().unwrap(),
            "-out",
            "/dev/null",
        ];
        must_run_with("openssl", &verify, &made.signed_data());
        let other = PrivateKey::generate(kind).unwrap();
        assert_ne!(*other.to_pem().unwrap(), *pem);
    }
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    for (name, days) in [
        ("", 1),
        ("a\nb", 1),
        (&*"x".repeat(65), 1),
        ("x", 0),
        ("x", 36_526),
    ] {
        let error = Certificate::self_signed(&key, name, start, days).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(PrivateKey::generate(KeyKind::Rsa(1024)).is_err());
}
