//! A page that shows a report to people.

use super::report::{
    ChangeReport, ErrorReport, FindingReport, InputReport, OutputReport, PlanReport, Report,
};
use crate::bytes::ByteSize;
use crate::flatcar::page::exact;
use crate::flatcar::page::html::{Cell, Html};
use crate::flatcar::page::map::{self, Fill};
use crate::flatcar::page::room::{self, Branch};

/// Names of a path, that of the partition being the first, whose sizes are shown.
const NAMES_MAX: usize = 6;

/// The page of what a run wrote, or would write.
pub fn report_page(report: &Report) -> String {
    let mut html = Html::new();
    let title = match &report.base.release {
        Some(release) => format!("Bake of Flatcar {release}"),
        None => format!("Bake of {}", report.base.name),
    };
    html.line("h1", "", &title);
    if report.dry_run {
        html.line(
            "p",
            "warning",
            "Nothing was written: this is what would be.",
        );
    }
    let base = &report.base;
    html.facts(&[
        ("base", Some(base.name.clone())),
        (
            "format",
            Some(compressed(&base.format, base.compression.as_ref())),
        ),
        ("disk", Some(exact(base.disk_bytes))),
        ("architecture", base.architecture.clone()),
        (
            "time of what is new",
            Some(format!("{} s after 1970-01-01", report.timestamp)),
        ),
        (
            "seed",
            Some(report.seed.clone()).filter(|seed| !seed.is_empty()),
        ),
    ]);
    findings(&mut html, "Findings", &report.findings);
    html.section("What was written", |html| outputs(html, &report.outputs));
    plan(&mut html, "Changes of everything", &report.shared);
    for variant in &report.variants {
        plan(
            &mut html,
            &format!("Variant {}", variant.name),
            &variant.plan,
        );
    }
    for output in &report.outputs {
        let is_empty = output.plan.changes.is_empty()
            && output.plan.findings.is_empty()
            && output.plan.resize.is_none();
        if !is_empty {
            plan(
                &mut html,
                &format!("Changes of {}", name(output)),
                &output.plan,
            );
        }
    }
    html.section("What was read", |html| inputs(html, &report.inputs));
    html.page(&title)
}

fn compressed(format: &str, compression: Option<&String>) -> String {
    match compression {
        Some(compression) => format!("{format}, compressed with {compression}"),
        None => format.to_owned(),
    }
}

/// What messages call a result.
fn name(output: &OutputReport) -> String {
    let parts: Vec<&str> = [&output.variant, &output.vendor]
        .into_iter()
        .filter_map(|part| part.as_deref())
        .collect();
    match (parts.is_empty(), output.files.first()) {
        (false, _) => parts.join(" for "),
        (true, Some(file)) => file.path.clone(),
        (true, None) => "the image".to_owned(),
    }
}

fn outputs(html: &mut Html, outputs: &[OutputReport]) {
    let mut rows = Vec::new();
    for output in outputs {
        for file in &output.files {
            let format = file.format.as_deref().unwrap_or_default();
            let size = file.bytes.map(|bytes| ByteSize(bytes).to_string());
            rows.push(vec![
                Cell::code(file.path.clone()),
                Cell::text(output.vendor.clone().unwrap_or_default()),
                Cell::text(compressed(format, file.compression.as_ref())),
                Cell::text(size.unwrap_or_default()),
                Cell::text(ByteSize(output.disk_bytes).to_string()),
                Cell::code(file.sha256.clone().unwrap_or_default()),
            ]);
        }
        if let Some(error) = &output.error {
            failure(html, &name(output), error);
        }
    }
    table(
        html,
        &["file", "vendor", "format", "#size", "#disk", "SHA-256"],
        &rows,
    );
}

fn failure(html: &mut Html, name: &str, error: &ErrorReport) {
    html.element("p", &[("class", &"error")], |html| {
        let place: Vec<&str> = error.place.iter().map(String::as_str).collect();
        html.text(format_args!("{name} failed: "));
        if !place.is_empty() {
            html.text(format_args!("{}: ", place.join(": ")));
        }
        html.text(&error.message);
        for cause in &error.causes {
            html.text(format_args!(": {cause}"));
        }
        if let Some(hint) = &error.hint {
            html.text(format_args!(" (hint: {hint})"));
        }
    });
}

fn plan(html: &mut Html, heading: &str, plan: &PlanReport) {
    html.section(heading, |html| {
        if let Some(resize) = &plan.resize {
            html.line(
                "p",
                "",
                format_args!(
                    "ROOT grew from {} to {}, the disk to {}.",
                    ByteSize(resize.root_bytes_before),
                    ByteSize(resize.root_bytes),
                    ByteSize(resize.disk_bytes)
                ),
            );
        }
        for space in &plan.space {
            let used = |free: u64| space.total_bytes.saturating_sub(free);
            let fill = Fill {
                total_bytes: space.total_bytes,
                used_bytes: used(space.free_bytes),
                used_before: Some(used(space.free_bytes_before)),
            };
            map::fill(
                html,
                &format!("{} ({})", space.partition, space.filesystem),
                fill,
            );
        }
        if let Some(top) = added(&plan.changes) {
            room::tree(html, "What was added", &top);
        }
        changes(html, &plan.changes);
        finding_table(html, &plan.findings);
    });
}

