//! Recipes that are wrong, archives that are not those that a recipe knows, and requests that make no sense.

use flatbake::ErrorKind;
use flatbake::block::BlockDevice;
use flatbake::sysext::{Choice, Recipe};

use super::{Place, content};
use crate::common::longer;
use crate::common::random::Random;
use crate::common::recipes::{gzip, program, tailscale, tar};

const GOOD: &str = "\
name: tool
summary: A tool
facts: [the test]
version: {example: 1.2.3, prefix: v}
arch: {amd64: x64}
parts: [one, two]
downloads:
  - name: tool
    url: https://host.example/{version}/{arch}/tool.tgz
    digests: https://host.example/{number}/{goarch}.txt
    sha256: {1.2.4: {amd64: DIGEST}}
    take:
      - {from: tool-*/bin/*, to: /usr/bin/, mode: 0755}
      - {from: tool-*/share, to: /usr/share/tool}
      - {from: tool-*/extra, to: /usr/share/extra, optional: true, part: one}
files:
  - {path: /usr/lib/systemd/system/tool.service, content: \"[Service]\\nExecStart=/usr/bin/tool\\n\", part: one}
links:
  - {path: /usr/bin/other, target: tool}
enable:
  - {name: tool.service, part: one}
";

fn good() -> String {
    GOOD.replace("DIGEST", &"ab".repeat(32))
}

fn choice(version: &str) -> Choice {
    Choice {
        version: Some(version.to_owned()),
        architecture: "x86-64".to_owned(),
        ..Choice::default()
    }
}

#[test]
fn what_is_wrong_in_a_recipe_is_told_with_its_place() {
    assert!(Recipe::parse(&good(), "r.yaml").is_ok());
    for (from, to, place, says) in [
        (
            "summary:",
            "sumary:",
            "r.yaml:2:1",
            "did you mean 'summary'",
        ),
        (
            "facts: [the test]\n",
            "",
            "r.yaml:1:1",
            "'facts' is missing",
        ),
        (
            "name: tool\nsummary",
            "name: a/b\nsummary",
            "r.yaml:1:7",
            "cannot be the name",
        ),
        (
            "{amd64: x64}",
            "{x86: x64}",
            "r.yaml:5:7",
            "not an architecture",
        ),
        (
            "{version}/{arch}",
            "{release}/{arch}",
            "r.yaml:8:5",
            "'{release}' is not one of",
        ),
        (
            "https://host.example/{version}",
            "host.example/{version}",
            "r.yaml:8:5",
            "not a URL",
        ),
        ("abab}", "ab}", "r.yaml:8:5", "not a SHA-256"),
        (
            "to: /usr/bin/,",
            "to: /etc/x/,",
            "r.yaml:13:9",
            "below /usr or /opt",
        ),
        (
            "to: /usr/share/tool}",
            "to: /usr/../etc}",
            "r.yaml:14:9",
            "below /usr or /opt",
        ),
        (
            "from: tool-*/share",
            "from: /tool",
            "r.yaml:14:9",
            "not a path in an archive",
        ),
        (
            "from: tool-*/share",
            "from: ../x",
            "r.yaml:14:9",
            "not a path in an archive",
        ),
        ("mode: 0755", "mode: 0955", "r.yaml:13:9", "not a mode"),
        (
            "part: one}\nfiles",
            "part: three}\nfiles",
            "r.yaml:15:9",
            "the parts are one, two",
        ),
        (
            "from: tool-*/share, ",
            "",
            "r.yaml:8:5",
            "can be taken once",
        ),
        (
            "path: /usr/bin/other",
            "path: usr/bin/other",
            "r.yaml:19:5",
            "below /usr or /opt",
        ),
        (
            "downloads:\n",
            "downloads: []\nrest:\n",
            "r.yaml:8:1",
            "unknown key",
        ),
    ] {
        let text = good();
        assert!(text.contains(from), "{from}");
        let error = Recipe::parse(&text.replace(from, to), "r.yaml").unwrap_err();
        let said = format!("{error}\n{}", error.hint().unwrap_or_default());
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{to}: {said}");
        assert!(said.contains(place) && said.contains(says), "{to}: {said}");
    }
}

#[test]
fn a_version_fills_the_urls_and_chooses_the_digest() {
    use flatbake::sysext::Digest;
    let recipe = Recipe::parse(&good(), "r.yaml").unwrap();
    let nothing = std::collections::BTreeSet::new();
    for version in ["1.2.3", "v1.2.3"] {
        let chosen = recipe.choose(&choice(version)).unwrap();
        let downloads = chosen.downloads(&nothing).unwrap();
        assert_eq!(downloads[0].url, "https://host.example/v1.2.3/x64/tool.tgz");
        let list = "https://host.example/1.2.3/amd64.txt".to_owned();
        assert_eq!(downloads[0].digest, Digest::Listed(list));
    }
    let chosen = recipe.choose(&choice("1.2.4")).unwrap();
    let known = Digest::Known("ab".repeat(32));
    assert_eq!(chosen.downloads(&nothing).unwrap()[0].digest, known);
    let arm = Choice {
        architecture: "arm64".to_owned(),
        ..choice("1.2.3")
    };
    let error = recipe
        .choose(&arm)
        .unwrap()
        .downloads(&nothing)
        .unwrap_err();
    assert!(
        error.to_string().contains("not published for arm64"),
        "{error}"
    );
    for bad in ["../1", "1/2", "", "1 2"] {
        assert!(recipe.choose(&choice(bad)).is_err(), "{bad}");
    }
    let only = Choice {
        only: vec!["three".to_owned()],
        ..choice("1.2.3")
    };
    let error = recipe.choose(&only).unwrap_err();
    let says = "its parts are one, two";
    assert!(error.hint().unwrap().contains(says), "{error:?}");
}

#[test]
fn versions_choose_among_downloads_of_one_name() {
    let text = "name: t\nsummary: s\nfacts: []\nversion: {example: 1}\ndownloads:\n\
                - {name: a, url: \"https://h.example/old\", before: 0.14.0, take: [{to: /usr/bin/a}]}\n\
                - {name: a, url: \"https://h.example/new\", since: 0.14.0, take: [{to: /usr/bin/a}]}\n";
    let recipe = Recipe::parse(text, "r.yaml").unwrap();
    let only_old = Recipe::parse(&text.replace("since: 0.14.0", "since: 2.0"), "r.yaml").unwrap();
    let error = only_old.choose(&choice("1.0")).unwrap_err();
    assert!(
        error.to_string().contains("no a for version 1.0"),
        "{error}"
    );
    for (version, url) in [
        ("0.9.0", "old"),
        ("0.13.9", "old"),
        ("v0.14.0", "new"),
        ("1.0", "new"),
        ("0.14.0-rc1", "new"),
    ] {
        let chosen = recipe.choose(&choice(version)).unwrap();
        let downloads = chosen
            .downloads(&std::collections::BTreeSet::new())
            .unwrap();
        assert_eq!(
            downloads[0].url,
            format!("https://h.example/{url}"),
            "{version}"
        );
    }
}

#[test]
fn archives_that_a_recipe_does_not_know_are_refused() {
    let place = Place::new();
    place.put("r.yaml", good().as_bytes());
    let build = |more: &[&'static str]| {
        [
            &[
                "sysext", "recipe", "r.yaml", "--from", "a.tgz", "-o", "out.raw",
            ][..],
            more,
        ]
        .concat()
    };
    let files = |extra: &[(&'static str, u32, Vec<u8>)]| {
        let mut all = vec![
            ("tool-1/bin/tool", 0o644, program(1)),
            ("tool-1/share/doc", 0o600, b"doc".to_vec()),
        ];
        all.extend_from_slice(extra);
        gzip(&tar(&all))
    };
    place.put("a.tgz", &files(&[("tool-1/extra", 0o644, b"x".to_vec())]));
    place.succeeds(&build(&[]));
    let image = place.path("out.raw");
    assert_eq!(content(&image, "/usr/share/tool/doc"), "doc");
    assert_eq!(content(&image, "/usr/share/extra"), "x");
    std::fs::remove_file(image).unwrap();
    place.succeeds(&build(&["--only", "two"]));
    assert!(!super::listing(&place.path("out.raw")).contains("tool.service"));
    std::fs::remove_file(place.path("out.raw")).unwrap();

    place.put(
        "a.tgz",
        &gzip(&tar(&[("tool-1/bin/tool", 0o755, program(1))])),
    );
    place.fails(
        &build(&[]),
        2,
        &["r.yaml:14:9", "the archive has no tool-*/share"],
    );
    place.put("a.tgz", &files(&[("tool-2/share/doc", 0o644, Vec::new())]));
    place.fails(
        &build(&[]),
        2,
        &["2 entries of the archive fit tool-*/share"],
    );
    place.put("a.tgz", &files(&[("tool-1/bin/other", 0o755, program(2))]));
    place.fails(&build(&[]), 2, &["/usr/bin/other is there already"]);
    place.put("a.tgz", &files(&[("tool-2/bin/tool", 0o755, program(2))]));
    place.fails(&build(&[]), 2, &["/usr/bin/tool is there already"]);
    place.put(
        "a.tgz",
        b"PK\x03\x04 this is a zip and nothing that is read here",
    );
    place.fails(&build(&[]), 3, &["a.tgz", "zip"]);
    // A link that leads to where the extension is put together.
    let mut layout = flatbake::archive::tar::TarLayout::new(0);
    layout.symlink("tool-1/way", "/").unwrap();
    let evil = "tool-1/way/usr/bin/evil";
    layout.file(evil, 0o755, program(1)).unwrap();
    let archive = layout.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
    archive.read_at(0, &mut bytes).unwrap();
    place.put("a.tgz", &bytes);
    place.fails(&build(&[]), 2, &["a link in an archive leads out of it"]);
    place.put("t.tgz", &tailscale());
    place.fails(
        &[
            "sysext", "recipe", "docker", "--from", "t.tgz", "-o", "out.raw",
        ],
        2,
        &["the archive has no docker/"],
    );
    assert!(!place.path("out.raw").exists());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let place = Place::new();
    place.put("docker-28.0.4.tgz", b"");
    let recipe = |more: &[&'static str]| [&["sysext", "recipe"][..], more].concat();
    for (arguments, says) in [
        (&["tailscael", "-o", "x.raw"][..], "did you mean tailscale?"),
        (&["docker", "-o", "x.raw"], "--version"),
        (
            &["docker", "-o", ".", "--from", "docker-28.0.4.tgz"],
            "named after its version",
        ),
        (
            &["docker", "-o", "x.raw", "--version", "1", "--version", "2"],
            "given twice",
        ),
        (
            &["docker", "-o", "x.raw", "--version", "docker=1"],
            "no download called 'docker'",
        ),
        (
            &[
                "docker",
                "-o",
                "x.raw",
                "--only",
                "podman",
                "--version",
                "1",
            ],
            "its parts are docker, containerd",
        ),
        (&["docker", "--list", "--print"], "cannot be used with"),
        (
            &[
                "docker",
                "-o",
                "x.raw",
                "--version",
                "1",
                "--keyring",
                "keys.asc",
            ],
            "no key is asked",
        ),
    ] {
        place.fails(&recipe(arguments), 2, &[says]);
    }
    assert!(place.succeeds(&recipe(&["--list"])).contains("tailscale"));
    let printed = place.succeeds(&recipe(&["docker", "--print"]));
    assert!(Recipe::parse(&printed, "printed").is_ok());
}

#[test]
fn changed_recipes_are_read_or_refused() {
    let text = good();
    for seed in 0..longer(300) {
        let mut random = Random::new(seed);
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = random.bytes(1)[0] & 0x7f,
                _ => bytes.insert(at, b"{}[]:-\n */."[random.below(11)]),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        if let Ok(recipe) = Recipe::parse(&text, "r.yaml")
            && let Ok(chosen) = recipe.choose(&choice("1.2.3"))
        {
            let _ = chosen.downloads(&std::collections::BTreeSet::new());
        }
    }
}

#[test]
fn what_the_document_shows_is_read() {
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let document = std::fs::read_to_string(document).unwrap();
    let blocks: Vec<&str> = document
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [recipe, list] = blocks.as_slice() else {
        panic!("a recipe and a list");
    };
    let recipe = Recipe::parse(recipe, "recipes.md").unwrap();
    assert!(recipe.choose(&choice("1.0")).is_ok());
    let list = flatbake::flatcar::sysext::publish::List::parse(list, "recipes.md").unwrap();
    assert_eq!(list.entries.len(), 2 * 2 + 1 + 2 + 1);
}

#[test]
fn every_recipe_is_described() {
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let document = std::fs::read_to_string(document).unwrap();
    for name in flatbake::sysext::recipe_names() {
        assert!(document.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}
