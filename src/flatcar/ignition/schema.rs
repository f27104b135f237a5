//! The keys of Ignition configs of specification 3.x, with those that only Butane has.
//!
//! Keys stand in the order in which Ignition's own programs write them.

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(in crate::flatcar) enum Shape {
    Text,
    Integer,
    Flag,
    List(&'static Shape),
    Table(&'static Table),
}

/// Tables that mean something together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flatcar) enum Means {
    Keys,
    Resource,
    Filesystem,
    File,
    Directory,
    Unit,
    Dropin,
    User,
    Partition,
    Tree,
}

/// The keys of a table.
#[derive(Debug)]
pub(in crate::flatcar) struct Table {
    pub(in crate::flatcar) means: Means,
    pub(in crate::flatcar) fields: &'static [Field],
}

/// Who knows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flatcar) enum Known {
    Both,
    /// Butane for Flatcar refuses it.
    Ignition,
    /// It is gone after the translation.
    Butane,
}

/// A key.
#[derive(Debug)]
pub(in crate::flatcar) struct Field {
    /// Its name in Ignition configs; that of Butane for what only Butane has.
    pub(in crate::flatcar) name: &'static str,
    /// Its name in Butane configs.
    pub(in crate::flatcar) butane: &'static str,
    pub(in crate::flatcar) shape: Shape,
    /// The first specification that has it: 4 for 3.4.
    pub(in crate::flatcar) since: u8,
    pub(in crate::flatcar) known: Known,
}

const fn field(name: &'static str, butane: &'static str, shape: Shape) -> Field {
    Field {
        name,
        butane,
        shape,
        since: 0,
        known: Known::Both,
    }
}

/// A key that has one name.
const fn same(name: &'static str, shape: Shape) -> Field {
    field(name, name, shape)
}

const fn butane_only(name: &'static str, shape: Shape) -> Field {
    Field {
        known: Known::Butane,
        ..same(name, shape)
    }
}

impl Field {
    const fn since(self, since: u8) -> Self {
        Self { since, ..self }
    }

    const fn not_in_butane(self) -> Self {
        Self {
            known: Known::Ignition,
            ..self
        }
    }
}

impl Table {
    /// The key that is called `name` in Ignition configs.
    pub(in crate::flatcar) fn ignition(&self, name: &str) -> Option<&'static Field> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.known != Known::Butane && field.name == name)
    }

    /// The key that is called `name` in Butane configs.
    pub(in crate::flatcar) fn butane(&self, name: &str) -> Option<&'static Field> {
        let mut fields = self.fields.iter();
        fields.find(|field| !name.is_empty() && field.butane == name)
    }
}

const fn keys(fields: &'static [Field]) -> Table {
    Table {
        means: Means::Keys,
        fields,
    }
}

const TEXTS: Shape = Shape::List(&Shape::Text);

/// A whole config.
pub(in crate::flatcar) static CONFIG: Table = keys(&[
    butane_only("variant", Shape::Text),
    butane_only("version", Shape::Text),
    same("ignition", Shape::Table(&IGNITION)),
    field(
        "kernelArguments",
        "kernel_arguments",
        Shape::Table(&KERNEL_ARGUMENTS),
    )
    .since(3),
    same("passwd", Shape::Table(&PASSWD)),
    same("storage", Shape::Table(&STORAGE)),
    same("systemd", Shape::Table(&SYSTEMD)),
]);

static IGNITION: Table = keys(&[
    same("config", Shape::Table(&CONFIG_SOURCES)),
    same("proxy", Shape::Table(&PROXY)).since(1),
    same("security", Shape::Table(&SECURITY)),
    same("timeouts", Shape::Table(&TIMEOUTS)),
    Field {
        butane: "",
        ..same("version", Shape::Text)
    },
]);

static CONFIG_SOURCES: Table = keys(&[
    same("merge", Shape::List(&Shape::Table(&REFERENCE))),
    same("replace", Shape::Table(&REFERENCE)),
]);

static PROXY: Table = keys(&[
    field("httpProxy", "http_proxy", Shape::Text),
    field("httpsProxy", "https_proxy", Shape::Text),
    field("noProxy", "no_proxy", TEXTS),
]);

static SECURITY: Table = keys(&[same("tls", Shape::Table(&TLS))]);

static TLS: Table = keys(&[field(
    "certificateAuthorities",
    "certificate_authorities",
    Shape::List(&Shape::Table(&REFERENCE)),
)]);

static TIMEOUTS: Table = keys(&[
    field(
        "httpResponseHeaders",
        "http_response_headers",
        Shape::Integer,
    ),
    field("httpTotal", "http_total", Shape::Integer),
]);

