//! What to do about a finding, in words of the command line, by the finding's code.

use crate::finding::{Code, code};
use crate::manifest::{Counterpart, FLAGS};
use crate::{Error, Finding};

/// What to do about a finding of one kind.
struct Hint {
    code: &'static Code,
    /// It is for findings that have this value of this name; a hint without a condition comes after those with one.
    when: Option<(&'static str, &'static str)>,
    /// The text, with the names of values in braces.
    text: &'static str,
}

impl Hint {
    const fn new(code: &'static Code, text: &'static str) -> Self {
        Self {
            code,
            when: None,
            text,
        }
    }

    const fn when(
        name: &'static str,
        value: &'static str,
        code: &'static Code,
        text: &'static str,
    ) -> Self {
        Self {
            code,
            when: Some((name, value)),
            text,
        }
    }

    fn is_for(&self, finding: &Finding) -> bool {
        self.code == finding.code()
            && self
                .when
                .is_none_or(|(name, value)| finding.value(name) == Some(value))
    }
}

const HINTS: &[Hint] = &[
    // Partition tables.
    Hint::new(
        code::DISK_CUT_SHORT,
        "get the image again and compare its size and checksum with the published ones",
    ),
    Hint::new(
        code::TABLE_UNREADABLE,
        "get the image again and compare its size and checksum with the published ones",
    ),
    Hint::new(
        code::TABLE_NOT_EDITABLE,
        "get the image again, or mend the table with sgdisk",
    ),
    Hint::new(
        code::PARTITION_GUID_TAKEN,
        "give one of them another GUID with sgdisk --partition-guid",
    ),
    // Disk images and the cache of decompressed ones.
    Hint::new(
        code::IMAGE_NOT_CLOSED,
        "shut down the machine that uses the image, then start again",
    ),
    Hint::new(
        code::IMAGE_LOG_APPLIED,
        "shut down the machine that uses the image, then start again",
    ),
    Hint::new(
        code::IMAGE_MARKED_DAMAGED,
        "check the result, or get the image again",
    ),
    Hint::new(code::CACHE_UNUSABLE, "name another folder with --cache-dir"),
    // Archives.
    Hint::new(
        code::ARCHIVE_ROOT_CHANGED,
        "leave the entry out when the archive is made, or with --exclude",
    ),
    Hint::new(
        code::ARCHIVE_SYMLINK_REPLACED,
        "pack the files under the path that the symlink leads to",
    ),
    Hint::new(
        code::ARCHIVE_APPLEDOUBLE,
        "pack with COPYFILE_DISABLE=1, or use --exclude '._*'",
    ),
    Hint::new(
        code::ARCHIVE_END_MISSING,
        "compare the archive's size or checksum with the original's",
    ),
    Hint::new(
        code::ARCHIVE_IS_IMAGE,
        "load it into a Docker with docker load, pack that Docker's /var/lib/docker, and give it with \
         --root-tar FILE:/var/lib/docker",
    ),
    Hint::new(
        code::DOCKER_NESTED,
        "give the archive with --root-tar FILE:/, or leave names out with --strip-components",
    ),
    Hint::new(
        code::DOCKER_IDENTITY_DROPPED,
        "--keep-docker-identity keeps it",
    ),
    Hint::new(
        code::DOCKER_STATE,
        "pack only image, overlay2 and volumes of /var/lib/docker, or use --exclude",
    ),
    Hint::new(
        code::DOCKER_DRIVER,
        "pull the images again with a Docker that uses overlay2, then pack its folder",
    ),
    Hint::new(
        code::DOCKER_LAYERS,
        "make the archive as root with tar --xattrs --xattrs-include='*'",
    ),
    Hint::new(
        code::CONTAINERD_STATE,
        "leave it out with --exclude unless the image replaces that machine",
    ),
    // grub.cfg on OEM.
    Hint::new(
        code::GRUB_LINE_FORM,
        "write the line as set linux_append=\"$linux_append ARGUMENT\", or use --kernel-arg",
    ),
    Hint::new(
        code::GRUB_EXPORT,
        "write set linux_append=\"$linux_append ARGUMENT\", or use --kernel-arg",
    ),
    Hint::new(
        code::GRUB_OPAQUE,
        "write all of it into grub.cfg, or add what must not be lost with --kernel-arg",
    ),
    Hint::new(
        code::GRUB_SYNTAX,
        "mend the line; grub-script-check names what GRUB does not like",
    ),
    Hint::new(
        code::GRUB_MACHINE_ID,
        "remove it from the file, or with --remove-kernel-arg",
    ),
    Hint::new(
        code::GRUB_CONFIG_URL,
        "remove it from the file, or with --remove-kernel-arg",
    ),
    Hint::new(
        code::GRUB_NO_OEM_ID,
        "add a line such as set oem_id=\"qemu\"",
    ),
    // Sysexts.
    Hint::new(
        code::SYSEXT_NAME,
        "use a file name without control characters that does not begin with '.#'",
    ),
    Hint::new(
        code::SYSEXT_NO_RELEASE,
        "this is no sysext, or it was packed without metadata: pack it anew",
    ),
    Hint::new(code::SYSEXT_OTHER_NAME, "merge it by that name: NAME:FILE"),
    Hint::new(
        code::SYSEXT_AMBIGUOUS,
        "merge it by one of these names: NAME:FILE",
    ),
    Hint::new(code::SYSEXT_SCOPE, "pack it with {field}=system"),
    Hint::new(code::SYSEXT_ARCH, "use the sysext's build for {host}"),
    Hint::new(
        code::SYSEXT_NO_ID,
        "pack it with ID={host}, or with ID=_any where its programs are linked statically",
    ),
    Hint::new(
        code::SYSEXT_ID,
        "use a build for {host}, or one with ID=_any where its programs are linked statically",
    ),
    Hint::new(code::SYSEXT_LEVEL, "use a build with {field}={host}"),
    Hint::new(code::SYSEXT_VERSION, "use a build with {fits}"),
    Hint::new(code::SYSEXT_NO_VERSION, "use a build with {fits}"),
    Hint::new(code::SYSEXT_OS_RELEASE, "pack it without this file"),
    Hint::new(code::SYSEXT_SBIN, "pack its programs in /usr/bin instead"),
    Hint::new(
        code::SYSEXT_REAL_DIR,
        "pack its files in /usr/lib or /usr/local/lib instead",
    ),
    Hint::new(
        code::SYSEXT_OUTSIDE,
        "pack files for /etc in /usr/share and copy them with tmpfiles.d, or use --root-file",
    ),
    Hint::new(
        code::SYSEXT_NO_RELOAD,
        "pack it with EXTENSION_RELOAD_MANAGER=1, so that systemd reads the units when they are merged",
    ),
    Hint::new(code::SYSEXT_PROGRAM, "use the sysext's build for {host}"),
    Hint::new(
        code::LIVE_WITHOUT_ROOT,
        "put configs on OEM, have Ignition write the rest, and bake disks apart from what runs from memory",
    ),
    Hint::new(code::SYSEXT_HIDES, "pack these files under other names"),
    Hint::new(
        code::SYSEXT_DELETES,
        "pack the files of a whole tree, not a layer with its whiteouts",
    ),
    Hint::new(
        code::SYSEXT_CLOSES,
        "give its folders the mode 0755 and pack it anew",
    ),
    Hint::new(
        code::SYSEXT_OWNER,
        "pack it with all owners 0:0, as mksquashfs -all-root and mkfs.erofs --all-root do",
    ),
    Hint::new(
        code::SYSEXT_OVERLAY_MARKS,
        "pack the files of a whole tree, not a layer with its whiteouts",
    ),
    Hint::new(
        code::SYSEXT_WRITABLE,
        "take the permission away (chmod o-w) and pack it anew",
    ),
    Hint::new(code::SYSEXT_KERNEL, "pack it as squashfs with zstd or gzip"),
    Hint::new(
        code::ROOTFS_NOT_KEPT,
        "an output that is called .tar keeps all but sockets",
    ),
    Hint::new(code::SYSEXT_NOT_MERGED, "--drop-outside leaves these out"),
    Hint::new(
        code::SYSEXT_CLOSED,
        "give the folders the mode 0755 (chmod a+rx) and build it again",
    ),
    Hint::new(
        code::SYSEXT_ELF_ARCH,
        "give the architecture of the programs with --arch, or leave the others out with --exclude",
    ),
    Hint::new(
        code::SYSEXT_LIBRARIES,
        "put the libraries beside the program with a RUNPATH that leads to them, or use a program that is linked statically",
    ),
    Hint::new(
        code::SYSEXT_AFTER_UPDATE,
        "use a build with ID=_any or with a SYSEXT_LEVEL, or update it together with the system",
    ),
    Hint::new(
        code::SYSEXT_SIGNATURE,
        "get the sysext again; --require-signed takes none but those whose signature holds",
    ),
    Hint::new(
        code::TRUST_MAY_BE_UNSEEN,
        "bake it into a later release, or see what systemd-sysext says in the journal of the first boot",
    ),
    Hint::new(
        code::SYSUPDATE_ENDING,
        "give the file a name that ends in .conf",
    ),
    Hint::new(
        code::SYSUPDATE_ARCHITECTURE,
        "write %a where the name has the architecture",
    ),
    Hint::new(
        code::SYSUPDATE_NOT_RUN,
        "--sysupdate has the machine fetch them every hour",
    ),
    Hint::new(
        code::OWNER_CORE,
        "give MODE:UID:GID behind the path for another owner",
    ),
    Hint::new(code::SYSUPDATE_PATH, "write Path={folder} in its [Target]"),
    Hint::new(
        code::SYSUPDATE_PATTERN,
        "keep the name under which the sysext is published",
    ),
    Hint::new(
        code::SYSUPDATE_LINK,
        "write CurrentSymlink={link} in its [Target]",
    ),
    // What a bake changes.
    Hint::new(
        code::PATH_REMOVED,
        "choose another path; systemd-tmpfiles --cat-config on a machine shows the rule",
    ),
    Hint::new(
        code::PATH_REPLACED,
        "put programs in /opt/bin, or pack them in a sysext",
    ),
    Hint::new(
        code::PATH_SPLIT,
        "write it at boot, for example with tmpfiles.d",
    ),
    Hint::new(
        code::IGNITION_NOT_RUN,
        "start from an image that was never booted",
    ),
    Hint::new(
        code::SECURE_BOOT_OFF,
        "give --firmware CODE:VARS, for example OVMF_CODE_4M.secboot.fd:OVMF_VARS_4M.ms.fd",
    ),
    Hint::new(
        code::BASE_BOOTED,
        "start from an image that was never booted, or give --generalize; flatbake check IMG tells all",
    ),
    Hint::new(
        code::RESET_DELETES,
        "name what is to stay when the machine is reset: flatcar-reset --keep-paths {paths}",
    ),
    Hint::new(
        code::CONFIG_KEPT,
        "--config-ign replaces it, and --remove oem:{path} removes it",
    ),
    Hint::new(
        code::MACHINE_ID_LEFT,
        "start from an image that was never booted, or use --remove root:{path}",
    ),
    Hint::when(
        "top",
        "usr",
        code::HIDDEN_BY_MOUNT,
        "pack files for /usr in a sysext",
    ),
    Hint::when("top", "oem", code::HIDDEN_BY_MOUNT, "use --oem-file"),
    Hint::when("top", "boot", code::HIDDEN_BY_MOUNT, "use --boot-file"),
    Hint::new(
        code::HIDDEN_BY_MOUNT,
        "write it at boot, for example with tmpfiles.d",
    ),
    Hint::new(
        code::NEVER_READ,
        "use --base-ign for what is always merged, or --config-ign for the user config",
    ),
    Hint::new(
        code::RELEASE_UNKNOWN,
        "see what is on USR: flatbake inspect IMG",
    ),
    Hint::new(
        code::TIME_UNKNOWN,
        "give the time of everything new with --timestamp",
    ),
    Hint::new(
        code::LAYOUT_UNKNOWN,
        "give the size that ROOT should have with --root-size",
    ),
    Hint::new(
        code::IGNITION_INVALID,
        "translate or mend the config, or bake it in all the same with --force",
    ),
    Hint::new(
        code::IGNITION_IS_BUTANE,
        "translate it: flatbake butane FILE -o config.ign",
    ),
    Hint::new(
        code::IGNITION_VERSION_UNREAD,
        "use an older version of the specification, or a newer release",
    ),
    Hint::new(
        code::IGNITION_OEM_MISSING,
        "put it there with --oem-file SRC:{path}",
    ),
    Hint::new(
        code::IGNITION_USR,
        "write to /opt or /etc, or pack it in a sysext",
    ),
    Hint::new(
        code::IGNITION_MODE_DECIMAL,
        "Butane takes modes with a 0 in front as octal; JSON has decimal numbers only",
    ),
    Hint::new(
        code::BUTANE_UNREAD,
        "leave out --keep-butane, and it is translated",
    ),
    Hint::new(
        code::BUTANE_LOCAL,
        "local files lie below the folder of the Butane file, or that of flatbake butane -d DIR",
    ),
    Hint::new(code::CONFIG_SYNTAX, "mend the config at that place"),
    Hint::new(code::CONFIG_TYPE, "mend the config at that place"),
    Hint::new(code::IGNITION_VERSION, "mend the config at that place"),
    Hint::new(
        code::IGNITION_IGNORED,
        "write it as a Butane or an Ignition config",
    ),
    Hint::new(code::IGNITION_PATH, "mend the config at that place"),
    Hint::new(code::IGNITION_DUPLICATE, "keep one of them"),
    Hint::new(
        code::IGNITION_BELOW,
        "make the one a directory, or move the other",
    ),
    Hint::new(code::IGNITION_UNIT_TAKEN, "keep the unit or the file"),
    Hint::new(code::IGNITION_MODE, "mend the config at that place"),
    Hint::new(code::IGNITION_OWNER, "keep one of them"),
    Hint::new(
        code::IGNITION_OVERWRITE,
        "give contents, or leave overwrite out",
    ),
    Hint::new(code::IGNITION_LINK, "mend the config at that place"),
    Hint::new(code::IGNITION_SOURCE, "mend the config at that place"),
    Hint::new(code::IGNITION_RESOURCE, "mend the config at that place"),
    Hint::new(code::IGNITION_HASH, "mend the config at that place"),
    Hint::new(
        code::IGNITION_HASH_DIFFERS,
        "correct the hash or the content",
    ),
    Hint::new(code::IGNITION_STORAGE, "mend the config at that place"),
    Hint::new(code::IGNITION_UNIT_NAME, "mend the config at that place"),
    Hint::new(code::IGNITION_UNIT_SYNTAX, "mend the config at that place"),
    Hint::new(code::IGNITION_ACCOUNT, "mend the config at that place"),
    Hint::new(code::IGNITION_PROXY, "mend the config at that place"),
    Hint::new(
        code::IGNITION_STOPS,
        "mend the config there; overwrite: true replaces what the image has",
    ),
    Hint::new(
        code::AIRGAP_SOURCE,
        "bake it with --oem-file and name it oem:///FILE, or write it into the config",
    ),
    Hint::new(code::AIRGAP_SYSEXT, "bake it with --enable-sysext {name}"),
    Hint::new(
        code::AIRGAP_OEM_SYSEXT,
        "bake the image for the vendor with --vendor and --oem-sysext",
    ),
    Hint::new(
        code::AIRGAP_SYSUPDATE,
        "leave out --sysupdate, or give files whose Path is a server of yours",
    ),
    Hint::new(
        code::AIRGAP_UPDATES,
        "write SERVER=disabled, or a server of yours, to /etc/flatcar/update.conf with --root-file",
    ),
    Hint::new(
        code::AIRGAP_IMAGE,
        "bake a container store that holds it with --root-tar",
    ),
    Hint::new(
        code::AIRGAP_ONLINE,
        "leave network-online.target out of the unit where it needs no network",
    ),
    Hint::new(code::AIRGAP_URL, "bake what it fetches with --root-file"),
    Hint::new(code::BUTANE_VARIANT, "write variant: flatcar"),
    Hint::new(
        code::BUTANE_VERSION,
        "write version: 1.1.0, or 1.0.0 for releases before 3602",
    ),
    Hint::new(
        code::BUTANE_UNSUPPORTED,
        "leave it out; a key of its own opens a volume, too",
    ),
    Hint::new(code::BUTANE_SOURCES, "leave the others out"),
    Hint::new(
        code::BUTANE_TREE,
        "trees are folders below that of the Butane file, or that of flatbake butane -d DIR",
    ),
    Hint::new(
        code::BUTANE_MOUNT_UNIT,
        "add it, or write the unit below systemd",
    ),
    Hint::new(code::KERNEL_ARGS_LOST, "bring them back with --kernel-arg"),
    Hint::new(
        code::SYSEXT_UNCHECKED,
        "see what is on USR: flatbake inspect IMG; --force bakes it in unchecked",
    ),
    Hint::new(
        code::OEM_PACKAGE_MISSING,
        "add those that are needed with --oem-file",
    ),
    Hint::new(
        code::OEM_KEY_MISSING,
        "give a config with a key for core with --config-ign or --base-ign, or bake a release from 4722 on",
    ),
    Hint::new(
        code::VENDOR_LEFT_OUT,
        "bake it all the same with --vendor {vendor}",
    ),
    Hint::new(code::INPUT_UNUSED, "leave it out"),
    Hint::new(
        code::SIGNING_KEY_ENDS,
        "give a newer copy of the signer's key with --keyring as soon as there is one",
    ),
    Hint::new(
        code::SIGNING_KEY_ENDED,
        "give a newer copy of the signer's key with --keyring",
    ),
];

