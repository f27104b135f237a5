//! Everything that the help and the documents show is run, and what they list is compared with what there is.
//!
//! ```text
//!  README.md, docs/*.md ── blocks of sh ──┐
//!                                         ├─▶ sh, in a folder with the sample and small inputs ─▶ exit status 0
//!  flatbake CMD --help ── "Examples:" ────┘
//! ```
//!
//! All blocks of one document run in one folder, in their order, so that a document can build on what it showed before. A
//! block that cannot run there has the reason in front of it: `<!-- not run: needs a release image -->`.
use crate::common::programs::{self, said, success};
use crate::common::scratch_dir;
use flatbake::ErrorKind;
use flatbake::archive::tar::TarLayout;
use flatbake::block::BlockDevice;
use flatbake::finding::ALL;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most blocks that may be left out, in all documents together.
const NOT_RUN_MAX: usize = 8;
/// How a block says that it is not run.
const NOT_RUN: &str = "<!-- not run: ";
/// How README.md calls the program before it is installed.
const CARGO_RUN: &str = "cargo run --release -- ";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn flatbake(arguments: &[&str]) -> Command {
    let mut command = programs::flatbake();
    // Wide enough that no example is folded.
    command.args(arguments).env("COLUMNS", "400");
    command
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(success(&mut flatbake(arguments)).stdout).unwrap()
}

/// README.md and what lies in docs/, each with its text.
fn documents() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(project("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(project(&name)).unwrap()))
        .collect()
}

/// The commands of flatbake, as its help lists them.
fn commands() -> Vec<String> {
    let commands = commands_in(&text(&["--help"]));
    assert!(!commands.is_empty(), "the help lists commands");
    commands
}

/// The commands within a command.
fn inner_commands(command: &str) -> Vec<String> {
    commands_in(&text(&[command, "--help"]))
}

/// The commands that a help lists.
fn commands_in(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let names = list.lines().take_while(|line| !line.trim().is_empty());
    let names = names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

/// A block of code in a document.
struct Block {
    /// The document and the line, for messages.
    place: String,
    /// The word behind the fence.
    language: String,
    lines: Vec<String>,
    /// Why it is not run.
    not_run: Option<String>,
}

impl Block {
    /// What a shell is to run: of a console, what is typed.
    fn script(&self) -> String {
        if self.language == "sh" {
            return self.lines.join("\n");
        }
        let mut script = Vec::new();
        let mut continues = false;
        for line in &self.lines {
            let typed = if continues {
                Some(line.as_str())
            } else {
                line.strip_prefix("$ ")
            };
            continues = typed.is_some_and(|typed| typed.ends_with('\\'));
            script.extend(typed.map(str::to_owned));
        }
        script.join("\n")
    }

    /// Whether it shows flatbake at work.
    fn is_example(&self) -> bool {
        let is_shell = self.language == "sh" || self.language == "console";
        is_shell && (self.script().contains("flatbake ") || self.script().contains(CARGO_RUN))
    }
}

/// All blocks of code in the document `name`.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut not_run = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(mut block) = open.take() {
            if line.trim_end() == "```" {
                blocks.push(block);
            } else {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
        } else if let Some(language) = line.strip_prefix("```") {
            let place = format!("{name}:{number}");
            let language = language.trim().to_owned();
            open = Some(Block {
                place,
                language,
                lines: Vec::new(),
                not_run: not_run.take(),
            });
        } else if let Some(reason) = line.strip_prefix(NOT_RUN) {
            not_run = Some(reason.trim_end_matches("-->").trim().to_owned());
        }
    }
    assert!(open.is_none(), "{name}: the last block of code has no end");
    assert!(
        not_run.is_none(),
        "{name}: '{NOT_RUN}…' stands before no block of code"
    );
    blocks
}

/// A folder with all that examples name. `testdata` and `target` are there for commands that run in this project.
fn example_folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    let at = |name: &str| dir.path().join(name);
    for name in [
        "flatcar_sample.bin.bz2",
        "hello.raw",
        "hello.conf",
        "greeter.raw",
        "hello.raw.sig",
        "sample-key.asc",
    ] {
        fs::copy(project("testdata/sample").join(name), at(name)).unwrap();
    }
    symlink(project("testdata"), at("testdata")).unwrap();
    fs::create_dir(at("target")).unwrap();
    for (name, content) in INPUTS {
        fs::write(at(name), content).unwrap();
    }
    for (name, content) in TAILSCALE {
        let file = at("tailscale").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    for (name, archive) in crate::common::recipes::examples() {
        fs::write(at(name), archive).unwrap();
    }
    fs::create_dir(at("site")).unwrap();
    fs::write(at("site/index.html"), PAGE).unwrap();
    fs::write(at("site.tar"), archive()).unwrap();
    bakery(&at("bakery/extensions"));
    let tools = tar(&[("usr/bin/hello", HELLO), ("opt/tool.sh", HELLO)]);
    crate::programs::layout(&at("hello-image"), &[tools]);
    fs::write(at("hello.torcx.tar"), tar(&TORCX)).unwrap();
    dir
}