static KERNEL_ARGUMENTS: Table = keys(&[
    field("shouldExist", "should_exist", TEXTS),
    field("shouldNotExist", "should_not_exist", TEXTS),
]);

static RESOURCE: Table = Table {
    means: Means::Resource,
    fields: &[
        butane_only("inline", Shape::Text),
        butane_only("local", Shape::Text),
        same("compression", Shape::Text),
        field(
            "httpHeaders",
            "http_headers",
            Shape::List(&Shape::Table(&HEADER)),
        )
        .since(1),
        same("source", Shape::Text),
        same("verification", Shape::Table(&VERIFICATION)),
    ],
};

/// A resource that could not be compressed at first.
static REFERENCE: Table = Table {
    means: Means::Resource,
    fields: &[
        butane_only("inline", Shape::Text),
        butane_only("local", Shape::Text),
        same("compression", Shape::Text).since(1),
        field(
            "httpHeaders",
            "http_headers",
            Shape::List(&Shape::Table(&HEADER)),
        )
        .since(1),
        same("source", Shape::Text),
        same("verification", Shape::Table(&VERIFICATION)),
    ],
};

static HEADER: Table = keys(&[same("name", Shape::Text), same("value", Shape::Text)]);

static VERIFICATION: Table = keys(&[same("hash", Shape::Text)]);

static PASSWD: Table = keys(&[
    same("groups", Shape::List(&Shape::Table(&GROUP))),
    same("users", Shape::List(&Shape::Table(&USER))),
]);

static GROUP: Table = keys(&[
    same("gid", Shape::Integer),
    same("name", Shape::Text),
    field("passwordHash", "password_hash", Shape::Text),
    field("shouldExist", "should_exist", Shape::Flag).since(2),
    same("system", Shape::Flag),
]);

static USER: Table = Table {
    means: Means::User,
    fields: &[
        same("gecos", Shape::Text),
        same("groups", TEXTS),
        field("homeDir", "home_dir", Shape::Text),
        same("name", Shape::Text),
        field("noCreateHome", "no_create_home", Shape::Flag),
        field("noLogInit", "no_log_init", Shape::Flag),
        field("noUserGroup", "no_user_group", Shape::Flag),
        field("passwordHash", "password_hash", Shape::Text),
        field("primaryGroup", "primary_group", Shape::Text),
        field("sshAuthorizedKeys", "ssh_authorized_keys", TEXTS),
        butane_only("ssh_authorized_keys_local", TEXTS).since(4),
        same("shell", Shape::Text),
        field("shouldExist", "should_exist", Shape::Flag).since(2),
        same("system", Shape::Flag),
        same("uid", Shape::Integer),
    ],
};

static STORAGE: Table = keys(&[
    same("directories", Shape::List(&Shape::Table(&DIRECTORY))),
    same("disks", Shape::List(&Shape::Table(&DISK))),
    same("files", Shape::List(&Shape::Table(&FILE))),
    same("filesystems", Shape::List(&Shape::Table(&FILESYSTEM))),
    same("links", Shape::List(&Shape::Table(&LINK))),
    same("luks", Shape::List(&Shape::Table(&LUKS))).since(2),
    same("raid", Shape::List(&Shape::Table(&RAID))),
    butane_only("trees", Shape::List(&Shape::Table(&TREE))),
]);

static TREE: Table = Table {
    means: Means::Tree,
    fields: &[
        butane_only("local", Shape::Text),
        butane_only("path", Shape::Text),
    ],
};

static OWNER: Table = keys(&[same("id", Shape::Integer), same("name", Shape::Text)]);

static DIRECTORY: Table = Table {
    means: Means::Directory,
    fields: &[
        same("group", Shape::Table(&OWNER)),
        same("overwrite", Shape::Flag),
        same("path", Shape::Text),
        same("user", Shape::Table(&OWNER)),
        same("mode", Shape::Integer),
    ],
};

static FILE: Table = Table {
    means: Means::File,
    fields: &[
        same("group", Shape::Table(&OWNER)),
        same("overwrite", Shape::Flag),
        same("path", Shape::Text),
        same("user", Shape::Table(&OWNER)),
        same("append", Shape::List(&Shape::Table(&RESOURCE))),
        same("contents", Shape::Table(&RESOURCE)),
        same("mode", Shape::Integer),
    ],
};

static LINK: Table = keys(&[
    same("group", Shape::Table(&OWNER)),
    same("overwrite", Shape::Flag),
    same("path", Shape::Text),
    same("user", Shape::Table(&OWNER)),
    same("hard", Shape::Flag),
    same("target", Shape::Text),
]);

