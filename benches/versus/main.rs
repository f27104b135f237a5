//! flatbake beside what a user would otherwise run, on the same data, in one run.
//!
//! ```text
//! cargo bench --bench versus                      # all rows: 2 GiB of allocated data, 3 rounds
//! cargo bench --bench versus -- qcow2 gz          # rows whose name contains one of these words
//! cargo bench --bench versus -- --list
//! FLATBAKE_BENCH_MIB=512 FLATBAKE_BENCH_ROUNDS=5 cargo bench --bench versus
//! FLATBAKE_BENCH_EARLIER=old/flatbake cargo bench --bench versus   # beside an earlier flatbake instead
//! ```
//!
//! The disk has Flatcar's size of 8,064 MiB and holds real programs and documents of this machine, half of them as files
//! in ROOT: real content is what is measured, so figures compare within one run and not between machines. No test uses
//! it; what tests work on is the same everywhere (`tests/common/content.rs`). Both sides alternate (A B A B …); the table gives medians of CPU seconds (user + system) and wall seconds, the
//! ratio of flatbake to the usual tool, how much of all cores was used, the peak memory of the largest process, and the
//! size of the output. Rows with bars say whether flatbake stays below them; the bars are meant for two cores that have
//! nothing else to do.
//!
//! A row whose tools are missing is skipped. All need sgdisk, mke2fs, lbzip2 and GNU time (`/usr/bin/time`).
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod disk;
mod measure;
mod rows;
mod steps;
mod sysexts;
mod walks;

use std::path::Path;

use measure::{Cost, measure, missing, shell};
use rows::{Bars, Row};

/// What flatbake may use of memory besides a chunk for each thread, in MiB.
const PEAK_MIB: f64 = 64.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, image, source] = arguments.as_slice()
        && name.starts_with("step-")
    {
        return steps::step(name, Path::new(image), Path::new(source));
    }
    // `cargo test --benches` and the like only ask whether this builds and starts.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let words: Vec<&str> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .map(String::as_str)
        .collect();
    let wanted = |row: &Row| words.is_empty() || words.iter().any(|word| row.name.contains(word));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let image = dir.path().join("disk.raw");
    let mut rows = rows::rows(dir.path(), &image, cores);
    rows.extend(steps::rows(dir.path()));
    rows.extend(sysexts::rows(dir.path()));
    rows.extend(walks::rows(dir.path()));
    if arguments.iter().any(|argument| argument == "--list") {
        return rows.iter().for_each(|row| println!("{}", row.name));
    }
    rows.retain(wanted);
    if let Ok(earlier) = std::env::var("FLATBAKE_BENCH_EARLIER") {
        rows = rows
            .into_iter()
            .filter_map(|row| row.beside(&earlier))
            .collect();
    }
    let lacking = missing(&["sgdisk", "mke2fs", "lbzip2", "/usr/bin/time"]);
    if !lacking.is_empty() {
        return println!("skipped: {} not installed", lacking.join(", "));
    }
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let mib = number("FLATBAKE_BENCH_MIB", 2048);
    let rounds = number("FLATBAKE_BENCH_ROUNDS", 3).max(1);
    let is_sysext = |row: &Row| row.name.starts_with("sysext");
    let is_walk = |row: &Row| row.name.starts_with("walk");
    if !rows.iter().all(|row| is_sysext(row) || is_walk(row)) {
        disk::make(dir.path(), mib);
        let allocated = shell(&format!("du -m {} | cut -f1", image.display()));
        println!(
            "disk of {} MiB, {} MiB allocated",
            disk::DISK_MIB,
            allocated.trim()
        );
    }
    if rows.iter().any(|row| row.name.starts_with("edit")) {
        steps::prepare(dir.path());
    }
    if rows.iter().any(is_sysext) {
        sysexts::prepare(dir.path());
    }
    if rows.iter().any(is_walk) {
        walks::prepare(dir.path());
    }
    println!("{rounds} rounds, medians, {cores} cores");
    println!(
        "{:<34}{:^26}{:^26}{:^12}{:^18}{:^22}",
        "", "cpu s", "wall s", "cores used", "peak MiB", "output MB"
    );
    println!(
        "{:<34}{}{}{:>6}{:>6}{:>9}{:>9}{}  bars",
        "usual / flatbake",
        columns(),
        columns(),
        "us.",
        "fl.",
        "usual",
        "flatb.",
        columns()
    );
    for row in &rows {
        compare(row, rounds, cores, dir.path());
    }
}

fn columns() -> String {
    format!("{:>9}{:>9}{:>7}", "usual", "flatb.", "ratio")
}

fn compare(row: &Row, rounds: u64, cores: usize, dir: &Path) {
    let lacking = missing(row.tools);
    if !lacking.is_empty() {
        return println!(
            "{:<34}skipped: {} not installed",
            row.name,
            lacking.join(", ")
        );
    }
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        shell(&row.prepare);
        costs[0].push(measure(&row.usual.0, dir));
        costs[1].push(measure(&row.flatbake.0, dir));
    }
    let [usual, ours] = costs.map(|runs| Cost::median(&runs));
    let megabytes = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / 1e6;
    let usual_size = megabytes(&row.usual.1);
    let our_size = megabytes(&row.flatbake.1);
    let three = |usual: f64, ours: f64| format!("{usual:>9.2}{ours:>9.2}{:>7.2}", ours / usual);
    println!(
        "{:<34}{}{}{:>6.2}{:>6.2}{:>9.1}{:>9.1}{}  {}",
        row.name,
        three(usual.cpu, ours.cpu),
        three(usual.wall, ours.wall),
        usual.utilisation(cores),
        ours.utilisation(cores),
        usual.peak_mib,
        ours.peak_mib,
        three(usual_size, our_size),
        verdict(&row.bars, &usual, &ours, our_size / usual_size, cores)
    );
}

/// Every bar, and whether flatbake stays below it.
fn verdict(bars: &Bars, usual: &Cost, ours: &Cost, size: f64, cores: usize) -> String {
    let peak = bars
        .peak_per_thread
        .map(|chunk| PEAK_MIB + chunk * cores as f64);
    let all = [
        ("cpu", bars.cpu, ours.cpu / usual.cpu),
        ("wall", bars.wall, ours.wall / usual.wall),
        ("size", bars.size, size),
        ("peak", peak, ours.peak_mib),
    ];
    let said = all.iter().filter_map(|(name, bar, value)| {
        let bar = (*bar)?;
        Some(format!(
            "{name} {} {bar:.2}",
            if *value <= bar { "pass" } else { "MISS" }
        ))
    });
    said.collect::<Vec<_>>().join(", ")
}