/// A mirror of the Bakery that has the sample's sysext.
fn bakery(folder: &Path) {
    let name = "hello-1.0-x86-64.raw";
    let hello = fs::read(project("testdata/sample/hello.raw")).unwrap();
    let sums = format!("{}  {name}\n", crate::common::tree::sha256(&hello[..]));
    fs::create_dir_all(folder.join("hello")).unwrap();
    fs::write(folder.join("hello/SHA256SUMS"), sums).unwrap();
    fs::write(folder.join(name), hello).unwrap();
}

/// The tree of an extension.
const TAILSCALE: [(&str, &str); 2] = [
    ("usr/bin/tailscaled", "#!/bin/sh\n"),
    (
        "usr/lib/systemd/system/tailscaled.service",
        "[Service]\nExecStart=/usr/bin/tailscaled\n",
    ),
];

const PAGE: &str = "<p>It works.</p>\n";

/// A tar archive of the folder `site`.
fn archive() -> Vec<u8> {
    let mut layout = TarLayout::new(0);
    layout.directory("site", 0o755).unwrap();
    layout.file("site/index.html", 0o644, PAGE.into()).unwrap();
    let archive = layout.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
    archive.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A program of a container image.
const HELLO: &str = "#!/bin/sh\necho hello\n";

/// A torcx image.
const TORCX: [(&str, &str); 3] = [
    (
        ".torcx/manifest.json",
        r#"{"kind": "image-manifest-v0", "value": {}}"#,
    ),
    ("bin/hello", HELLO),
    (
        "lib/systemd/system/hello.service",
        "[Service]\nExecStart=${TORCX_BINDIR}/hello\n",
    ),
];

/// A tar archive of programs.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut layout = TarLayout::new(0);
    for (path, content) in files {
        let content = content.as_bytes().to_vec();
        layout.file(path, 0o755, content).unwrap();
    }
    let archive = layout.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
    archive.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Small inputs of examples.
const INPUTS: [(&str, &str); 12] = [
    ("tailscaled.default", "PORT=41641\n"),
    ("motd.txt", "welcome\n"),
    (
        "releases.json",
        r#"{"4593.2.5": {"channel": "stable", "release_date": "2026-08-01 10:00:00 +0000"}}"#,
    ),
    ("config.ign", "{\"ignition\": {\"version\": \"3.3.0\"}}\n"),
    (
        "node.bu",
        "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /etc/motd, contents: {local: motd.txt}}]}\n",
    ),
    ("base.ign", "{\"ignition\": {\"version\": \"3.3.0\"}}\n"),
    ("grub.cfg", "set oem_id=\"qemu\"\n"),
    (
        "web.service",
        "[Service]\nExecStart=/opt/web/serve\n\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "10-proxy.conf",
        "[Service]\nEnvironment=HTTPS_PROXY=http://proxy.example:3128\n",
    ),
    (
        "flatbake.yaml",
        "variables: {HOSTNAME: node1}\nimage: flatcar_sample.bin.bz2\nhostname: ${HOSTNAME}\n\
         sysexts: [{name: hello, file: hello.raw}]\noutputs: [node1.img]\n",
    ),
    ("release.yaml", "release: stable\nvendors: [azure]\n"),
    (
        "extension.yaml",
        "image: flatcar_sample.bin.bz2\nsysexts: [hello@latest]\noutputs: [node1.img]\n",
    ),
];

/// Runs a script in `folder`, where `flatbake` is the program under test, and returns all that it said. It must not fail,
/// also not in front of a pipe, unless the script itself says what follows from that with `||`.
fn run(place: &str, script: &str, folder: &Path) -> String {
    let output = programs::shell()
        .args(["-eux", "-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    let has_error = String::from_utf8_lossy(&output.stderr)
        .lines()
        .any(|line| line.starts_with("error:"));
    let is_fine = output.status.success() && (!has_error || script.contains("||"));
    assert!(
        is_fine,
        "{place} ended with {}:\n{}",
        output.status,
        said(&output)
    );
    said(&output)
}

#[test]
fn examples_of_the_help_work() {
    for command in commands() {
        assert!(!shown(&[&command]).is_empty(), "{command} has no examples");
        let inner = inner_commands(&command);
        let inner = inner.iter().map(|inner| vec![command.as_str(), inner]);
        for words in std::iter::once(vec![command.as_str()]).chain(inner) {
            let folder = example_folder();
            for line in shown(&words) {
                run(
                    &format!("flatbake {} --help", words.join(" ")),
                    &line,
                    folder.path(),
                );
            }
        }
    }
}

/// The examples in the help of a command, or of one within it, which need not have any.
fn shown(command: &[&str]) -> Vec<String> {
    let help = text(&[command, &["--help"]].concat());
    let examples = help.split_once("Examples:\n").unwrap_or_default().1;
    let lines = examples.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("flatbake "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn examples_of_the_documents_work() {
    let mut left_out = Vec::new();
    for (name, text) in documents() {
        let folder = example_folder();
        for block in blocks(&name, &text).into_iter().filter(Block::is_example) {
            match &block.not_run {
                None => drop(run(
                    &block.place,
                    &block.script().replace(CARGO_RUN, "flatbake "),
                    folder.path(),
                )),
                Some(reason) => left_out.push(format!("{}: {reason}", block.place)),
            }
        }
    }
    for line in &left_out {
        eprintln!("not run: {line}");
    }
    assert!(
        left_out.len() <= NOT_RUN_MAX,
        "{} blocks are not run: at most {NOT_RUN_MAX}",
        left_out.len()
    );
}

#[test]
fn the_first_command_of_the_readme_finds_nothing_wrong_with_the_sample() {
    let readme = fs::read_to_string(project("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- ci:main -->").unwrap();
    let block = blocks("README.md", rest).swap_remove(0);
    let folder = example_folder();
    let script = block.script().replace(CARGO_RUN, "flatbake ");
    for _ in 0..2 {
        let said = run(&block.place, &script, folder.path());
        for word in ["warning:", "note:", "error:"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

#[test]
fn blocks_are_found_with_what_is_typed_in_them() {
    let document = "x\n```console\n$ flatbake a \\\n  b\nresult\n```\n<!-- not run: no net -->\n```sh\nflatbake c\n```\n\
                    ```yaml\na: flatbake x\n```\n";
    let blocks = blocks("d", document);
    let places: Vec<&str> = blocks.iter().map(|block| block.place.as_str()).collect();
    assert_eq!(places, ["d:2", "d:8", "d:11"]);
    assert_eq!(blocks[0].script(), "flatbake a \\\n  b");
    assert_eq!(
        (blocks[0].not_run.as_deref(), blocks[1].not_run.as_deref()),
        (None, Some("no net"))
    );
    assert_eq!(
        blocks.iter().map(Block::is_example).collect::<Vec<_>>(),
        [true, true, false]
    );
    let folder = scratch_dir();
    let failed = std::panic::catch_unwind(|| run("d", "flatbake no-such-command", folder.path()));
    assert!(failed.is_err(), "an example that fails is no example");
}

/// The words in `text` that look like long flags.
fn flags(text: &str) -> BTreeSet<String> {
    let is_flag_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let words = text
        .split(|c: char| !is_flag_letter(c))
        .filter(|word| word.starts_with("--"));
    words
        .filter(|word| word.len() > 2 && !word.starts_with("---"))
        .map(str::to_owned)
        .collect()
}

/// The spans of code in a line of text.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn flags_in_documents_are_flags_of_flatbake() {
    let mut known = flags(&text(&["--help"]));
    for command in commands() {
        known.extend(flags(&text(&[&command, "--help"])));
        for inner in inner_commands(&command) {
            known.extend(flags(&text(&[&command, &inner, "--help"])));
        }
    }
    for (name, text) in documents() {
        for (number, line) in (1..).zip(text.lines()) {
            let is_ours = |span: &&str| span.starts_with("--") || span.starts_with("flatbake ");
            for flag in spans(line).filter(is_ours).flat_map(flags) {
                assert!(
                    known.contains(&flag),
                    "{name}:{number}: flatbake has no flag {flag}"
                );
            }
        }
    }
}

/// A manifest in a document, with an image and an output where it shows neither.
fn whole_manifest(block: &Block) -> String {
    let mut text = block.lines.join("\n") + "\n";
    if !text.contains("image:") && !text.contains("release:") {
        text.push_str("image: flatcar_sample.bin.bz2\n");
    }
    if !text.contains("outputs:") && !text.contains("vendors:") {
        text.push_str("outputs: [node.img]\n");
    }
    text
}

#[test]
fn manifests_in_documents_can_be_planned() {
    let mut count = 0;
    // What docs/recipes.md shows is no manifest; the tests of recipes read it.
    let documents = documents().into_iter();
    for (name, text) in documents.filter(|(name, _)| name != "docs/recipes.md") {
        let folder = example_folder();
        for block in blocks(&name, &text)
            .into_iter()
            .filter(|block| block.language == "yaml")
        {
            let manifest = whole_manifest(&block);
            // A flag takes the place of a release, which is fetched from no test.
            let image = match manifest.contains("release:") {
                true => " --image flatcar_sample.bin.bz2",
                false => "",
            };
            fs::write(folder.path().join("shown.yaml"), manifest).unwrap();
            let plan = format!("flatbake plan -f shown.yaml{image}");
            run(&block.place, &plan, folder.path());
            count += 1;
        }
    }
    assert!(count > 5, "docs/manifest.md shows manifests");
}

/// All names of properties in a schema.
fn properties(schema: &serde_json::Value, names: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(known)) = object.get("properties") {
                names.extend(known.keys().cloned());
            }
            object.values().for_each(|value| properties(value, names));
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| properties(value, names))
        }
        _ => {}
    }
}

#[test]
fn all_keys_of_manifests_are_documented() {
    let schema = serde_json::from_str(&text(&["schema"])).unwrap();
    let mut names = BTreeSet::new();
    properties(&schema, &mut names);
    assert!(names.contains("hostname"), "{names:?}");
    let document = fs::read_to_string(project("docs/manifest.md")).unwrap();
    let known: BTreeSet<&str> = document.lines().flat_map(spans).collect();
    let missing: Vec<&String> = names
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/manifest.md does not name {missing:?}"
    );
}

#[test]
fn all_dependencies_are_explained() {
    let manifest: toml::Table = fs::read_to_string(project("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let design = fs::read_to_string(project("docs/design.md")).unwrap();
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            assert!(
                design.contains(&format!("`{name}`")),
                "docs/design.md does not say what {name} is for"
            );
        }
    }
}

#[test]
fn commands_are_named_in_the_readme() {
    let readme = fs::read_to_string(project("README.md")).unwrap();
    for command in commands() {
        assert!(
            readme.contains(&format!("flatbake {command}")),
            "README.md does not name flatbake {command}"
        );
    }
}

#[test]
fn every_command_has_a_man_page_with_its_examples() {
    let folder = scratch_dir();
    success(flatbake(&["man", folder.path().to_str().unwrap()]).current_dir(folder.path()));
    for command in commands() {
        let page = fs::read_to_string(folder.path().join(format!("flatbake-{command}.1")))
            .unwrap_or_else(|error| panic!("flatbake {command} has no man page: {error}"));
        let (_, examples) = page
            .split_once("Examples:")
            .unwrap_or_else(|| panic!("{command}: no examples\n{page}"));
        // Troff writes a hyphen as \-.
        assert!(
            examples
                .replace("\\-", "-")
                .contains(&format!("flatbake {command}")),
            "{command}:\n{page}"
        );
    }
    let whole = fs::read_to_string(folder.path().join("flatbake.1")).unwrap();
    for command in commands() {
        assert!(
            whole
                .replace("\\-", "-")
                .contains(&format!("flatbake-{command}(1)")),
            "flatbake(1) names {command}"
        );
    }
}

/// The lines between `<!-- NAME:begin -->` and `<!-- NAME:end -->` of docs/codes.md.
fn listed(name: &str) -> String {
    let codes = fs::read_to_string(project("docs/codes.md")).unwrap();
    let (_, rest) = codes
        .split_once(&format!("<!-- {name}:begin -->\n"))
        .expect("there is a place for the table");
    let (table, _) = rest
        .split_once(&format!("<!-- {name}:end -->"))
        .expect("the place for the table ends");
    table.to_owned()
}

#[test]
fn all_codes_of_findings_are_documented() {
    let mut table = "| code | severity | message |\n|---|---|---|\n".to_owned();
    for code in ALL {
        let text = code
            .text
            .replace('|', "\\|")
            .replace('*', "\\*")
            .replace('<', "&lt;");
        table.push_str(&format!(
            "| `{}` | {} | {text} |\n",
            code.word, code.severity
        ));
    }
    assert_eq!(
        listed("findings"),
        table,
        "the table of findings in docs/codes.md should be:\n{table}"
    );
}

#[test]
fn all_kinds_of_errors_are_documented() {
    let kinds = [
        ErrorKind::Internal,
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Unsupported,
        ErrorKind::NoSpace,
        ErrorKind::Environment,
        ErrorKind::Network,
        ErrorKind::Io,
        ErrorKind::Untrusted,
        ErrorKind::Corrupt,
        ErrorKind::Findings,
        ErrorKind::Cancelled,
    ];
    let table = listed("errors");
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), kinds.len(), "{table}");
    for kind in kinds {
        let row = format!("| {} | `{}` | ", kind.exit_code(), kind.word());
        assert!(
            rows.iter().any(|line| line.starts_with(&row)),
            "{row}… is missing"
        );
    }
}