/// What can be done about any finding that stops a run.
const FORCE: &str = "bake it all the same with --force";

/// What a person can do about `finding`, where there is something.
pub fn hint(finding: &Finding) -> Option<String> {
    let hint = HINTS.iter().find(|hint| hint.is_for(finding))?;
    Some(finding.fill(hint.text))
}

/// What a person can do about `error`: about each finding that stopped the work, and what the error says itself.
pub fn of_error(error: &Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for hint in error.findings().iter().filter_map(hint) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    match error.hint() {
        Some(hint) => hints.push(format!("{hint}{}", flag_of(error))),
        None if error.findings().is_empty() => {}
        None => hints.push(FORCE.to_owned()),
    }
    hints
}

/// The flag that the hint of `error` is about, in brackets; nothing where it is about none.
fn flag_of(error: &Error) -> String {
    let Some(setting) = error.setting() else {
        return String::new();
    };
    let is_it = |(flag, counterpart): &&(&str, Counterpart)| match counterpart {
        Counterpart::Keys(keys) => keys.contains(&setting),
        Counterpart::None(_) => *flag == setting,
    };
    FLAGS
        .iter()
        .find(is_it)
        .map_or_else(String::new, |(flag, _)| format!(" (--{flag})"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::Severity;
    use crate::finding::ALL;

    use super::*;

    /// The names in braces.
    fn names(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('}')?.0))
            .collect()
    }

    #[test]
    fn hints_are_for_codes_that_there_are_and_name_values_of_their_messages() {
        for hint in HINTS {
            let word = hint.code.word;
            assert!(ALL.contains(&hint.code), "{word}");
            assert!(
                names(hint.text).is_subset(&names(hint.code.text)),
                "{word}: {}",
                hint.text
            );
            assert!(
                hint.when
                    .is_none_or(|(name, _)| names(hint.code.text).contains(name)),
                "{word}"
            );
        }
    }

    #[test]
    fn no_hint_stands_behind_one_that_always_comes_first() {
        let mut always: BTreeSet<&str> = BTreeSet::new();
        for hint in HINTS {
            assert!(
                !always.contains(hint.code.word),
                "{}: {}",
                hint.code.word,
                hint.text
            );
            if hint.when.is_none() {
                always.insert(hint.code.word);
            }
        }
    }

    #[test]
    fn every_code_that_stops_a_run_has_a_hint() {
        for code in ALL.iter().filter(|code| code.severity == Severity::Error) {
            assert!(hint(&Finding::new(code)).is_some(), "{}", code.word);
        }
    }

    #[test]
    fn hints_name_the_flag_of_their_setting() {
        let hint = |setting| {
            of_error(
                &Error::invalid("no")
                    .with_hint("leave it")
                    .with_setting(setting),
            )
        };
        assert_eq!(hint("tarballs[].exclude"), ["leave it (--exclude)"]);
        assert_eq!(hint("allow-outside"), ["leave it (--allow-outside)"]);
        assert_eq!(
            of_error(&Error::invalid("no").with_hint("leave it")),
            ["leave it"]
        );
    }

    #[test]
    fn hints_have_values_and_depend_on_them() {
        let arch = Finding::new(code::SYSEXT_ARCH)
            .with("arch", "arm64")
            .with("host", "x86-64");
        assert_eq!(
            hint(&arch).as_deref(),
            Some("use the sysext's build for x86-64")
        );
        let hidden =
            |top: &str| hint(&Finding::new(code::HIDDEN_BY_MOUNT).with("top", top)).unwrap();
        assert_eq!(hidden("oem"), "use --oem-file");
        assert!(hidden("run").contains("tmpfiles.d"));
        assert_eq!(hint(&Finding::new(code::ARCHIVE_END_SHORT)), None);
    }

    #[test]
    fn an_error_has_the_hints_of_its_findings_once_each() {
        assert!(of_error(&Error::invalid("x")).is_empty());
        assert_eq!(of_error(&Error::invalid("x").with_hint("y")), ["y"]);
        let hidden = || Finding::new(code::HIDDEN_BY_MOUNT).with("top", "oem");
        let scope = Finding::new(code::SYSEXT_SCOPE).with("field", "SYSEXT_SCOPE");
        let error = Error::invalid("x").with_findings(vec![hidden(), hidden(), scope]);
        assert_eq!(
            of_error(&error),
            ["use --oem-file", "pack it with SYSEXT_SCOPE=system", FORCE]
        );
    }
}
