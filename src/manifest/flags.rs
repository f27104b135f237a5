//! Every flag of `flatbake bake` with the keys of a manifest that say the same, and what has no counterpart, with the
//! reason. Tests hold this table against the command line on one side and the schema on the other.

/// What a flag is in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counterpart {
    /// Keys from the top of the manifest, with `[]` behind those of lists: `files[].mode`.
    Keys(&'static [&'static str]),
    /// There is none, for this reason.
    None(&'static str),
}

use Counterpart::{Keys, None};

/// The reason of flags that say how a run is done, and not what it gives.
const OF_THE_RUN: &str = "it says how this run goes, not what comes out of it";
/// The reason of flags that say what the machine has.
const OF_THE_MACHINE: &str = "it is about the machine that bakes, not about the image";
/// The reason of flags by which whoever runs a bake trusts others.
const OF_TRUST: &str =
    "whoever runs the bake decides whom to trust, not whoever wrote the manifest";

/// The flags of `flatbake bake` and `flatbake plan` by their long names without dashes, the argument NAME:FILE by its own.
pub const FLAGS: &[(&str, Counterpart)] = &[
    ("image", Keys(&["image", "image.file"])),
    ("release", Keys(&["release"])),
    (
        "fetch",
        None("it is about files that are named on the command line"),
    ),
    ("arch", Keys(&["arch"])),
    ("ca", None(OF_THE_MACHINE)),
    ("mirror", None(OF_THE_MACHINE)),
    ("keyring", None(OF_TRUST)),
    ("trust", None(OF_TRUST)),
    ("shared-cache", None(OF_THE_MACHINE)),
    ("offline", None(OF_THE_RUN)),
    ("bundle", None(OF_THE_MACHINE)),
    ("insecure-skip-verify", None(OF_TRUST)),
    ("file", None("it names the manifest")),
    ("set", Keys(&["variables"])),
    ("allow-outside", None(OF_TRUST)),
    ("locked", None(OF_THE_RUN)),
    ("lock", None(OF_THE_RUN)),
    (
        "NAME:FILE",
        Keys(&["sysexts", "sysexts[].name", "sysexts[].file"]),
    ),
    ("enable-sysext", Keys(&["enable_sysexts"])),
    ("install-to", Keys(&["install_to"])),
    ("sysupdate", Keys(&["sysupdate"])),
    ("boot-file", Keys(FILES)),
    ("oem-file", Keys(FILES)),
    ("root-file", Keys(FILES)),
    ("boot-tar", Keys(TARBALLS)),
    ("oem-tar", Keys(TARBALLS)),
    ("root-tar", Keys(TARBALLS)),
    ("strip-components", Keys(&["tarballs[].strip_components"])),
    ("owner", Keys(&["tarballs[].owner"])),
    ("exclude", Keys(&["tarballs[].exclude"])),
    ("oci-layer", Keys(&["tarballs[].oci_layer"])),
    (
        "keep-docker-identity",
        Keys(&["tarballs[].keep_docker_identity"]),
    ),
    (
        "root-link",
        Keys(&["links", "links[].path", "links[].target"]),
    ),
    ("remove", Keys(&["remove"])),
    ("grub-cfg", Keys(&["grub_cfg"])),
    ("base-ign", Keys(&["base_ign"])),
    ("config-ign", Keys(&["config_ign"])),
    ("apply-ignition", Keys(&["apply_ignition"])),
    ("keep-butane", Keys(&["keep_butane"])),
    ("kernel-arg", Keys(&["kernel_args", "kernel_args.add"])),
    ("remove-kernel-arg", Keys(&["kernel_args.remove"])),
    ("console", Keys(&["console"])),
    ("no-autologin", Keys(&["no_autologin"])),
    ("updates", Keys(&["updates", "updates.mode"])),
    ("update-server", Keys(&["updates.server"])),
    ("update-group", Keys(&["updates.group"])),
    ("survive-reset", Keys(&["survive_reset"])),
    ("root-size", Keys(&["root_size"])),
    ("no-replay", Keys(&["no_replay"])),
    ("trust-cert", Keys(&["trust_certs"])),
    ("require-signed", Keys(&["require_signed"])),
    ("hostname", Keys(&["hostname"])),
    ("unit", Keys(&["units", "units[].source"])),
    ("enable-unit", Keys(&["units[].name", "units[].enabled"])),
    (
        "dropin",
        Keys(&[
            "units[].dropins",
            "units[].dropins[].name",
            "units[].dropins[].source",
        ]),
    ),
    ("format", Keys(&["outputs[].format"])),
    ("compress", Keys(&["compress", "outputs[].compress"])),
    ("qcow2-version", Keys(&["outputs[].qcow2_version"])),
    ("compression-type", Keys(&["outputs[].compression_type"])),
    ("cluster-size", Keys(&["outputs[].cluster_size"])),
    ("level", Keys(&["outputs[].level"])),
    ("uncompressed", Keys(&["outputs[].uncompressed"])),
    ("seed", Keys(&["seed"])),
    ("sha256", Keys(&["sha256"])),
    ("output", Keys(&["outputs", "outputs[].file"])),
    ("also", Keys(&["outputs"])),
    ("timestamp", Keys(&["timestamp"])),
    ("dry-run", None(OF_THE_RUN)),
    ("json", None(OF_THE_RUN)),
    ("force", Keys(&["force"])),
    ("generalize", Keys(&["generalize"])),
    ("remove-accounts", Keys(&["remove_accounts"])),
    ("overwrite", Keys(&["overwrite"])),
    ("vendor", Keys(&["vendors", "vendors[].id"])),
    ("vendor-file", Keys(&["vendor_files"])),
    ("oem-sysext", Keys(&["oem_sysexts", "vendors[].oem_sysext"])),
    ("no-oem", Keys(&["no_oem"])),
    ("isolinux", Keys(&["isolinux"])),
    (
        "firmware",
        Keys(&["firmware", "firmware.code", "firmware.vars"]),
    ),
    ("output-dir", Keys(&["output"])),
    ("cache-dir", None(OF_THE_MACHINE)),
    ("no-cache", None(OF_THE_MACHINE)),
    ("allow-external", None(OF_TRUST)),
    ("threads", None(OF_THE_MACHINE)),
    ("quiet", None(OF_THE_RUN)),
    ("progress", None(OF_THE_RUN)),
];

