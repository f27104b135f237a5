//! Signed disk images: openssl and veritysetup judge each part as well.

mod cli;
mod maker;
mod write;

use std::sync::Arc;

use flatbake::flatcar::ddi::{Certificate, Verdict, is_signed, verify};
use flatbake::{ErrorKind, MemoryDevice, Reason, Result};

use crate::common::flatcar::ddi;
use crate::common::longer;
use crate::common::random::Random;
use maker::{Signer, Tree, can_make};

const ROUNDS: u64 = 400;

fn verdict(image: &[u8], certificates: &[Certificate]) -> Result<Verdict> {
    verify(Arc::new(MemoryDevice::new(image.to_vec())), certificates)
}

fn refused(image: &[u8], certificates: &[Certificate]) -> Option<Reason> {
    let error = verdict(image, certificates).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    error.reason()
}

fn certificates(signer: &Signer) -> Vec<Certificate> {
    Certificate::read(&signer.certificate()).unwrap()
}

#[test]
fn images_of_systemd_repart_are_verified_with_the_certificate_of_their_build() {
    let trusted = Certificate::read(include_bytes!("../../testdata/ddi/sysexts.crt")).unwrap();
    for name in [
        "flatcar-podman-4757.2.1",
        "oem-qemu-4757.2.1",
        "00-flatcar-default",
    ] {
        let image = ddi(name);
        assert!(is_signed(Arc::new(MemoryDevice::new(image.clone()))).unwrap());
        let verdict = verdict(&image, &trusted);
        let verdict = verdict.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(verdict.subject, "CN=flatbake test build A");
        assert!(verdict.data_bytes > 0 && verdict.data_bytes.is_multiple_of(4096));
    }
    let other = ddi("flatcar-podman-4757.2.1-other-build");
    assert_eq!(refused(&other, &trusted), Some(Reason::UnknownKey));
    assert_eq!(refused(&other, &[]), Some(Reason::UnknownKey));
}

#[test]
fn signatures_of_all_kinds_hold() {
    if !can_make() {
        return;
    }
    let tree = Tree::new(9, 4096, 4096, &[]);
    let image = tree.image();
    for (algorithm, digests) in [
        ("rsa:2048", &["sha256", "sha384", "sha512"][..]),
        ("rsa:4096", &["sha512"]),
        ("ec:prime256v1", &["sha256", "sha512"]),
        ("ec:secp384r1", &["sha256", "sha384"]),
    ] {
        let signer = Signer::new("builder", algorithm);
        let trusted = certificates(&signer);
        for digest in digests {
            for form in [&["-noattr"][..], &[], &["-nocerts"], &["-keyid", "-noattr"]] {
                let options = [&["-md", digest], form].concat();
                let signed = signer.sign(&tree.root_hash, &options);
                assert!(signer.accepts(&tree.root_hash, &signed));
                let verdict = verdict(&image.signed(&tree, &signed), &trusted);
                let verdict = verdict.unwrap_or_else(|error| panic!("{options:?}: {error:?}"));
                assert_eq!(verdict.root_hash, tree.root_hash);
                assert_eq!(verdict.subject, "CN=builder");
                assert_eq!(verdict.data_bytes, 9 * 4096);
            }
        }
    }
}

#[test]
fn trees_of_veritysetup_hold_and_changed_ones_do_not() {
    if !can_make() {
        return;
    }
    let signer = Signer::new("builder", "ec:prime256v1");
    let trusted = certificates(&signer);
    for (blocks, data_block, hash_block, options) in [
        (1, 4096, 4096, &[][..]),
        (2, 4096, 4096, &[]),
        (128, 4096, 4096, &["--salt=-"]),
        (129, 4096, 4096, &[]),
        (300, 512, 512, &["--salt=00ff"]),
        (40, 1024, 512, &[]),
        (50, 512, 4096, &[]),
    ] {
        let tree = Tree::new(blocks, data_block, hash_block, options);
        let signed = signer.sign(&tree.root_hash, &["-noattr"]);
        assert!(tree.holds());
        let image = tree.image();
        let sound = image.signed(&tree, &signed);
        verdict(&sound, &trusted).unwrap();
        let mut random = Random::new(blocks as u64);
        // A byte of the data, and one of the tree below the superblock, which veritysetup reads where data leads to it.
        for (part, first, end) in [(0, 0, tree.data.len()), (1, hash_block, tree.hashes.len())] {
            for _ in 0..8 {
                if first == end {
                    continue;
                }
                let mut changed = sound.clone();
                let at = first + random.below(end - first);
                changed[image.starts[part] + at] ^= 1 << random.below(8);
                let reason = refused(&changed, &trusted);
                assert_eq!(reason, Some(Reason::Checksum), "byte {at} of part {part}");
            }
        }
        let mut changed = tree.clone();
        let at = random.below(tree.data.len());
        changed.data[at] ^= 1;
        assert!(!changed.holds());
    }
}

