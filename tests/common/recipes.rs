//! Archives laid out like those that recipes take, with small programs in them.

use std::io::Write;

use flatbake::archive::tar::TarLayout;
use flatbake::block::BlockDevice;

use super::content::{Machine, elf};

/// A program of upstream.
pub fn program(seed: u64) -> Vec<u8> {
    elf(Machine::X86_64, seed, 3000)
}

/// A tar of files with their modes; names that end with a slash are folders.
pub fn tar(entries: &[(&str, u32, Vec<u8>)]) -> Vec<u8> {
    let mut layout = TarLayout::new(1_700_000_000);
    for (path, mode, bytes) in entries {
        match path.strip_suffix('/') {
            Some(folder) => layout.directory(folder, *mode).unwrap(),
            None => layout.file(path, *mode, bytes.clone()).unwrap(),
        }
    }
    let archive = layout.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
    archive.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A packed tar of programs in one folder, and of texts.
fn tgz(folder: &str, programs: &[&str], texts: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Vec::new();
    if !folder.is_empty() {
        entries.push((format!("{folder}/"), 0o755, Vec::new()));
    }
    let within = |name: &str| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    for (seed, name) in (1..).zip(programs) {
        entries.push((within(name), 0o755, program(seed)));
    }
    for (name, text) in texts {
        entries.push((within(name), 0o644, text.as_bytes().to_vec()));
    }
    let entries: Vec<(&str, u32, Vec<u8>)> = entries
        .iter()
        .map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.clone()))
        .collect();
    gzip(&tar(&entries))
}

/// The archive of Tailscale 1.76.6 for amd64.
pub fn tailscale() -> Vec<u8> {
    let unit = "[Unit]\nDescription=Node agent\n\n[Service]\nEnvironmentFile=/etc/default/tailscaled\n\
                ExecStart=/usr/sbin/tailscaled --port=${PORT}\nExecStopPost=/usr/sbin/tailscaled --cleanup\n\n\
                [Install]\nWantedBy=multi-user.target\n";
    tgz(
        "tailscale_1.76.6_amd64",
        &["tailscale", "tailscaled"],
        &[
            ("systemd/tailscaled.service", unit),
            (
                "systemd/tailscaled.defaults",
                "PORT=\"41641\"\nFLAGS=\"\"\n",
            ),
        ],
    )
}

/// The archive of Docker 28.0.4 for x86_64.
pub fn docker() -> Vec<u8> {
    let programs = [
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "docker",
        "docker-init",
        "docker-proxy",
        "dockerd",
        "runc",
    ];
    tgz("docker", &programs, &[])
}

/// Names and contents of archives that examples name.
pub fn examples() -> [(&'static str, Vec<u8>); 2] {
    [
        ("tailscale_1.76.6_amd64.tgz", tailscale()),
        ("docker-28.0.4.tgz", docker()),
    ]
}

/// The network plugins of CNI 1.5.1 for amd64.
pub fn cni() -> Vec<u8> {
    tgz(
        "",
        &["bridge", "host-local", "loopback"],
        &[("LICENSE", "…\n"), ("README.md", "…\n")],
    )
}

/// The archive of RKE2 for amd64.
pub fn rke2() -> Vec<u8> {
    let server = "[Service]\nExecStart=/usr/local/bin/rke2 server\n";
    let agent = "[Service]\nExecStart=/usr/local/bin/rke2 agent\n";
    let script = "#!/bin/sh\n";
    tgz(
        "",
        &["bin/rke2"],
        &[
            ("bin/rke2-killall.sh", script),
            ("bin/rke2-uninstall.sh", script),
            ("lib/systemd/system/rke2-server.service", server),
            ("lib/systemd/system/rke2-server.env", "HOME=/root\n"),
            ("lib/systemd/system/rke2-agent.service", agent),
            ("share/rke2/rke2-cis-sysctl.conf", "vm.panic_on_oom=0\n"),
            ("share/rke2/LICENSE.txt", "…\n"),
        ],
    )
}

/// The bundle of CRI-O 1.31 for amd64.
pub fn crio() -> Vec<u8> {
    let unit = "[Service]\nType=notify\nExecStart=/usr/local/bin/crio $CRIO_CONFIG_OPTIONS\n";
    let conf = "[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/libexec/crio/crun\"\n";
    tgz(
        "cri-o",
        &[
            "bin/conmon",
            "bin/conmonrs",
            "bin/crictl",
            "bin/crio",
            "bin/crio-credential-provider",
            "bin/crun",
            "bin/pinns",
            "bin/runc",
            "cni-plugins/bridge",
            "cni-plugins/loopback",
        ],
        &[
            ("cni-plugins/README.md", "…\n"),
            ("contrib/crio.service", unit),
            ("contrib/policy.json", "{}\n"),
            (
                "contrib/registries.conf",
                "unqualified-search-registries = []\n",
            ),
            ("etc/10-crio.conf", conf),
            (
                "etc/crictl.yaml",
                "runtime-endpoint: unix:///run/crio/crio.sock\n",
            ),
            ("etc/crio-umount.conf", "/run/containers\n"),
            ("man/crio.8", "…\n"),
            ("install", "#!/bin/sh\n"),
        ],
    )
}

/// The archive of Wasmtime 24.0.0 for x86_64, without its packing.
pub fn wasmtime() -> Vec<u8> {
    let folder = "wasmtime-v24.0.0-x86_64-linux";
    tgz(folder, &["wasmtime", "wasmtime-min"], &[("LICENSE", "…\n")])
}

/// The archive of the NATS server 2.10.20 for amd64.
pub fn nats() -> Vec<u8> {
    tgz(
        "nats-server-v2.10.20-linux-amd64",
        &["nats-server"],
        &[("README.md", "…\n")],
    )
}

/// The archive of Nebula for amd64.
pub fn nebula() -> Vec<u8> {
    tgz("", &["nebula", "nebula-cert"], &[])
}

/// The archive of Ollama for amd64.
pub fn ollama() -> Vec<u8> {
    tgz("", &["bin/ollama", "lib/ollama/libggml-base.so"], &[])
}

/// The archive of Falco 0.39.2 for x86_64.
pub fn falco() -> Vec<u8> {
    tgz(
        "falco-0.39.2-x86_64",
        &["usr/bin/falco", "usr/bin/falcoctl"],
        &[
            ("etc/falco/falco.yaml", "engine: {kind: modern_ebpf}\n"),
            ("etc/falco/falco_rules.yaml", "[]\n"),
            ("etc/falcoctl/falcoctl.yaml", "{}\n"),
            ("usr/share/falco/plugins/README", "…\n"),
            ("usr/src/falco-7.3.0+driver/main.c", "…\n"),
        ],
    )
}