const FILES: &[&str] = &[
    "files",
    "files[].path",
    "files[].partition",
    "files[].source",
    "files[].mode",
    "files[].uid",
    "files[].gid",
];
const TARBALLS: &[&str] = &[
    "tarballs",
    "tarballs[].file",
    "tarballs[].partition",
    "tarballs[].dest",
];

/// Keys of a manifest that are no flag, with the reason. Those of `variants[]` are the keys of the same name above them.
pub const KEYS_WITHOUT_FLAG: &[(&str, &str)] = &[
    ("image.sha256", DIGEST),
    ("sysexts[].sha256", DIGEST),
    ("tarballs[].sha256", DIGEST),
    ("files[].content", CONTENT),
    ("files[].content_base64", CONTENT),
    ("units[].contents", CONTENT),
    ("units[].dropins[].contents", CONTENT),
    ("variants", "a command line describes one image"),
    ("variants[].name", "a command line describes one image"),
];

const DIGEST: &str =
    "a command line names the file that is there; a manifest is kept, and the file may change";
const CONTENT: &str = "a command line names a file for it";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schema::keys;
    use super::*;

    /// The part of a manifest whose keys are those of the whole.
    const VARIANTS: &str = "variants[].";

    #[test]
    fn every_key_is_a_flag_or_says_why_not() {
        let of_flags = FLAGS.iter().flat_map(|(_, counterpart)| match counterpart {
            Keys(keys) => *keys,
            None(_) => &[],
        });
        let known: BTreeSet<&str> = of_flags
            .copied()
            .chain(KEYS_WITHOUT_FLAG.iter().map(|(key, _)| *key))
            .collect();
        let all: BTreeSet<String> = keys().into_iter().map(|key| key.path).collect();
        for key in &all {
            let shared = key
                .strip_prefix(VARIANTS)
                .filter(|_| !known.contains(key.as_str()))
                .unwrap_or(key);
            assert!(
                known.contains(shared),
                "the key {key} has no flag and no reason in this table"
            );
        }
        for key in &known {
            assert!(all.contains(*key), "the schema has no key {key}");
        }
        assert!(
            all.contains("units[].dropins[].contents") && all.contains("variants[].files[].mode")
        );
    }

    #[test]
    fn flags_are_named_once_and_reasons_are_given() {
        let names: BTreeSet<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), FLAGS.len());
        for (name, counterpart) in FLAGS {
            match counterpart {
                Keys(keys) => assert!(!keys.is_empty(), "{name}"),
                None(reason) => assert!(!reason.is_empty(), "{name}"),
            }
        }
    }
}
