use std::path::PathBuf;
use std::sync::Arc;

use crate::bytes::ByteSize;
use crate::flatcar::sysext::report::{Inspected, Release};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, walk};
use crate::{Result, ResultExt};
use clap::{Args, ValueHint};

use super::super::progress::Reporter;
use super::super::table;
use super::name_of;
use super::signer::read_certificates;

/// Show what is in an extension image, and what it can be used as
///
/// Format, release files, units and what starts them, programs with what they need, sizes; of a signed disk image the
/// partitions, the root hash, who signed it, and whether all data is what was signed.
#[derive(Debug, Args)]
#[command(
    name = "inspect",
    after_help = "\
Examples:
  flatbake sysext inspect hello.raw
  flatbake sysext inspect greeter.raw --json
  flatbake sysext inspect hello.raw --tree"
)]
pub struct InspectCommand {
    /// The image
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The name it is merged by [default: the file's name without .raw]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Hold a signature against the certificates in this file (PEM or DER)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cert: Vec<PathBuf>,
    /// List all entries
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InspectCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&self.file)?,
        };
        let inputs = reporter.inputs();
        let certificates = read_certificates(&self.cert, reporter)?;
        let place = || self.file.display().to_string();
        let device = Arc::new(inputs.device("extension", &self.file)?);
        let found = Inspected::of(&name, device.clone(), &certificates).at(place)?;
        if self.json {
            return super::super::print_json(&found);
        }
        let mut text = summary(&found);
        text.push_str(&lists(&found));
        if self.tree {
            let fs = crate::flatcar::sysext::open_extension(device).at(place)?;
            text.push('\n');
            text.push_str(&tree(&*fs).at(place)?);
        }
        super::super::print(text)
    }
}

/// Rows as columns; what an image says cannot move the cursor or begin lines of its own.
fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let shown = |cell: &String| -> String {
        cell.chars()
            .flat_map(|c| {
                let escaped = c.is_control().then(|| c.escape_default());
                let plain = (!c.is_control()).then_some(c);
                escaped.into_iter().flatten().chain(plain)
            })
            .collect()
    };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(shown).collect())
        .collect();
    table::table(&rows, right)
}

fn summary(found: &Inspected) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![format!("{name}:"), value]);
    row("name", found.name.clone());
    let compressors = match found.compressors.as_slice() {
        [] => String::new(),
        some => format!(" with {}", some.join(", ")),
    };
    row(
        "format",
        format!(
            "{}{compressors}, blocks of {}",
            found.filesystem,
            ByteSize(found.block_bytes)
        ),
    );
    row("size", ByteSize(found.file_bytes).to_string());
    row(
        "content",
        format!(
            "{} in {} entries",
            ByteSize(found.content_bytes),
            found.entries
        ),
    );
    for part in &found.partitions {
        let bytes = ByteSize(part.bytes);
        row(
            "partition",
            format!("{} '{}', {}, {bytes}", part.number, part.label, part.kind),
        );
    }
    if let Some(signature) = &found.signature {
        row("root hash", signature.root_hash.clone());
        for signer in &signature.signers {
            row("signer", signer.clone());
        }
        let problem = signature.verity_problem.as_deref();
        row(
            "verity",
            problem.map_or_else(|| "holds".to_owned(), |why| format!("does not hold: {why}")),
        );
        row(
            "trusted",
            match (&signature.trusted, &signature.trust_problem) {
                (Some(subject), _) => format!("yes: {subject}"),
                (None, Some(why)) => format!("no: {why}"),
                (None, None) => "no".to_owned(),
            },
        );
    }
    for release in &found.releases {
        row(&release.class.to_string(), release_line(release));
    }
    for what in &found.uses {
        let mark = if what.is_possible { "yes" } else { "no" };
        row("use as", format!("{mark:<3} {}", what.what));
    }
    table(&rows, &[])
}

fn release_line(release: &Release) -> String {
    let fields: Vec<String> = release
        .fields
        .iter()
        .map(|(field, value)| format!("{field}={value}"))
        .collect();
    let any = if release.fits_any_name {
        " (or any name)"
    } else {
        ""
    };
    format!("{}{any}: {}", release.name, fields.join(" "))
}

fn lists(found: &Inspected) -> String {
    let mut text = String::new();
    let dash = || "-".to_owned();
    if !found.units.is_empty() {
        let mut rows = vec![vec!["unit".to_owned(), "started by".to_owned()]];
        for unit in &found.units {
            let by = unit.started_by.join(", ");
            rows.push(vec![
                unit.name.clone(),
                if by.is_empty() { dash() } else { by },
            ]);
        }
        text.push('\n');
        text.push_str(&table(&rows, &[]));
    }
    if !found.programs.is_empty() {
        let mut rows = vec![["program", "machine", "needs"].map(str::to_owned).to_vec()];
        for program in &found.programs {
            let needs: Vec<&str> = program
                .interpreter
                .iter()
                .chain(&program.needed)
                .map(String::as_str)
                .collect();
            let needs = match &program.problem {
                Some(problem) => problem.clone(),
                None if needs.is_empty() => dash(),
                None => needs.join(", "),
            };
            let machine = program.architecture.clone().unwrap_or_else(dash);
            rows.push(vec![program.path.clone(), machine, needs]);
        }
        text.push('\n');
        text.push_str(&table(&rows, &[]));
    }
    let mut rows = vec![["folder", "files", "size"].map(str::to_owned).to_vec()];
    for folder in &found.folders {
        rows.push(vec![
            folder.path.clone(),
            folder.files.to_string(),
            ByteSize(folder.bytes).to_string(),
        ]);
    }
    text.push('\n');
    text.push_str(&table(&rows, &[1, 2]));
    text
}

/// Every entry with mode, owner and size.
fn tree(fs: &dyn FileSystem) -> Result<String> {
    let mut rows = Vec::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        let metadata = &entry.metadata;
        let (letter, size) = match metadata.file_type {
            FileType::File => ('-', ByteSize(metadata.size).to_string()),
            FileType::Directory => ('d', "-".to_owned()),
            FileType::Symlink => ('l', "-".to_owned()),
            FileType::CharDevice => ('c', format!("{:?}", metadata.device)),
            FileType::BlockDevice => ('b', format!("{:?}", metadata.device)),
            FileType::Fifo => ('p', "-".to_owned()),
            FileType::Socket => ('s', "-".to_owned()),
        };
        let name = match metadata.file_type {
            FileType::Symlink => {
                let target = fs.read_link_at(&entry.path)?;
                format!("{} -> {}", entry.path, target.escape_ascii())
            }
            _ => entry.path.to_string(),
        };
        rows.push(vec![
            format!("{letter}{:04o}", metadata.mode),
            format!("{}:{}", metadata.uid, metadata.gid),
            size,
            name,
        ]);
        Ok(())
    })?;
    Ok(table(&rows, &[2]))
}
