//! Signed disk images made by others: keys, certificates and signatures by openssl, trees by veritysetup, tables by sgdisk.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::programs::{ask, judges, must_run};
use crate::common::{noise, scratch_dir};

/// Types of the partitions with a filesystem, its tree and its signature, for x86-64.
const ROOT: [&str; 3] = [
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    "41092b05-9fc8-4523-994f-2def0408b176",
];
/// As long as systemd-repart makes the partition of a signature.
const SIGNATURE_BYTES: usize = 16 << 10;
/// The first sector of the first partition.
const FIRST: usize = 64;

/// Whether all makers and judges are there.
pub fn can_make() -> bool {
    judges(&["openssl", "veritysetup", "sgdisk"])
}

/// A private key and its certificate, in files.
pub struct Signer {
    dir: tempfile::TempDir,
}

impl Signer {
    /// `algorithm` in openssl's words: `rsa:2048`, `ec:prime256v1`.
    pub fn new(name: &str, algorithm: &str) -> Self {
        let signer = Self { dir: scratch_dir() };
        let key = signer.file("key.pem");
        match algorithm.split_once(':').unwrap() {
            ("ec", curve) => must_run(
                "openssl",
                ["ecparam", "-genkey", "-noout", "-name", curve, "-out", &key],
            ),
            (_, bits) => must_run("openssl", ["genrsa", "-out", &key, bits]),
        };
        let subject = format!("/CN={name}");
        let certificate = signer.file("certificate.pem");
        let request = [
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-subj",
            &subject,
            "-days",
            "3650",
            "-sha256",
            "-out",
            &certificate,
        ];
        must_run("openssl", request);
        signer
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn certificate(&self) -> Vec<u8> {
        fs::read(self.file("certificate.pem")).unwrap()
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        let certificate = self.file("certificate.pem");
        must_run("openssl", ["x509", "-in", &certificate, "-outform", "DER"]).stdout
    }

    /// The SHA-256 of the certificate, in small hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let certificate = self.file("certificate.pem");
        let fingerprint = [
            "x509",
            "-in",
            &certificate,
            "-noout",
            "-fingerprint",
            "-sha256",
        ];
        let said = String::from_utf8(must_run("openssl", fingerprint).stdout).unwrap();
        let digits = said.split_once('=').unwrap().1;
        digits.trim().replace(':', "").to_lowercase()
    }

    /// The private key in PKCS#8, in the form PEM or DER.
    pub fn pkcs8(&self, form: &str) -> Vec<u8> {
        let key = self.file("key.pem");
        let convert = ["pkcs8", "-topk8", "-nocrypt", "-in", &key, "-outform", form];
        must_run("openssl", convert).stdout
    }

    /// The same with a passphrase.
    pub fn encrypted(&self, form: &str) -> Vec<u8> {
        let key = self.file("key.pem");
        let passphrase = "pass:secret";
        let convert = [
            "pkcs8", "-topk8", "-in", &key, "-outform", form, "-passout", passphrase,
        ];
        must_run("openssl", convert).stdout
    }

    /// The private key in the form of its own kind, PKCS#1 or SEC 1.
    pub fn traditional(&self) -> Vec<u8> {
        let key = self.file("key.pem");
        must_run("openssl", ["pkey", "-in", &key, "-traditional"]).stdout
    }

    /// What `openssl smime` makes of `content`, as the kernel's documentation has it.
    pub fn smime_sign(&self, content: &str) -> Vec<u8> {
        let (content_file, out) = (self.file("content"), self.file("smime.der"));
        fs::write(&content_file, content).unwrap();
        let (key, certificate) = (self.file("key.pem"), self.file("certificate.pem"));
        let sign = [
            "smime",
            "-sign",
            "-nocerts",
            "-noattr",
            "-binary",
            "-outform",
            "DER",
            "-inkey",
            &key,
            "-signer",
            &certificate,
            "-in",
            &content_file,
            "-out",
            &out,
        ];
        must_run("openssl", sign);
        fs::read(out).unwrap()
    }

    /// Whether `openssl smime` takes `signed_data`, as systemd calls that library: no certificate but this, whatever its dates.
    pub fn smime_accepts(&self, content: &str, signed_data: &[u8]) -> bool {
        let (content_file, signature) = (self.file("judged"), self.file("judged.der"));
        fs::write(&content_file, content).unwrap();
        fs::write(&signature, signed_data).unwrap();
        let certificate = self.file("certificate.pem");
        let verify = [
            "smime",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-nointern",
            "-noverify",
            "-certfile",
            &certificate,
            "-content",
            &content_file,
            "-in",
            &signature,
            "-out",
            "/dev/null",
        ];
        ask("openssl", verify, b"").unwrap().status.success()
    }

    /// A detached SignedData over `content` in DER.
    pub fn sign(&self, content: &str, options: &[&str]) -> Vec<u8> {
        let (content_file, out) = (self.file("content"), self.file("signature"));
        fs::write(&content_file, content).unwrap();
        let (key, certificate) = (self.file("key.pem"), self.file("certificate.pem"));
        let sign = [
            "cms",
            "-sign",
            "-binary",
            "-outform",
            "DER",
            "-inkey",
            &key,
            "-signer",
            &certificate,
            "-in",
            &content_file,
            "-out",
            &out,
        ];
        must_run("openssl", [&sign[..], options].concat());
        fs::read(out).unwrap()
    }