#[test]
fn what_another_key_signed_or_what_was_signed_otherwise_is_refused() {
    if !can_make() {
        return;
    }
    let tree = Tree::new(9, 4096, 4096, &[]);
    let other_tree = Tree::new(10, 4096, 4096, &[]);
    let signer = Signer::new("builder", "rsa:2048");
    // The same name, and another key.
    let other = Signer::new("builder", "rsa:2048");
    let trusted = certificates(&signer);
    let image = tree.image();
    let with = |signed: &[u8]| image.signed(&tree, signed);
    for form in [&["-noattr"][..], &[]] {
        let by_other = other.sign(&tree.root_hash, form);
        assert!(!signer.accepts(&tree.root_hash, &by_other));
        assert_eq!(
            refused(&with(&by_other), &trusted),
            Some(Reason::UnknownKey)
        );
        let of_other = signer.sign(&other_tree.root_hash, form);
        assert!(!signer.accepts(&tree.root_hash, &of_other));
        assert_eq!(
            refused(&with(&of_other), &trusted),
            Some(Reason::BadSignature)
        );
        let with_line_end = signer.sign(&format!("{}\n", tree.root_hash), form);
        assert_eq!(
            refused(&with(&with_line_end), &trusted),
            Some(Reason::BadSignature)
        );
        // All certificates of a file count.
        let both = [
            other.certificate(),
            b"between\n".to_vec(),
            signer.certificate(),
        ]
        .concat();
        let both = Certificate::read(&both).unwrap();
        assert_eq!(both.len(), 2);
        verdict(&with(&by_other), &both).unwrap();
    }
    let sha1 = signer.sign(&tree.root_hash, &["-noattr", "-md", "sha1"]);
    assert_eq!(refused(&with(&sha1), &trusted), Some(Reason::WeakAlgorithm));
    let unsigned = tree.unsigned_image();
    assert_eq!(refused(&unsigned, &trusted), Some(Reason::NoSignature));
    assert!(!is_signed(Arc::new(MemoryDevice::new(unsigned))).unwrap());
    assert_eq!(refused(&tree.data, &trusted), Some(Reason::NoSignature));
    // The signed tree of something else.
    let moved = Tree {
        data: tree.data.clone(),
        ..other_tree.clone()
    };
    let signed = signer.sign(&moved.root_hash, &["-noattr"]);
    assert!(verdict(&moved.image().signed(&moved, &signed), &trusted).is_err());
}

#[test]
fn a_changed_bit_of_the_signature_is_refused_as_openssl_does() {
    if !can_make() {
        return;
    }
    let tree = Tree::new(2, 4096, 4096, &[]);
    let image = tree.image();
    for algorithm in ["rsa:2048", "ec:prime256v1"] {
        let signer = Signer::new("builder", algorithm);
        let trusted = certificates(&signer);
        for form in [&["-noattr", "-nocerts"][..], &["-nocerts"]] {
            let signed = signer.sign(&tree.root_hash, form);
            for at in 0..signed.len() {
                let mut changed = signed.clone();
                changed[at] ^= 1 << (at % 8);
                if verdict(&image.signed(&tree, &changed), &trusted).is_ok() {
                    let theirs = signer.accepts(&tree.root_hash, &changed);
                    assert!(theirs, "{algorithm} {form:?}: byte {at}");
                }
            }
            // The last bytes are those of the signature itself.
            let mut changed = signed.clone();
            *changed.last_mut().unwrap() ^= 1;
            assert!(!signer.accepts(&tree.root_hash, &changed));
            let reason = refused(&image.signed(&tree, &changed), &trusted);
            assert_eq!(reason, Some(Reason::BadSignature));
        }
    }
}

#[test]
fn changed_images_and_certificates_are_never_wrongly_good() {
    let image = ddi("flatcar-podman-4757.2.1");
    let pem = include_bytes!("../../testdata/ddi/sysexts.crt");
    let trusted = Certificate::read(pem).unwrap();
    let sound = verdict(&image, &trusted).unwrap();
    // Its only filesystem begins here.
    let data = 40 * 512..40 * 512 + usize::try_from(sound.data_bytes).unwrap();
    for seed in 0..longer(ROUNDS) {
        let mut random = Random::new(seed);
        let mut changed = image.clone();
        for _ in 0..=random.below(3) {
            // Half of them in the signature and the table.
            let at = match random.below(4) {
                0 => random.below(40 * 512),
                1 => 2440 * 512 + random.below(2048),
                _ => random.below(image.len()),
            };
            changed[at] ^= 1 << random.below(8);
        }
        if let Ok(verdict) = verdict(&changed, &trusted) {
            assert_eq!(verdict, sound, "seed {seed}");
            assert_eq!(changed[data.clone()], image[data.clone()], "seed {seed}");
        }
        let mut changed = pem.to_vec();
        changed[random.below(pem.len())] = random.bytes(1)[0];
        if let Ok(changed) = Certificate::read(&changed) {
            let _ = verdict(&image, &changed)
                .map(|verdict| assert_eq!(verdict.root_hash, sound.root_hash));
        }
        changed.truncate(random.below(pem.len()));
        let _ = Certificate::read(&changed);
    }
}

#[test]
fn certificates_are_read_in_both_forms_and_weak_ones_refused() {
    if !can_make() {
        return;
    }
    let signer = Signer::new("builder", "rsa:2048");
    let [pem] = &certificates(&signer)[..] else {
        panic!("one certificate");
    };
    let der = Certificate::read(&signer.certificate_der()).unwrap();
    assert_eq!(der[0].fingerprint(), pem.fingerprint());
    let twice = [signer.certificate(), signer.certificate()].concat();
    assert_eq!(Certificate::read(&twice).unwrap().len(), 1);
    let weak = Signer::new("builder", "rsa:1024");
    let error = Certificate::read(&weak.certificate()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WeakAlgorithm), "{error:?}");
    let curve = Signer::new("builder", "ec:secp521r1");
    let error = Certificate::read(&curve.certificate()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    for bytes in [&b""[..], b"text", b"-----BEGIN CERTIFICATE-----\nAAAA"] {
        assert!(Certificate::read(bytes).is_err());
    }
}
