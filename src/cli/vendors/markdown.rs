//! The table of vendors in docs/vendors.md.

use crate::flatcar::vendor::{Status, Vendor};

use super::Row;

/// Rows of Markdown, one for each vendor; `…` is `flatcar_production_ID`.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        "| id | vendor | disk | layout, size | OEM sysext | config files and bundle | remarks |\n"
            .to_owned();
    text.push_str("|---|---|---|---|---|---|---|\n");
    for row in rows {
        let Some(settings) = &row.settings else {
            text.push_str(&format!(
                "| `{}` | {} | refused | | | | {} |\n",
                row.vendor.id,
                row.vendor.name,
                remarks(row)
            ));
            continue;
        };
        let stem = settings.stem();
        let short = |name: &String| format!("`{}`", name.replace(&stem, "…"));
        let disk = format!(
            "`{}`, {}",
            settings.disk_format,
            row.disk_file.iter().map(short).collect::<String>()
        );
        let layout = settings.disk_layout.map(|layout| layout.to_string());
        let layout = layout
            .into_iter()
            .chain(row.size())
            .collect::<Vec<_>>()
            .join(", ");
        let sysext = settings
            .oem_sysext
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut files: Vec<String> = row.conf_files.iter().map(short).collect();
        if let Some(bundle) = &row.bundle_file {
            let members: Vec<String> = row.bundle_files.iter().map(short).collect();
            files.push(format!("{} of {}", short(bundle), members.join(", ")));
        }
        let Vendor { id, name, .. } = row.vendor;
        let cells = [
            format!("`{id}`"),
            name.to_string(),
            disk,
            layout,
            sysext,
            files.join("; "),
            remarks(row),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// What is special: the status, the first release, what must be given.
fn remarks(row: &Row) -> String {
    let vendor = row.vendor;
    let mut remarks = Vec::new();
    if !matches!(vendor.status, Status::Current | Status::Refused) {
        remarks.push(row.status());
    }
    remarks.extend(vendor.why.iter().map(ToString::to_string));
    remarks.extend(vendor.since.map(|since| format!("since {since}")));
    remarks.extend(
        vendor
            .needs
            .iter()
            .map(|needs| format!("needs: {}", needs.as_str().trim_end_matches('.'))),
    );
    remarks.join("; ")
}
