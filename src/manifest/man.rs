//! The manual page flatbake-manifest(5), made from the texts of the schema and the table of flags.

use super::flags::{Counterpart, FLAGS};
use super::schema::{Key, keys};

/// A manifest that tests bake, as an example.
const EXAMPLE: &str = include_str!("../../testdata/manifests/fleet.yaml");

const DESCRIPTION: &[&str] = &[
    "A manifest says what flatbake bakes: the image to start from, what goes into it, and what is written. It is a file \
     in YAML 1.2 (.yaml, .yml) or TOML (.toml), which have the same keys. The JSON schema of manifests, for editors, is \
     what flatbake schema prints.",
    "Paths of the host are relative to the manifest's folder and do not lead out of it, unless --allow-outside is given. \
     A path in the image is PART:/PATH with PART one of boot, oem and root.",
    "What the keys release and sysexts name by release or version is fetched and verified before the bake begins. \
     flatbake fetch -f fetches it beforehand, and with --bundle for a machine without a network.",
    "What flags say comes on top of what the manifest says.",
];

const VARIABLES: &[&str] = &[
    "${NAME} in any text is replaced by the value of a variable, which comes from the key variables or from --set \
     NAME=VALUE, which wins. $$ is a dollar sign. The content of files is not changed, and nothing is taken from the \
     environment.",
];

const LOCK: &[&str] = &[
    "A bake of a manifest writes the digests of all files that it read to a lock beside it, whose name is that of the \
     manifest with the extension .lock; flatbake plan --lock writes the lock alone. With --locked a run fails unless \
     every input is as the lock says.",
    "The lock also holds what a release and extensions came to: versions, URLs and digests. With --locked just these are \
     taken, and no server is asked for what is the newest.",
];

/// The manual page of manifests, section 5, in the macros of man(7).
pub fn man_page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page {
        text: format!(".TH FLATBAKE\\-MANIFEST 5 \"\" \"flatbake {version}\" \"flatbake\"\n"),
    };
    page.section("NAME");
    page.paragraph("flatbake-manifest - what flatbake bakes, as a file");
    page.section("DESCRIPTION");
    page.paragraphs(DESCRIPTION);
    let keys = keys();
    page.section("KEYS");
    page.keys(&keys, "");
    for table in tables(&keys) {
        page.text
            .push_str(&format!(".SS \"Keys of {}\"\n", escaped(table)));
        page.keys(&keys, table);
    }
    page.section("VARIABLES");
    page.paragraphs(VARIABLES);
    page.section("LOCK");
    page.paragraphs(LOCK);
    page.section("EXAMPLE");
    page.example(EXAMPLE);
    page.section("SEE ALSO");
    page.paragraph(
        "flatbake(1), flatbake-bake(1), flatbake-fetch(1), flatbake-plan(1), flatbake-schema(1)",
    );
    page.text
}

/// The path of the table that a key is in; empty for keys at the top.
fn table_of(key: &Key) -> &str {
    key.path.rsplit_once('.').map_or("", |(table, _)| table)
}

/// All tables but the top, in the order of the keys that they belong to. What variants have, the top has too.
fn tables(keys: &[Key]) -> Vec<&str> {
    let mut tables: Vec<&str> = Vec::new();
    for table in keys.iter().map(table_of) {
        if !table.is_empty() && !table.starts_with("variants[].") && !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

/// The flag that says what a key says.
fn flag_of(key: &Key) -> Option<String> {
    let has = |counterpart: &Counterpart| matches!(counterpart, Counterpart::Keys(all) if all.contains(&key.path.as_str()));
    let flags: Vec<String> = FLAGS
        .iter()
        .filter(|(_, counterpart)| has(counterpart))
        .map(|(name, _)| shown(name))
        .collect();
    (!flags.is_empty()).then(|| flags.join(", "))
}

/// A flag as it is written; an argument has no dashes.
fn shown(flag: &str) -> String {
    if flag.contains(':') {
        flag.to_owned()
    } else {
        format!("--{flag}")
    }
}

struct Page {
    text: String,
}

impl Page {
    fn section(&mut self, name: &str) {
        self.text.push_str(&format!(".SH {name}\n"));
    }

    fn paragraphs(&mut self, texts: &[&str]) {
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                self.text.push_str(".PP\n");
            }
            self.paragraph(text);
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.text.push_str(&escaped(&text.replace('\n', " ")));
        self.text.push('\n');
    }

    fn keys(&mut self, keys: &[Key], table: &str) {
        for key in keys.iter().filter(|key| table_of(key) == table) {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let required = if key.is_required { ", required" } else { "" };
            self.text.push_str(&format!(
                ".TP\n\\fB{}\\fR ({}{required})\n",
                escaped(name),
                key.kinds
            ));
            self.paragraph(&key.text);
            if let Some(flags) = flag_of(key) {
                self.paragraph(&format!("Flags: {flags}."));
            }
        }
    }

    fn example(&mut self, text: &str) {
        self.text.push_str(".EX\n");
        for line in text.lines() {
            self.text.push_str(&escaped(line));
            self.text.push('\n');
        }
        self.text.push_str(".EE\n");
    }
}

/// A line of text in which nothing is an instruction.
fn escaped(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_key_with_its_text() {
        let page = man_page();
        for key in keys() {
            assert!(!key.text.is_empty() && !key.kinds.is_empty(), "{key:?}");
            assert!(
                page.contains(&escaped(&key.text.replace('\n', " "))),
                "{key:?}"
            );
        }
        assert!(
            page.contains("\n.TP\n\\fBroot_size\\fR (number or text"),
            "{page}"
        );
        assert!(page.contains("\nFlags: \\-\\-root\\-size.\n"), "{page}");
        assert!(page.contains(".SS \"Keys of units[].dropins[]\""), "{page}");
        assert!(!page.contains("Keys of variants[].files[]"), "{page}");
    }

    #[test]
    fn no_text_is_an_instruction() {
        assert_eq!(escaped(".sh \\n"), "\\&.sh \\en");
        let known = [".TH ", ".SH ", ".SS ", ".TP", ".PP", ".EX", ".EE"];
        for line in man_page()
            .lines()
            .filter(|line| line.starts_with(['.', '\'']))
        {
            assert!(
                known.iter().any(|macros| line.starts_with(macros)),
                "{line}"
            );
        }
    }
}
