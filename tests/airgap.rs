//! What an image needs a network for is found, and nothing where it needs none.

use flatbake::flatcar::Disk;
use flatbake::flatcar::airgap::needs;
use flatbake::flatcar::ignition::run::{Config, RunOptions};
use flatbake::{NoProgress, OpenOptions};

use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::scratch_root;

const OEM: u32 = 6;
const ROOT: u32 = 9;
/// Nothing is updated.
const NO_UPDATES: &[u8] = b"SERVER=disabled\n";
/// A config that asks for nothing.
const NOTHING: &str = r#"{"storage":{}}"#;

fn quiet() -> Recipe {
    Recipe::small().with_file(ROOT, "etc/flatcar/update.conf", NO_UPDATES)
}

/// The codes of what is found, each with its message.
fn found(recipe: &Recipe, config: &str) -> Option<Vec<(String, String)>> {
    let image = flatcar_image(recipe)?;
    let options = OpenOptions::new(scratch_root());
    let disk = Disk::open_image(&image, &options, &NoProgress).unwrap();
    let content = config.replacen('{', r#"{"ignition":{"version":"3.3.0"},"#, 1);
    let options = RunOptions {
        config: Some(Config {
            name: "node.ign".to_owned(),
            content: content.into_bytes(),
            folder: None,
        }),
        ..RunOptions::default()
    };
    let needs = needs(&disk, &options).unwrap();
    let told = needs
        .findings
        .iter()
        .map(|finding| (finding.code().word.to_owned(), finding.to_string()));
    Some(told.collect())
}

fn unit(name: &str, text: &str) -> String {
    let text = text.replace('\n', "\\n");
    format!(r#"{{"systemd":{{"units":[{{"name":"{name}","enabled":true,"contents":"{text}"}}]}}}}"#)
}

#[test]
fn an_image_that_needs_no_network_has_no_findings() {
    let hello = unit(
        "hello.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    );
    for config in [
        r#"{"storage":{"files":[{"path":"/opt/x","contents":{"source":"data:,x"}}]}}"#,
        &hello,
    ] {
        let Some(found) = found(&quiet(), config) else {
            return;
        };
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn sources_on_servers_are_errors_with_their_place() {
    let config = r#"{"storage":{"files":[{"path":"/opt/x","contents":{"source":"https://a.example/x"}},{"path":"/opt/y","append":[{"source":"s3://bucket/y"}]}]}}"#;
    let Some(found) = found(&quiet(), config) else {
        return;
    };
    let words: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["airgap-source", "airgap-source"]);
    assert!(found[0].1.contains("node.ign:1:") && found[0].1.contains("https://a.example/x"));
    assert!(found[1].1.contains("s3://bucket/y"));
}

#[test]
fn sysexts_that_are_not_there_are_errors_and_baked_ones_are_none() {
    let on = quiet()
        .with_file(
            ROOT,
            "etc/flatcar/enabled-sysext.conf",
            b"# mine\nzfs\npodman\n-podman\n",
        )
        .with_file(OEM, "oem-release", b"ID=qemu\n")
        .with_file(OEM, "sysext/active-oem-qemu", b"")
        .with_file(OEM, "sysext/oem-qemu-1.2.3.raw", b"old");
    let Some(found_bad) = found(&on, NOTHING) else {
        return;
    };
    let words: Vec<&str> = found_bad.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(
        words,
        ["airgap-sysext", "airgap-oem-sysext"],
        "{found_bad:?}"
    );
    assert!(found_bad[0].1.contains("flatcar-zfs-4593.2.0.raw"));
    assert!(found_bad[1].1.contains("oem-qemu-1.2.3.raw"));
    let baked = on
        .with_file(ROOT, "etc/flatcar/sysext/flatcar-zfs-4593.2.0.raw", b"zfs")
        .with_file(OEM, "sysext/oem-qemu-4593.2.0.raw", b"oem");
    assert_eq!(found(&baked, NOTHING).unwrap(), []);
}

#[test]
fn updates_are_told_until_they_are_switched_off() {
    let Some(told) = found(&Recipe::small(), NOTHING) else {
        return;
    };
    assert_eq!(told[0].0, "airgap-updates");
    let masked = r#"{"systemd":{"units":[{"name":"update-engine.service","mask":true}]}}"#;
    assert_eq!(found(&Recipe::small(), masked).unwrap(), []);
    let sysupdate = quiet().with_file(ROOT, "etc/sysupdate.k3s.d/k3s.conf", b"[Transfer]\n");
    let timer = r#"{"systemd":{"units":[{"name":"systemd-sysupdate.timer","enabled":true}]}}"#;
    assert_eq!(found(&sysupdate, NOTHING).unwrap(), []);
    let told = found(&sysupdate, timer).unwrap();
    assert_eq!(told[0].0, "airgap-sysupdate");
    assert!(told[0].1.contains("k3s"));
}

#[test]
fn images_of_containers_that_are_not_preloaded_are_told() {
    let web = unit(
        "web.service",
        "[Service]\nExecStart=/usr/bin/docker run --rm -p 80:80 nginx:1.27\n",
    );
    let Some(told) = found(&quiet(), &web) else {
        return;
    };
    assert_eq!(told[0].0, "airgap-image");
    assert!(told[0].1.contains("nginx:1.27"));
    let store = br#"{"Repositories":{"nginx":{"nginx:1.27":"sha256:00"}}}"#;
    let loaded = quiet().with_file(
        ROOT,
        "var/lib/docker/image/overlay2/repositories.json",
        store,
    );
    assert_eq!(found(&loaded, &web).unwrap(), []);
    let pods = quiet().with_file(
        ROOT,
        "etc/kubernetes/manifests/api.yaml",
        b"spec:\n  containers:\n  - image: registry.k8s.io/api:v1\n    name: api\n",
    );
    let kubelet = unit("kubelet.service", "[Service]\nExecStart=/opt/bin/kubelet\n");
    let told = found(&pods, &kubelet).unwrap();
    let words: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].contains("pause") && words[1].contains("registry.k8s.io/api:v1"));
}

#[test]
fn units_that_wait_for_the_network_or_name_a_server_are_told() {
    let late = unit(
        "late.service",
        "[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/usr/bin/curl https://a.example/x\n",
    );
    let Some(told) = found(&quiet(), &late) else {
        return;
    };
    let words: Vec<&str> = told.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["airgap-online", "airgap-url"]);
}