/// The content that changes bring, by where they put it; `None` where they bring none.
fn added(changes: &[ChangeReport]) -> Option<Branch> {
    let mut top = Branch::default();
    "added".clone_into(&mut top.name);
    let mut places: Vec<(Vec<&str>, &ChangeReport)> = changes
        .iter()
        .filter(|change| change.bytes > 0)
        .map(|change| {
            let names = change.path.split('/').filter(|name| !name.is_empty());
            let names = std::iter::once(change.partition.as_str()).chain(names);
            (names.take(NAMES_MAX).collect(), change)
        })
        .collect();
    places.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (names, change) in &places {
        add(&mut top, names, change);
    }
    sort(&mut top);
    (top.bytes > 0).then_some(top)
}

/// Adds a change to every folder on the way to it. Changes come in the order of their names.
fn add(top: &mut Branch, names: &[&str], change: &ChangeReport) {
    let count = |branch: &mut Branch| {
        branch.bytes = branch.bytes.saturating_add(change.bytes);
        let entries = change.entries.unwrap_or(1);
        branch.entries = branch.entries.saturating_add(entries);
    };
    let mut branch = top;
    count(branch);
    for &name in names {
        if branch.inside.last().is_none_or(|last| last.name != name) {
            branch.inside.push(Branch {
                name: name.to_owned(),
                ..Branch::default()
            });
        }
        let last = branch.inside.len() - 1;
        branch = &mut branch.inside[last];
        count(branch);
    }
}

fn sort(branch: &mut Branch) {
    branch.inside = Branch::largest(std::mem::take(&mut branch.inside));
    for inner in &mut branch.inside {
        sort(inner);
    }
}

fn changes(html: &mut Html, changes: &[ChangeReport]) {
    let rows: Vec<Vec<Cell>> = changes
        .iter()
        .map(|change| {
            let class = match (change.action.as_str(), change.replaces) {
                ("remove", _) => "removed",
                (_, true) => "changed",
                (_, false) => "added",
            };
            let from = [&change.source, &change.target, &change.sha256];
            let from = from.into_iter().find_map(Option::as_ref);
            vec![
                Cell::Badge(class, change.action.replace('_', " ")),
                Cell::code(format!("{}:{}", change.partition, change.path)),
                Cell::text(format!("{} {}:{}", change.mode, change.uid, change.gid)),
                Cell::text(ByteSize(change.bytes).to_string()),
                Cell::code(from.cloned().unwrap_or_default()),
                Cell::text(change.why.clone()),
            ]
        })
        .collect();
    table(
        html,
        &["", "path", "mode, owner", "#size", "from", "why"],
        &rows,
    );
}

fn findings(html: &mut Html, heading: &str, findings: &[FindingReport]) {
    if !findings.is_empty() {
        html.section(heading, |html| finding_table(html, findings));
    }
}

fn finding_table(html: &mut Html, findings: &[FindingReport]) {
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|finding| {
            let class = match finding.severity.as_str() {
                "error" => "error",
                "warning" => "warning",
                _ => "note",
            };
            vec![
                Cell::Badge(class, finding.severity.clone()),
                Cell::code(finding.code.clone()),
                Cell::code(finding.place.join(": ")),
                Cell::text(finding.message.clone()),
            ]
        })
        .collect();
    table(html, &["", "code", "where", "what"], &rows);
}

fn inputs(html: &mut Html, inputs: &[InputReport]) {
    let rows: Vec<Vec<Cell>> = inputs
        .iter()
        .map(|input| {
            vec![
                Cell::text(input.role.clone()),
                Cell::code(input.path.clone()),
                Cell::text(ByteSize(input.bytes).to_string()),
                Cell::code(input.sha256.clone().unwrap_or_default()),
                Cell::text(input.source.clone().unwrap_or_default()),
            ]
        })
        .collect();
    table(
        html,
        &["role", "path", "#size", "SHA-256", "fetched from"],
        &rows,
    );
}

/// A table; nothing where it has no rows.
fn table(html: &mut Html, head: &[&str], rows: &[Vec<Cell>]) {
    if !rows.is_empty() {
        html.table(head, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, bytes: u64) -> ChangeReport {
        ChangeReport {
            partition: "root".to_owned(),
            path: path.to_owned(),
            action: "write_file".to_owned(),
            replaces: false,
            mode: "644".to_owned(),
            uid: 0,
            gid: 0,
            bytes,
            source: None,
            sha256: None,
            target: None,
            entries: None,
            survives_reset: false,
            why: String::new(),
        }
    }

    #[test]
    fn what_was_added_is_summed_up_by_folders() {
        let changes = [
            change("/opt/b", 3),
            change("/etc/x", 1),
            change("/opt-b/c", 9),
            change("/opt/a", u64::MAX),
        ];
        let top = added(&changes).unwrap();
        let [root] = &top.inside[..] else {
            panic!("{top:?}")
        };
        let folders: Vec<(&str, u64, u64)> = root
            .inside
            .iter()
            .map(|folder| (folder.name.as_str(), folder.bytes, folder.entries))
            .collect();
        let expected = [("opt", u64::MAX, 2), ("opt-b", 9, 1), ("etc", 1, 1)];
        assert_eq!(folders, expected);
        assert!(added(&[change("/empty", 0)]).is_none());
    }

    #[test]
    fn paths_of_many_names_are_cut() {
        let mut branch = &added(&[change(&"/a".repeat(500_000), 1)]).unwrap();
        let mut depth = 0;
        while let Some(inner) = branch.inside.first() {
            branch = inner;
            depth += 1;
        }
        assert_eq!(depth, NAMES_MAX);
    }
}