    /// Whether openssl says that `signed_data` is over `content`, with this certificate.
    pub fn accepts(&self, content: &str, signed_data: &[u8]) -> bool {
        let (content_file, signature) = (self.file("judged"), self.file("judged.der"));
        fs::write(&content_file, content).unwrap();
        fs::write(&signature, signed_data).unwrap();
        let certificate = self.file("certificate.pem");
        let verify = [
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-nointern",
            "-noverify",
            "-certfile",
            &certificate,
            "-content",
            &content_file,
            "-in",
            &signature,
            "-out",
            "/dev/null",
        ];
        ask("openssl", verify, b"").unwrap().status.success()
    }
}

/// Data with its tree.
#[derive(Clone)]
pub struct Tree {
    pub data: Vec<u8>,
    pub hashes: Vec<u8>,
    pub root_hash: String,
}

impl Tree {
    /// `blocks` blocks of noise; `options` are those of `veritysetup format`.
    pub fn new(blocks: usize, data_block: usize, hash_block: usize, options: &[&str]) -> Self {
        let dir = scratch_dir();
        let data = noise(7, blocks * data_block);
        let (data_file, hash_file) = (dir.path().join("data"), dir.path().join("hashes"));
        fs::write(&data_file, &data).unwrap();
        let data_size = format!("--data-block-size={data_block}");
        let hash_size = format!("--hash-block-size={hash_block}");
        let (data_name, hash_name) = (data_file.to_str().unwrap(), hash_file.to_str().unwrap());
        let format = ["format", &data_size, &hash_size, data_name, hash_name];
        let said = must_run("veritysetup", [&format[..], options].concat()).stdout;
        let said = String::from_utf8(said).unwrap();
        let root = said
            .lines()
            .find_map(|line| line.strip_prefix("Root hash:"));
        Self {
            data,
            hashes: fs::read(&hash_file).unwrap(),
            root_hash: root.unwrap().trim().to_owned(),
        }
    }

    /// Whether veritysetup says that everything is as it was.
    pub fn holds(&self) -> bool {
        let dir = scratch_dir();
        let (data, hashes) = (dir.path().join("data"), dir.path().join("hashes"));
        fs::write(&data, &self.data).unwrap();
        fs::write(&hashes, &self.hashes).unwrap();
        let (data, hashes) = (data.to_str().unwrap(), hashes.to_str().unwrap());
        let verify = ["verify", data, hashes, &self.root_hash];
        ask("veritysetup", verify, b"").unwrap().status.success()
    }

    /// The document that systemd-repart writes beside it.
    pub fn document(&self, signed_data: &[u8]) -> Vec<u8> {
        let signature = STANDARD.encode(signed_data);
        let document = serde_json::json!({
            "rootHash": self.root_hash,
            "certificateFingerprint": "00".repeat(32),
            "signature": signature,
        });
        document.to_string().into_bytes()
    }

    /// A disk image with the data, the tree, and room for a signature.
    pub fn image(&self) -> Image {
        let room = vec![0; SIGNATURE_BYTES];
        let parts = [
            (ROOT[0], &self.data),
            (ROOT[1], &self.hashes),
            (ROOT[2], &room),
        ];
        Image::new(&parts)
    }

    /// One without a partition for the signature.
    pub fn unsigned_image(&self) -> Vec<u8> {
        Image::new(&[(ROOT[0], &self.data), (ROOT[1], &self.hashes)]).bytes
    }
}

/// A disk image, and where its partitions begin.
pub struct Image {
    pub bytes: Vec<u8>,
    pub starts: Vec<usize>,
}

impl Image {
    /// Of partitions of these types, each filled up with zeroes.
    fn new(parts: &[(&str, &Vec<u8>)]) -> Self {
        let dir = scratch_dir();
        let path = dir.path().join("image");
        let sectors = |bytes: &[u8]| bytes.len().div_ceil(512).next_multiple_of(8);
        let mut starts = Vec::new();
        let mut bytes = vec![0; FIRST * 512];
        let mut arguments = vec!["--set-alignment=1".to_owned()];
        for (number, (kind, content)) in (1..).zip(parts) {
            let start = bytes.len();
            starts.push(start);
            bytes.extend_from_slice(content);
            bytes.resize(start + sectors(content) * 512, 0);
            let last = bytes.len() / 512 - 1;
            arguments.push(format!("--new={number}:{}:{last}", start / 512));
            arguments.push(format!("--typecode={number}:{kind}"));
        }
        bytes.resize(bytes.len() + FIRST * 512, 0);
        fs::write(&path, bytes).unwrap();
        arguments.push(path.to_str().unwrap().to_owned());
        must_run("sgdisk", &arguments);
        Self {
            bytes: fs::read(&path).unwrap(),
            starts,
        }
    }

    /// The same with the document of a signature.
    pub fn signed(&self, tree: &Tree, signed_data: &[u8]) -> Vec<u8> {
        let document = tree.document(signed_data);
        let mut bytes = self.bytes.clone();
        bytes[self.starts[2]..][..document.len()].copy_from_slice(&document);
        bytes
    }
}
