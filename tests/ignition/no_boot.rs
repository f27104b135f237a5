//! What would keep a machine from coming up is found on an image of Flatcar's shape, with its own /etc, ROOT and OEM.

use std::fs;
use std::path::Path;

use flatbake::flatcar::Disk;
use flatbake::flatcar::ignition::run::{Config, Rehearsed, RunOptions, What, run};
use flatbake::{NoProgress, OpenOptions};

use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::scratch_root;

const OEM: u32 = 6;
const USR: u32 = 3;
const ROOT: u32 = 9;

/// An image with an /etc of its own, accounts of /usr, baked files and files on OEM.
pub fn recipe() -> Recipe {
    let passwd = "root:x:0:0:root:/root:/bin/bash\netcd:x:232:232::/dev/null:/sbin/nologin\ncore:x:500:500:Flatcar Admin:/home/core:/bin/bash\n";
    let group = "root:x:0:root\nwheel:x:10:root,core\nsudo:x:150:core\netcd:x:232:\ndocker:x:233:core\ncore:x:500:\n";
    let child = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/opt/child/x"}]}}"#;
    let looping =
        r#"{"ignition":{"version":"3.3.0","config":{"merge":[{"source":"oem:///loop.ign"}]}}}"#;
    let base = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/from-base","contents":{"source":"data:,base"}}]}}"#;
    let future = r#"{"ignition":{"version":"3.9.0"}}"#;
    Recipe::small()
        .with_file(USR, "share/flatcar/etc/hosts", b"127.0.0.1 localhost\n")
        .with_file(
            USR,
            "share/flatcar/etc/login.defs",
            b"UID_MIN 1000\nUSERGROUPS_ENAB yes\nUMASK 022\n",
        )
        .with_file(USR, "share/baselayout/passwd", passwd.as_bytes())
        .with_file(USR, "share/baselayout/group", group.as_bytes())
        .with_file(
            USR,
            "share/baselayout/shadow",
            b"root:*:15887:0:::::\ncore:*:15887:0:::::\n",
        )
        .with_file(USR, "share/baselayout/gshadow", b"root:*::root\ndocker:!::core\n")
        .with_file(
            USR,
            "lib/tmpfiles.d/baselayout.conf",
            b"d /home 0755 - - -\nd /run 0755 - - -\nL /var/run - - - - ../run\nL+ /bin - - - - usr/bin\n",
        )
        .with_file(
            USR,
            "lib/tmpfiles.d/baselayout-usr.conf",
            b"L /etc/resolv.conf - - - - /run/systemd/resolve/stub-resolv.conf\n",
        )
        .with_file(
            USR,
            "lib/tmpfiles.d/baselayout-home.conf",
            b"d /home/core 0755 core core -\n",
        )
        .with_file(ROOT, "opt/baked/conf", b"baked\n")
        .with_file(OEM, "base/base.ign", base.as_bytes())
        .with_file(OEM, "app.conf", b"app\n")
        .with_file(OEM, "child.ign", child.as_bytes())
        .with_file(OEM, "future.ign", future.as_bytes())
        .with_file(OEM, "loop.ign", looping.as_bytes())
}

fn rehearse(disk: &Disk, config: &str) -> Rehearsed {
    let options = RunOptions {
        config: Some(Config {
            name: "node.ign".to_owned(),
            content: config.as_bytes().to_vec(),
            folder: None,
        }),
        has_diffs: true,
        ..RunOptions::default()
    };
    run(disk, &options).unwrap()
}

fn with_version(config: &str) -> String {
    match config.starts_with(r#"{"ignition""#) {
        true => config.to_owned(),
        false => config.replacen('{', r#"{"ignition":{"version":"3.3.0"},"#, 1),
    }
}

#[test]
fn causes_of_machines_that_do_not_come_up_are_found_and_good_configs_have_none() {
    let Some(image) = flatcar_image(&recipe()) else {
        return;
    };
    let disk = Disk::open_image(&image, &OpenOptions::new(scratch_root()), &NoProgress).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ignition/no_boot.txt");
    let text = fs::read_to_string(path).unwrap();
    let (mut bad, mut good) = (0, 0);
    for case in text.split("\n=== ").skip(1) {
        let (head, config) = case.split_once('\n').unwrap();
        let (name, verdict) = head.split_once(": ").unwrap();
        let rehearsed = rehearse(&disk, &with_version(config.trim()));
        let found = &rehearsed.findings;
        let Some(words) = verdict.strip_prefix("stops ") else {
            assert_eq!((verdict, found.len()), ("ok", 0), "{name}: {found:?}");
            assert!(rehearsed.changes.len() > 1, "{name}");
            good += 1;
            continue;
        };
        let stop = found.iter().find(|finding| finding.stops());
        let stop = stop
            .unwrap_or_else(|| panic!("{name}: {found:?}"))
            .to_string();
        assert!(stop.contains(words), "{name}: {stop}");
        assert!(
            stop.contains("node.ign:1:") || stop.contains("oem:"),
            "{name}: {stop}"
        );
        bad += 1;
    }
    assert!(bad >= 25 && good >= 8, "{bad} and {good}");
}

#[test]
fn what_changes_is_told_against_what_the_image_has() {
    let Some(image) = flatcar_image(&recipe()) else {
        return;
    };
    let disk = Disk::open_image(&image, &OpenOptions::new(scratch_root()), &NoProgress).unwrap();
    let config = r#"{"storage":{"files":[{"path":"/etc/hosts","append":[{"source":"data:,more%0A"}]}]},"kernelArguments":{"shouldExist":["quiet"]}}"#;
    let rehearsed = rehearse(&disk, &with_version(config));
    assert_eq!(rehearsed.configs, ["oem:/base/base.ign", "node.ign"]);
    let paths: Vec<&str> = rehearsed
        .changes
        .iter()
        .map(|change| change.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["/etc/.ignition-result.json", "/etc/from-base", "/etc/hosts"]
    );
    let hosts = &rehearsed.changes[2];
    assert_eq!((hosts.what, hosts.size), (What::Changed, Some(25)));
    assert_eq!(
        hosts.diff.as_deref(),
        Some("@@ -1 +1,2 @@\n 127.0.0.1 localhost\n+more\n")
    );
    assert!(rehearsed.planned[0].what.contains("quiet"));
    assert!(rehearsed.planned[0].place.starts_with("node.ign:1:"));
}

#[test]
fn a_config_that_makes_root_anew_is_told_to_lose_what_is_baked() {
    let Some(image) = flatcar_image(&recipe()) else {
        return;
    };
    let disk = Disk::open_image(&image, &OpenOptions::new(scratch_root()), &NoProgress).unwrap();
    let config = r#"{"storage":{"filesystems":[{"device":"/dev/disk/by-partlabel/ROOT","format":"btrfs","wipeFilesystem":true,"label":"ROOT"}],"files":[{"path":"/opt/baked/conf","contents":{"source":"data:,x"}}]}}"#;
    let rehearsed = rehearse(&disk, &with_version(config));
    let words: Vec<&str> = rehearsed
        .findings
        .iter()
        .map(|finding| finding.code().word)
        .collect();
    assert_eq!(words, ["ignition-root-new"]);
    assert!(
        rehearsed
            .changes
            .iter()
            .any(|change| change.path == "/opt/baked/conf")
    );
}
