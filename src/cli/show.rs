//! Plans for people.

use flatbake::bake::{self, Plan};
use flatbake::bytes::ByteSize;

use super::table::table;

/// A plan for people.
pub(super) fn show(plan: &Plan) -> String {
    let release = plan.release.as_ref().map(|release| format!(", Flatcar {release}")).unwrap_or_default();
    let mut text = format!("Plan for {}{release}; time of everything new: @{}\n", plan.image, plan.timestamp.secs);
    if let Some(resize) = &plan.resize {
        let (before, after, disk) = (resize.root_bytes_before, resize.root_bytes, resize.disk_bytes);
        text.push_str(&format!(
            "\nROOT grows from {} to {}, the disk to {}.\n",
            ByteSize(before),
            ByteSize(after),
            ByteSize(disk)
        ));
    }
    if plan.changes.is_empty() {
        text.push_str("\nNo file changes.\n");
        return text;
    }
    let mut rows = vec![["partition", "change", "size", "flatcar-reset", "why"].map(str::to_owned).to_vec()];
    for change in &plan.changes {
        let path = &change.path;
        let verb = if change.replaces { "replace" } else { "create" };
        let what = match &change.action {
            bake::Action::Remove => format!("remove {path}"),
            bake::Action::CreateDir => format!("{verb} {path}/"),
            bake::Action::WriteFile { .. } => {
                format!("{verb} {path} ({:04o} {}:{})", change.mode, change.uid, change.gid)
            }
            bake::Action::Unpack { entries, .. } => format!("unpack {entries} entries in {path}"),
            bake::Action::Symlink { target } => format!("{verb} {path} -> {target}"),
        };
        let size = if matches!(change.action, bake::Action::WriteFile { .. }) {
            ByteSize(change.bytes).to_string()
        } else {
            String::new()
        };
        let reset = if change.survives_reset() { "keeps" } else { "deletes" };
        rows.push(vec![change.partition.to_string(), what, size, reset.to_owned(), change.why.clone()]);
    }
    text.push('\n');
    text.push_str(&table(&rows, &[2]));
    text.push('\n');
    for space in &plan.space {
        let inodes = space
            .free_inodes
            .map(|free| format!("; {} of {free} free inodes", space.needed_inodes))
            .unwrap_or_default();
        text.push_str(&format!(
            "{} ({}): {} of {} free{inodes}\n",
            space.partition,
            space.filesystem,
            ByteSize(space.needed_bytes),
            ByteSize(space.free_bytes)
        ));
    }
    if plan.changes.iter().any(|change| !change.survives_reset()) {
        text.push_str(
            "\nflatcar-reset deletes what is on ROOT unless it is told to keep it: flatcar-reset --keep-paths PATH…\n",
        );
    }
    text
}