static DISK: Table = keys(&[
    same("device", Shape::Text),
    same("partitions", Shape::List(&Shape::Table(&PARTITION))),
    field("wipeTable", "wipe_table", Shape::Flag),
]);

static PARTITION: Table = Table {
    means: Means::Partition,
    fields: &[
        same("guid", Shape::Text),
        same("label", Shape::Text),
        same("number", Shape::Integer),
        same("resize", Shape::Flag).since(2),
        field("shouldExist", "should_exist", Shape::Flag),
        field("sizeMiB", "size_mib", Shape::Integer),
        field("startMiB", "start_mib", Shape::Integer),
        field("typeGuid", "type_guid", Shape::Text),
        field("wipePartitionEntry", "wipe_partition_entry", Shape::Flag),
    ],
};

static FILESYSTEM: Table = Table {
    means: Means::Filesystem,
    fields: &[
        same("device", Shape::Text),
        same("format", Shape::Text),
        same("label", Shape::Text),
        field("mountOptions", "mount_options", TEXTS).since(1),
        same("options", TEXTS),
        same("path", Shape::Text),
        same("uuid", Shape::Text),
        field("wipeFilesystem", "wipe_filesystem", Shape::Flag),
        butane_only("with_mount_unit", Shape::Flag),
    ],
};

static LUKS: Table = keys(&[
    same("cex", Shape::Table(&CEX)).since(5).not_in_butane(),
    same("clevis", Shape::Table(&CLEVIS)).not_in_butane(),
    same("device", Shape::Text),
    same("discard", Shape::Flag).since(4),
    field("keyFile", "key_file", Shape::Table(&RESOURCE)),
    same("label", Shape::Text),
    same("name", Shape::Text),
    field("openOptions", "open_options", TEXTS).since(4),
    same("options", TEXTS),
    same("uuid", Shape::Text),
    field("wipeVolume", "wipe_volume", Shape::Flag),
]);

static CEX: Table = keys(&[same("enabled", Shape::Flag)]);

static CLEVIS: Table = keys(&[
    same("custom", Shape::Table(&CUSTOM)),
    same("tang", Shape::List(&Shape::Table(&TANG))),
    same("threshold", Shape::Integer),
    same("tpm2", Shape::Flag),
]);

static CUSTOM: Table = keys(&[
    same("config", Shape::Text),
    field("needsNetwork", "needs_network", Shape::Flag),
    same("pin", Shape::Text),
]);

static TANG: Table = keys(&[
    same("advertisement", Shape::Text).since(4),
    same("thumbprint", Shape::Text),
    same("url", Shape::Text),
]);

static RAID: Table = keys(&[
    same("devices", TEXTS),
    same("level", Shape::Text),
    same("name", Shape::Text),
    same("options", TEXTS),
    same("spares", Shape::Integer),
]);

static SYSTEMD: Table = keys(&[same("units", Shape::List(&Shape::Table(&UNIT)))]);

static UNIT: Table = Table {
    means: Means::Unit,
    fields: &[
        same("contents", Shape::Text),
        butane_only("contents_local", Shape::Text).since(4),
        same("dropins", Shape::List(&Shape::Table(&DROPIN))),
        same("enabled", Shape::Flag),
        same("mask", Shape::Flag),
        same("name", Shape::Text),
    ],
};

static DROPIN: Table = Table {
    means: Means::Dropin,
    fields: &[
        same("contents", Shape::Text),
        butane_only("contents_local", Shape::Text).since(4),
        same("name", Shape::Text),
    ],
};

/// What Butane calls the key `name` of Ignition.
pub(in crate::flatcar) fn butane_name(name: &str) -> String {
    let mut text = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            text.push('_');
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.push(c.to_ascii_lowercase());
    }
    // The one abbreviation with a small letter in it.
    text.replace("_mi_b", "_mib")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(table: &'static Table, seen: &mut Vec<*const Table>) {
        if seen.iter().any(|known| std::ptr::eq(*known, table)) {
            return;
        }
        seen.push(table);
        for field in table.fields {
            if field.known != Known::Butane && !field.butane.is_empty() {
                assert_eq!(butane_name(field.name), field.butane);
            }
            let mut shape = field.shape;
            while let Shape::List(inner) = shape {
                shape = *inner;
            }
            if let Shape::Table(table) = shape {
                visit(table, seen);
            }
        }
    }

    #[test]
    fn names_of_butane_follow_from_those_of_ignition() {
        let mut seen = Vec::new();
        visit(&CONFIG, &mut seen);
        assert!(seen.len() > 25, "{}", seen.len());
    }
}
