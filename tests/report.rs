//! `flatbake report`: pages for browsers.
//!
//! A page is well-formed XML, so an XML parser reads what it says. What a browser makes of it is looked at in one.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roxmltree::{Document, ParsingOptions};
use serde_json::Value;

use crate::common::programs::{feed, flatbake, judges, must_run, raw_sample, said, success};
use crate::common::scratch_dir;

/// Names that are markup, and one that is a request.
const ODD: &str = "<img src=\"http://127.0.0.1:1/x\">&amp;";
const SECRET: &str = "$6$rounds=4096$do-not-show$me";

/// The page that `flatbake report` with `arguments` writes in `dir`.
fn page(dir: &Path, arguments: &[&str]) -> String {
    let out = dir.join("page.html");
    let mut command = flatbake();
    command.current_dir(dir).arg("report").args(arguments);
    success(command.arg("--overwrite").arg("-o").arg(&out));
    let text = fs::read_to_string(out).unwrap();
    parsed(&text);
    text
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap()
}

/// The text of a page as it is read.
fn read(page: &str) -> String {
    let document = parsed(page);
    let texts = document.descendants().filter_map(|node| node.text());
    texts.collect::<Vec<_>>().join("\n")
}

/// An image with a sysext, a store of container images, a config that holds a secret, and an odd name.
fn baked(dir: &Path, report: &str) -> Value {
    let config = format!(
        r#"{{"ignition":{{"version":"3.3.0"}},"passwd":{{"users":[{{"name":"jo","passwordHash":"{SECRET}"}}]}},
            "storage":{{"files":[{{"path":"/etc/token","contents":{{"source":"data:,s3cret"}}}}]}}}}"#
    );
    fs::write(dir.join("config.ign"), config).unwrap();
    fs::create_dir_all(dir.join("tree")).unwrap();
    fs::write(
        dir.join("tree").join(ODD.replace('/', "_")),
        vec![7; 50_000],
    )
    .unwrap();
    let images = r#"{"Repositories":{"nginx":{"nginx:1.27":"sha256:0123"}}}"#;
    fs::write(dir.join("repositories.json"), images).unwrap();
    let hello = format!("{}/testdata/sample/hello.raw", env!("CARGO_MANIFEST_DIR"));
    let mut command = flatbake();
    command
        .current_dir(dir)
        .args([
            "bake",
            "-o",
            "node.img",
            "--overwrite",
            "--sha256",
            "--json",
        ])
        .args([
            "--config-ign",
            "config.ign",
            "--root-file",
            "tree:/srv/tree",
        ])
        .args([
            "--root-file",
            "repositories.json:/var/lib/docker/image/overlay2/repositories.json",
        ])
        .arg(format!("hello:{hello}"))
        .arg("--image")
        .arg(raw_sample());
    let output = success(&mut command);
    fs::write(dir.join(report), &output.stdout).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_page_tells_what_an_image_is_and_hides_what_configs_hold() {
    let dir = scratch_dir();
    let dir = dir.path();
    let report = baked(dir, "bake.json");
    let text = page(dir, &["node.img"]);
    let read = read(&text);
    let digest = report["outputs"][0]["files"][0]["sha256"].as_str().unwrap();
    let inside = [
        digest,
        "EFI-SYSTEM",
        "extensions/hello.raw",
        "nginx:1.27",
        "sha256:0123",
        "jo",
        "/etc/token",
        "oem:/config.ign",
        "Ignition runs at the next boot",
        &ODD.replace('/', "_"),
    ];
    for part in inside {
        assert!(read.contains(part), "{part} is not in the page");
    }
    for secret in [SECRET, "s3cret", "<img"] {
        assert!(!text.contains(secret), "{secret} is in the page");
    }
    // As `inspect`, `du` and `check` tell it.
    let json = |arguments: &[&str]| -> Value {
        let output = flatbake()
            .current_dir(dir)
            .args(arguments)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let inspected = json(&["inspect", "node.img", "--json"]);
    for partition in inspected["partitions"].as_array().unwrap() {
        assert!(read.contains(partition["guid"].as_str().unwrap()));
    }
    let checked = json(&["check", "node.img", "--json"]);
    for symptom in checked["symptoms"].as_array().unwrap() {
        assert!(
            read.contains(symptom["code"].as_str().unwrap()),
            "{symptom}"
        );
    }
    let version = inspected["release"]["version"].as_str().unwrap();
    assert!(read.contains(version));
    // The drawing has a rectangle for each partition at least, and the tree one for the file.
    let document = parsed(&text);
    let drawn = document
        .descendants()
        .filter(|node| node.has_tag_name("rect"));
    assert!(drawn.count() > inspected["partitions"].as_array().unwrap().len());
}

#[test]
fn the_same_image_gives_the_same_page() {
    let dir = scratch_dir();
    let dir = dir.path();
    baked(dir, "bake.json");
    let one = page(dir, &["node.img", "--threads", "1"]);
    assert_eq!(page(dir, &["node.img", "--threads", "7"]), one);
    let piped = flatbake()
        .current_dir(dir)
        .args(["report", "node.img", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), one);
}

#[test]
fn before_and_after_are_those_of_diff() {
    let dir = scratch_dir();
    let dir = dir.path();
    baked(dir, "bake.json");
    let base = raw_sample();
    let base = base.to_str().unwrap();
    let text = page(dir, &["node.img", "--before", base]);
    let read = read(&text);
    let differs = flatbake()
        .current_dir(dir)
        .args(["diff", base, "node.img", "--json"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&differs.stdout).unwrap();
    let mut entries = 0;
    for partition in document["disk"]["partitions"].as_array().unwrap() {
        for entry in partition["files"]["entries"].as_array().unwrap() {
            assert!(read.contains(entry["path"].as_str().unwrap()), "{entry}");
            entries += 1;
        }
    }
    assert!(entries > 5);
    assert!(read.contains("container image nginx:1.27"));
    assert!(read.contains("more than before"));
    let same = page(dir, &["node.img", "--before", "node.img"]);
    assert!(same.contains("Nothing differs from node.img."));
}

#[test]
fn a_report_of_a_bake_is_shown_with_all_it_tells() {
    let dir = scratch_dir();
    let dir = dir.path();
    let report = baked(dir, "bake.json");
    let text = page(dir, &["bake.json"]);
    let read = read(&text);
    assert!(!text.contains("<img"));
    for change in report["shared"]["changes"].as_array().unwrap() {
        let partition = change["partition"].as_str().unwrap();
        let path = change["path"].as_str().unwrap();
        assert!(read.contains(&format!("{partition}:{path}")), "{change}");
    }
    for input in report["inputs"].as_array().unwrap() {
        assert!(read.contains(input["path"].as_str().unwrap()));
        assert!(read.contains(input["sha256"].as_str().unwrap()));
    }
    for finding in report["shared"]["findings"].as_array().unwrap() {
        assert!(
            read.contains(finding["message"].as_str().unwrap()),
            "{finding}"
        );
    }
    let file = &report["outputs"][0]["files"][0];
    assert!(read.contains(file["sha256"].as_str().unwrap()));
    assert!(read.contains("What was added"));
    assert!(!read.contains("Nothing was written"));
    // What would be done is told as that.
    let plan = success(
        flatbake()
            .current_dir(dir)
            .args([
                "plan",
                "-o",
                "other.img",
                "--hostname",
                "n1",
                "--json",
                "--image",
            ])
            .arg(raw_sample()),
    );
    fs::write(dir.join("plan.json"), plan.stdout).unwrap();
    let text = page(dir, &["plan.json"]);
    assert!(text.contains("Nothing was written: this is what would be."));
}

#[test]
fn what_cannot_be_shown_is_refused_and_nothing_is_lost() {
    let dir = scratch_dir();
    let dir = dir.path();
    baked(dir, "bake.json");
    fs::write(dir.join("other.json"), "{\"a\": 1}").unwrap();
    fs::write(dir.join("there.html"), "mine").unwrap();
    let refused: [(&[&str], i32, &str); 6] = [
        (&["node.img", "-o", "there.html"], 2, "--overwrite"),
        (
            &["node.img", "-o", "node.img", "--overwrite"],
            2,
            "node.img",
        ),
        (
            &["bake.json", "-o", "bake.json", "--overwrite"],
            2,
            "bake.json",
        ),
        (&["other.json", "-o", "x.html"], 2, "no report of a bake"),
        (
            &["bake.json", "--before", "node.img", "-o", "x.html"],
            2,
            "--before",
        ),
        (&["missing.img", "-o", "x.html"], 2, "missing.img"),
    ];
    let before = fs::read(dir.join("node.img")).unwrap();
    for (arguments, code, part) in refused {
        let mut command = flatbake();
        let output = command
            .current_dir(dir)
            .arg("report")
            .args(arguments)
            .output()
            .unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read(dir.join("there.html")).unwrap(), b"mine");
    assert!(fs::read(dir.join("node.img")).unwrap() == before);
    assert!(!dir.join("x.html").exists());
    // An image on standard input has no file whose digest could be told.
    let mut command = flatbake();
    command.args(["report", "-", "-o", "-", "--no-cache"]);
    let output = feed(&mut command, &before);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("EFI-SYSTEM")
    );
}

#[test]
fn damaged_images_and_reports_give_a_page_or_an_error() {
    let dir = scratch_dir();
    let dir = dir.path();
    baked(dir, "bake.json");
    let report = fs::read(dir.join("bake.json")).unwrap();
    let image = fs::read(dir.join("node.img")).unwrap();
    let mut seed = 11_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for round in 0..12 {
        let (name, mut bytes) = match round % 2 {
            0 => ("broken.json", report.clone()),
            _ => ("broken.img", image.clone()),
        };
        for _ in 0..40 {
            let end = if round % 4 == 1 { 40_000 } else { bytes.len() };
            let at = random(end.min(bytes.len()));
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        fs::write(dir.join(name), bytes).unwrap();
        let output = flatbake()
            .current_dir(dir)
            .args(["report", name, "-o", "-", "--no-cache"])
            .output()
            .unwrap();
        match output.status.code() {
            Some(0) => drop(parsed(&String::from_utf8(output.stdout).unwrap())),
            Some(2 | 3 | 8) => {}
            other => panic!("{name}: {other:?}: {}", said(&output)),
        }
    }
}

/// Shows a page in a browser and looks at it: the picture, and whether it asked for anything.
fn picture(dir: &Path, page: &str, name: &str) -> Vec<u8> {
    let file = dir.join(name).with_extension("html");
    fs::write(&file, page).unwrap();
    let png = dir.join(name).with_extension("png");
    let profile = tempfile::tempdir_in(dir).unwrap();
    must_run(
        "chromium",
        [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1200,1600",
            &format!("--user-data-dir={}", profile.path().display()),
            &format!("--screenshot={}", png.display()),
            &format!("file://{}", file.display()),
        ],
    );
    fs::read(png).unwrap()
}

/// The share of lines of a PNG that differ from the line above, and how many values its bytes have.
fn seen(png: &[u8]) -> (f64, usize) {
    assert!(png.starts_with(b"\x89PNG"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    let (width, height, colors) = (number(16), number(20), png[25]);
    let channels = if colors == 6 { 4 } else { 3 };
    let mut data = Vec::new();
    let mut at = 8;
    while at + 8 < png.len() {
        let len = usize::try_from(number(at)).unwrap();
        if &png[at + 4..at + 8] == b"IDAT" {
            data.extend_from_slice(&png[at + 8..at + 8 + len]);
        }
        at += len + 12;
    }
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&data[..])
        .read_to_end(&mut pixels)
        .unwrap();
    let line = usize::try_from(width).unwrap() * channels + 1;
    assert_eq!(pixels.len(), line * usize::try_from(height).unwrap());
    let lines = unfiltered(&pixels, line, channels);
    let differ = lines.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let values: std::collections::BTreeSet<[u8; 3]> = lines
        .iter()
        .flat_map(|line| {
            line.chunks(channels)
                .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        })
        .collect();
    (differ as f64 / lines.len() as f64, values.len())
}

/// The lines of pixels as they are (PNG specification, filter types 0 to 4).
fn unfiltered(data: &[u8], line: usize, channels: usize) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for filtered in data.chunks(line) {
        let mut bytes = filtered[1..].to_vec();
        for at in 0..bytes.len() {
            let above = lines.last();
            let a = at.checked_sub(channels).map_or(0, |left| bytes[left]);
            let b = above.map_or(0, |above| above[at]);
            let c = at
                .checked_sub(channels)
                .and_then(|left| above.map(|above| above[left]))
                .unwrap_or(0);
            let predicted = match filtered[0] {
                0 => 0,
                1 => a,
                2 => b,
                3 => u8::midpoint(a, b),
                _ => {
                    let (a, b, c) = (i16::from(a), i16::from(b), i16::from(c));
                    let distances = [(b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs()];
                    let nearest = distances.iter().min().unwrap();
                    let which = distances.iter().position(|distance| distance == nearest);
                    u8::try_from([a, b, c][which.unwrap()]).unwrap()
                }
            };
            bytes[at] = bytes[at].wrapping_add(predicted);
        }
        lines.push(bytes);
    }
    lines
}

#[test]
fn a_browser_shows_the_page_and_asks_nobody_for_anything() {
    if !judges(&["chromium"]) {
        return;
    }
    let dir = scratch_dir();
    let dir = dir.path();
    baked(dir, "bake.json");
    // A server that counts who asks.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in server.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let odd = ODD.replace("127.0.0.1:1", &address.to_string());
    let image = page(dir, &["node.img"]);
    let bake = page(dir, &["bake.json"]).replace("bake.json", &odd);
    for (name, text) in [("image", &image), ("bake", &bake)] {
        let (differ, values) = seen(&picture(dir, text, name));
        assert!(differ > 0.2 && values > 40, "{name}: {differ} {values}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // Even markup that got into the page would not be allowed to ask.
    let into = |page: &str, markup: &str| page.replacen("<footer", &format!("{markup}<footer"), 1);
    let request = format!("<img src=\"http://{address}/x\"/>");
    picture(dir, &into(&image, &request), "guarded");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // Without the policy it would have asked, and an empty page is seen to be empty.
    let open = format!("<!DOCTYPE html><html><body>{request}</body></html>");
    let (differ, _) = seen(&picture(dir, &open, "open"));
    assert!(
        asked.load(Ordering::SeqCst) > 0,
        "the server is asked by a page without the policy"
    );
    assert!(differ < 0.2, "a page with hardly anything: {differ}");
}
