//! Reports for people.

use crate::bake::{ChangeReport, OutputReport, PlanReport, Report};
use crate::bytes::ByteSize;

use super::table::table;

/// What a run would do.
pub(super) fn show(report: &Report) -> String {
    let base = &report.base;
    let release = base
        .release
        .as_ref()
        .map(|release| format!(", Flatcar {release}"))
        .unwrap_or_default();
    let mut text = format!(
        "Plan for {}{release}; time of everything new: @{}\n",
        base.name, report.timestamp
    );
    show_plan(&mut text, &report.shared);
    if report.shared.changes.is_empty()
        && report.variants.is_empty()
        && report.outputs.iter().all(adds_nothing)
    {
        text.push_str("\nNo file changes.\n");
    }
    for variant in &report.variants {
        text.push_str(&format!("\nVariant {} adds:\n", variant.name));
        show_plan(&mut text, &variant.plan);
    }
    text.push_str("\nOutputs:\n");
    for output in &report.outputs {
        show_output(&mut text, output);
    }
    if has_lost_on_reset(report) {
        text.push_str(
            "\nflatcar-reset deletes what is on ROOT unless it is told to keep it: flatcar-reset --keep-paths PATH…\n",
        );
    }
    text
}

fn adds_nothing(output: &OutputReport) -> bool {
    output.plan.changes.is_empty()
}

fn has_lost_on_reset(report: &Report) -> bool {
    let plans = report
        .variants
        .iter()
        .map(|variant| &variant.plan)
        .chain(report.outputs.iter().map(|output| &output.plan));
    std::iter::once(&report.shared)
        .chain(plans)
        .flat_map(|plan| &plan.changes)
        .any(|change| !change.survives_reset)
}

fn show_output(text: &mut String, output: &OutputReport) {
    let name: Vec<&str> = [output.variant.as_deref(), output.vendor.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let name = if name.is_empty() {
        "image".to_owned()
    } else {
        name.join("/")
    };
    text.push_str(&format!(
        "  {name}: disk of {}\n",
        ByteSize(output.disk_bytes)
    ));
    for file in &output.files {
        let details: Vec<&str> = [file.format.as_deref(), file.compression.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let details = if details.is_empty() {
            String::new()
        } else {
            format!(" ({})", details.join(", "))
        };
        text.push_str(&format!("    {}{details}\n", file.path));
    }
    show_plan(text, &output.plan);
}

/// Growth, changes and room of one plan.
fn show_plan(text: &mut String, plan: &PlanReport) {
    if let Some(resize) = &plan.resize {
        text.push_str(&format!(
            "\nROOT grows from {} to {}, the disk to {}.\n",
            ByteSize(resize.root_bytes_before),
            ByteSize(resize.root_bytes),
            ByteSize(resize.disk_bytes)
        ));
    }
    if !plan.changes.is_empty() {
        let mut rows = vec![
            ["partition", "change", "size", "flatcar-reset", "why"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(plan.changes.iter().map(row));
        text.push_str(&format!("\n{}\n", table(&rows, &[2])));
    }
    for space in &plan.space {
        let taken = i128::from(space.free_bytes_before) - i128::from(space.free_bytes);
        let amount = ByteSize(u64::try_from(taken.unsigned_abs()).unwrap_or(u64::MAX));
        let verb = if taken < 0 { "gives back" } else { "takes" };
        let inodes = match (space.free_inodes_before, space.free_inodes) {
            (Some(before), Some(after)) => format!(
                "; {} inodes, {after} left",
                i128::from(before) - i128::from(after)
            ),
            _ => String::new(),
        };
        text.push_str(&format!(
            "{} ({}): {verb} {amount}, {} of {} left{inodes}\n",
            space.partition,
            space.filesystem,
            ByteSize(space.free_bytes),
            ByteSize(space.total_bytes)
        ));
    }
}

fn row(change: &ChangeReport) -> Vec<String> {
    let path = &change.path;
    let verb = if change.replaces { "replace" } else { "create" };
    let what = match change.action.as_str() {
        "remove" => format!("remove {path}"),
        "create_dir" => format!("{verb} {path}/"),
        "write_file" => format!(
            "{verb} {path} ({} {}:{})",
            change.mode, change.uid, change.gid
        ),
        "unpack" => format!("unpack {} entries in {path}", change.entries.unwrap_or(0)),
        _ => format!(
            "{verb} {path} -> {}",
            change.target.as_deref().unwrap_or_default()
        ),
    };
    let size = if change.action == "write_file" {
        ByteSize(change.bytes).to_string()
    } else {
        String::new()
    };
    let reset = if change.survives_reset {
        "keeps"
    } else {
        "deletes"
    };
    vec![
        change.partition.clone(),
        what,
        size,
        reset.to_owned(),
        change.why.clone(),
    ]
}
