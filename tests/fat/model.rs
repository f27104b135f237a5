//! What a volume should hold after random edits, and whether it does.

use std::collections::BTreeMap;
use std::path::Path;

use flatbake::fs::fat::Fat;
use flatbake::fs::{FileSystem, FileSystemMut, FileType, FsPath, walk};

use super::image::{Disk, at, content, path, read};
use crate::common::random::Random;

/// A file or folder of the model: the name as stored, content (`None`: a folder), even seconds.
pub type Model = BTreeMap<String, (String, Option<Vec<u8>>, i64)>;

/// A name of one of a few shapes in any case; few enough that edits meet old entries.
fn name(random: &mut Random) -> String {
    let number = random.below(25);
    let name = match random.below(6) {
        0 => format!("F{number}.TXT"),
        1 => format!("f{number}"),
        2 => format!("Mixed Case name {number}.conf"),
        3 => format!("a.name.with.dots.{number}"),
        4 => format!("größe {number} €"),
        _ => format!("{number} {}", "long ".repeat(20 + number))
            .trim_end()
            .to_owned(),
    };
    if random.below(3) == 0 {
        name.to_ascii_uppercase()
    } else {
        name
    }
}

/// One random edit of `fat` and `model`; what must fail must fail.
pub fn edit(random: &mut Random, fat: &mut Fat<Disk>, model: &mut Model) {
    let folders: Vec<String> = model
        .iter()
        .filter(|(_, entry)| entry.1.is_none())
        .map(|(key, _)| key.clone())
        .collect();
    let parent = match random.below(folders.len() + 1) {
        0 => String::new(),
        index => folders[index - 1].clone(),
    };
    let name = name(random);
    let target = format!("{parent}/{name}");
    let key = target.to_lowercase();
    let secs = 1_500_000_000 + i64::try_from(random.below(1000)).unwrap() * 2;
    let old = model.get(&key).cloned();
    match random.below(10) {
        0..=4 => {
            let sizes = [0, 1, 511, 512, 513, 5000, 40_000];
            let data = content(random.below(100), sizes[random.below(sizes.len())]);
            let size = u64::try_from(data.len()).unwrap();
            let done = fat.write_file(&path(&target), &at(secs), size, &mut data.as_slice());
            match old {
                Some((_, None, _)) => assert!(done.is_err()),
                Some((name, _, _)) => {
                    drop((done.unwrap(), model.insert(key, (name, Some(data), secs))))
                }
                None => drop((done.unwrap(), model.insert(key, (name, Some(data), secs)))),
            }
        }
        5 if parent.matches('/').count() < 4 => {
            let done = fat.create_dir(&path(&target), &at(secs));
            assert_eq!(done.is_ok(), old.is_none());
            model.entry(key).or_insert((name, None, secs));
        }
        6 => {
            let busy = model
                .keys()
                .any(|other| other.starts_with(&format!("{key}/")));
            assert_eq!(fat.remove(&path(&target)).is_ok(), old.is_some() && !busy);
            if !busy {
                model.remove(&key);
            }
        }
        _ if !model.is_empty() => {
            let from = model.keys().nth(random.below(model.len())).unwrap().clone();
            let below = key.starts_with(&format!("{from}/"));
            let deep = target.len() > 800;
            if deep {
                return;
            }
            let done = fat.rename(&path(&from), &path(&target));
            let source_is_dir = model[&from].1.is_none();
            let blocked = from != key
                && old
                    .as_ref()
                    .is_some_and(|old| old.1.is_none() || source_is_dir);
            assert_eq!(
                done.is_ok(),
                !below && !blocked,
                "{from} to {target}: {done:?}"
            );
            if done.is_ok() {
                let (_, data, secs) = model.remove(&from).unwrap();
                let moved: Vec<String> = model
                    .keys()
                    .filter(|key| key.starts_with(&format!("{from}/")))
                    .cloned()
                    .collect();
                for child in moved {
                    let entry = model.remove(&child).unwrap();
                    model.insert(format!("{key}{}", &child[from.len()..]), entry);
                }
                model.insert(key, (name, data, secs));
            }
        }
        _ => {}
    }
}

pub fn compare(fat: &dyn FileSystem, model: &Model) {
    let mut seen = Vec::new();
    walk(fat, &FsPath::root(), &mut |entry| {
        if !entry.path.is_root() {
            let text = String::from_utf8(entry.path.as_bytes().to_vec()).unwrap();
            let (name, data, secs) = model
                .get(&text.to_lowercase())
                .unwrap_or_else(|| panic!("{text} is too much"));
            assert_eq!(entry.path.name().unwrap(), name.as_bytes());
            assert_eq!(entry.metadata.mtime.secs, *secs, "{text}");
            match data {
                Some(data) => assert!(read(fat, &text) == *data, "{text}"),
                None => assert_eq!(entry.metadata.file_type, FileType::Directory),
            }
            seen.push(text.to_lowercase());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(seen.len(), model.len());
}

pub fn tree_of(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.insert(key.to_lowercase(), None);
            tree_of(&entry.path(), &key, found);
        } else {
            found.insert(
                key.to_lowercase(),
                Some(std::fs::read(entry.path()).unwrap()),
            );
        }
    }
}
