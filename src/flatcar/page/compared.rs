//! What became of an image.

use super::html::{Cell, Html};
use crate::bytes::ByteSize;
use crate::flatcar::diff::{Change, DiskDifference, EntryDifference, Field, PartitionDifference};

/// The section on what differs from an earlier state, which is called `name`.
pub(super) fn section(html: &mut Html, name: &str, difference: &DiskDifference) {
    html.section("Before and after", |html| {
        if difference.is_empty() {
            html.line("p", "good", format_args!("Nothing differs from {name}."));
            return;
        }
        html.line("p", "soft", format_args!("Compared with {name}"));
        fields(html, &difference.meaning);
        fields(html, &difference.fields);
        for partition in &difference.partitions {
            partition_part(html, partition);
        }
        if let Some(bytes) = &difference.outside {
            let count = ByteSize(bytes.bytes);
            html.line(
                "p",
                "",
                format_args!("{count} outside of partitions differ."),
            );
        }
    });
}

fn fields(html: &mut Html, fields: &[Field]) {
    if fields.is_empty() {
        return;
    }
    let rows: Vec<Vec<Cell>> = fields
        .iter()
        .map(|field| {
            let value = |value: &Option<String>| Cell::text(value.clone().unwrap_or_default());
            vec![
                Cell::text(field.name.clone()),
                value(&field.a),
                value(&field.b),
            ]
        })
        .collect();
    html.table(&["", "before", "after"], &rows);
}

fn partition_part(html: &mut Html, partition: &PartitionDifference) {
    html.element("h3", &[], |html| {
        html.text(format_args!("{} {} ", partition.number, partition.label));
        let (class, word) = word(partition.change);
        html.line("span", &format!("badge {class}"), word);
    });
    fields(html, &partition.fields);
    if let Some(problem) = &partition.problem {
        html.line("p", "error", problem);
    }
    if let Some(bytes) = &partition.bytes {
        html.line("p", "", format_args!("{} differ.", ByteSize(bytes.bytes)));
    }
    let Some(files) = &partition.files else {
        return;
    };
    let rows: Vec<Vec<Cell>> = files.entries.iter().map(row).collect();
    let head = ["", "path", "type", "#size", "what"];
    html.table_of_some(&head, &rows, files.left_out);
}

fn row(entry: &EntryDifference) -> Vec<Cell> {
    let (class, word) = word(entry.change);
    let what: Vec<String> = entry
        .fields
        .iter()
        .map(|field| {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            format!("{}: {} → {}", field.name, value(&field.a), value(&field.b))
        })
        .collect();
    let size = entry.bytes.map(|bytes| ByteSize(bytes).to_string());
    vec![
        Cell::Badge(class, word.to_owned()),
        Cell::code(entry.path.clone()),
        Cell::text(entry.file_type),
        Cell::text(size.unwrap_or_default()),
        Cell::text(what.join("; ")),
    ]
}

fn word(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Added => ("added", "added"),
        Change::Removed => ("removed", "removed"),
        Change::Changed => ("changed", "changed"),
    }
}
