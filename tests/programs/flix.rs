//! Programs of a Debian root filesystem run where there is only the tree of their sysext.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flatbake::flatcar::elf::{Change, edit};
use flatbake::flatcar::sysext::build::Build;
use flatbake::flatcar::sysext::flix::{Flix, Wanted};
use flatbake::fs::ExtractOptions;
use flatbake::{ErrorKind, FileRead, FsPath, Result, extract};

use super::means;
use crate::common::programs::{command, judge, judges, said, success};
use crate::common::reading::text;
use crate::common::sysext::write_file;
use crate::common::{longer, noise, scratch_dir};

/// Programs of Debian in C and C++, with arguments by which they end at once where there is nothing else.
const PROGRAMS: [(&str, &[&str]); 50] = [
    ("ls", &["/"]),
    ("cat", &["--version"]),
    ("cp", &["--version"]),
    ("mv", &["--version"]),
    ("date", &["-u"]),
    ("id", &["-u"]),
    ("sort", &["--version"]),
    ("head", &["--version"]),
    ("tail", &["--version"]),
    ("wc", &["--version"]),
    ("stat", &["/"]),
    ("du", &["--version"]),
    ("df", &["--version"]),
    ("dd", &["--version"]),
    ("expr", &["1", "+", "1"]),
    ("factor", &["91"]),
    ("seq", &["3"]),
    ("tr", &["--version"]),
    ("uname", &["-s"]),
    ("sha256sum", &["--version"]),
    ("grep", &["--version"]),
    ("sed", &["--version"]),
    ("tar", &["--version"]),
    ("gzip", &["--version"]),
    ("xz", &["--version"]),
    ("bzip2", &["--help"]),
    ("zstd", &["--version"]),
    ("find", &["--version"]),
    ("xargs", &["--version"]),
    ("diff", &["--version"]),
    ("cmp", &["--version"]),
    ("bash", &["--version"]),
    ("dash", &["-c", "exit 0"]),
    ("perl", &["-v"]),
    ("openssl", &["version"]),
    ("gpg", &["--version"]),
    ("qemu-img", &["--version"]),
    ("setpriv", &["--version"]),
    ("readelf", &["--version"]),
    ("patchelf", &["--version"]),
    ("ld.gold", &["--version"]),
    ("btrfs", &["--version"]),
    ("sgdisk", &["--version"]),
    ("fdisk", &["--version"]),
    ("dpkg", &["--version"]),
    ("mksquashfs", &["-version"]),
    ("xmllint", &["--version"]),
    ("getfattr", &["--version"]),
    ("make", &["--version"]),
    ("gawk", &["--version"]),
];
const PROGRAMS_MIN: usize = 30;
/// Folders of this machine's libraries.
const LIBRARIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];

fn find(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let mut paths = folders.iter().map(|folder| Path::new(folder).join(program));
    paths.find(|path| path.is_file())
}

/// A program, with arguments by which it ends at once.
type Program = (&'static str, &'static [&'static str]);

/// A root filesystem, and programs of it.
struct Root {
    path: PathBuf,
    /// For what is made of it.
    dir: tempfile::TempDir,
    programs: Vec<Program>,
}

fn is_elf(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))
}

impl Root {
    /// One of Debian for another architecture, with the programs that it has.
    fn foreign(path: PathBuf, wanted: &[Program]) -> Self {
        let has = |(program, _): &&Program| is_elf(&path.join("usr/bin").join(program));
        Self {
            programs: wanted.iter().filter(has).copied().collect(),
            dir: scratch_dir(),
            path,
        }
    }

    /// One with programs and libraries of this machine; `None` where it is no Debian.
    fn new(wanted: &[Program]) -> Option<Self> {
        let dir = scratch_dir();
        let root = dir.path().join("root");
        let mut files = BTreeSet::new();
        let mut programs = Vec::new();
        for (program, arguments) in wanted {
            let Some(path) = find(program) else { continue };
            let path = fs::canonicalize(path).unwrap();
            if !is_elf(&path) {
                continue;
            }
            fs::create_dir_all(root.join("usr/bin")).unwrap();
            fs::copy(&path, root.join("usr/bin").join(program)).unwrap();
            files.insert(path);
            programs.push((*program, *arguments));
        }
        for folder in ["usr/lib", "usr/lib64"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (link, target) in [
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
            ("bin", "usr/bin"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let listed = Command::new(judge("ldd")?).args(&files).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut paths: BTreeSet<PathBuf> = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/') && !word.ends_with(':'))
            .map(PathBuf::from)
            .collect();
        for folder in LIBRARIES {
            for name in [
                "libnss_files.so.2",
                "libnss_dns.so.2",
                "libgcc_s.so.1",
                "libresolv.so.2",
            ] {
                paths.insert(Path::new(folder).join(name));
            }
        }
        for path in paths.into_iter().filter(|path| path.is_file()) {
            let target = root.join(path.strip_prefix("/").unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&path, target).unwrap();
        }
        let root = Self {
            path: root,
            dir,
            programs,
        };
        root.has("usr/bin/ls").then_some(root)
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn has(&self, path: &str) -> bool {
        self.path.join(path).exists()
    }

    /// The tree of an extension with all its programs, each of which `run` starts in it.
    fn flix_all(&self, run: &dyn Fn(&Path, &str, &[&str]) -> Output) -> PathBuf {
        assert!(self.programs.len() >= PROGRAMS_MIN, "{:?}", self.programs);
        let paths: Vec<String> = self
            .programs
            .iter()
            .map(|(program, _)| format!("/bin/{program}"))
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let tree = self.flix(&paths, &[]).unwrap();
        for (program, arguments) in &self.programs {
            let output = run(&tree, &format!("/usr/bin/{program}"), arguments);
            assert!(output.status.success(), "{program}: {}", said(&output));
        }
        tree
    }

    /// The tree of the extension, unpacked into a folder.
    fn flix(&self, wanted: &[&str], dlopen: &[&str]) -> Result<PathBuf> {
        let flix = Flix {
            source: self.path(),
            wanted: wanted
                .iter()
                .map(|path| Wanted::parse(path).unwrap())
                .collect(),
            dlopen: dlopen.iter().map(|&name| name.to_owned()).collect(),
        };
        let means = means(self.dir.path());
        let prepared = flix.prepare(Build::new("", "tools"), None, &means)?;
        let target = self.dir.path().join("tree");
        let root = FsPath::root();
        extract(prepared.tree(), &root, &target, &ExtractOptions::default())?;
        Ok(target)
    }
}

/// Whether programs of this user may change their root.
fn can_chroot() -> bool {
    let Some(unshare) = judge("unshare") else {
        return false;
    };
    let allowed = command(&unshare).args(["-r", "true"]).status().unwrap();
    if !allowed.success() {
        eprintln!("skipped: this machine lets nobody have user namespaces");
    }
    allowed.success()
}

/// Runs a program in a root that has nothing but `tree`.
fn run_in(tree: &Path, program: &str, arguments: &[&str]) -> Output {
    let mut command = command(&judge("unshare").unwrap());
    command
        .arg("-r")
        .arg("--root")
        .arg(tree)
        .arg(program)
        .args(arguments);
    // No locale of the machine is there, and no library but those of the tree counts.
    command
        .env("LC_ALL", "C")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap()
}

fn asked(program: &str, arguments: &[&str], path: &Path) -> String {
    let mut command = command(&judge(program).unwrap());
    let output = success(command.args(arguments).arg(path));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn programs_of_debian_run_with_nothing_but_the_sysext() {
    if !judges(&["readelf", "patchelf"]) || !can_chroot() {
        return;
    }
    let Some(root) = Root::new(&PROGRAMS) else {
        return;
    };
    let tree = root.flix_all(&run_in);
    assert_rewritten(&root, &tree);
}

/// Programs for arm64 in a root filesystem that `debootstrap --foreign --arch=arm64` makes, run by QEMU.
#[test]
fn programs_for_another_architecture_run_with_nothing_but_the_sysext() {
    let Some(path) = std::env::var_os("FLATBAKE_ARM64") else {
        eprintln!("skipped: FLATBAKE_ARM64 names no root filesystem for arm64");
        return;
    };
    let emulator = "qemu-aarch64-static";
    if !judges(&["readelf", "patchelf", emulator]) || !can_chroot() {
        return;
    }
    let root = Root::foreign(path.into(), &PROGRAMS);
    let emulator = judge(emulator).unwrap();
    let run = |tree: &Path, program: &str, arguments: &[&str]| {
        let inside = tree.join("emulator");
        if !inside.exists() {
            fs::copy(&emulator, inside).unwrap();
        }
        run_in(tree, "/emulator", &[&[program], arguments].concat())
    };
    let tree = root.flix_all(&run);
    assert_rewritten(&root, &tree);
}

/// Other programs see the interpreter and the libraries' folder that were written, and all else as it was.
fn assert_rewritten(root: &Root, tree: &Path) {
    let home = "/usr/local/tools";
    for (program, _) in &root.programs {
        let path = tree.join("usr/bin").join(program);
        let dynamic = asked("readelf", &["-dW"], &path);
        assert!(
            dynamic.contains(&format!("Library runpath: [{home}]")),
            "{dynamic}"
        );
        assert!(dynamic.contains("NODEFLIB"), "{program}: {dynamic}");
        assert!(!dynamic.contains("(RPATH)"), "{program}: {dynamic}");
        let headers = asked("readelf", &["-lW"], &path);
        assert!(
            headers.contains(&format!("interpreter: {home}/ld-linux-")),
            "{headers}"
        );
        assert!(!headers.contains("Warning"), "{program}: {headers}");
        assert_eq!(asked("patchelf", &["--print-rpath"], &path).trim(), home);
        let interpreter = asked("patchelf", &["--print-interpreter"], &path);
        assert!(
            interpreter.starts_with(&format!("{home}/ld-linux-")),
            "{interpreter}"
        );
        let old = root.path().join("usr/bin").join(program);
        let needed = |path: &Path| asked("patchelf", &["--print-needed"], path);
        assert_eq!(needed(&path), needed(&old), "{program}");
    }
    // The linker itself is as it was.
    let linker = fs::read_dir(tree.join("usr/local/tools")).unwrap();
    let linker = linker.map(|entry| entry.unwrap().path());
    let linker: Vec<_> = linker
        .filter(|path| path.to_str().unwrap().contains("/ld-linux-"))
        .collect();
    assert_eq!(linker.len(), 1);
    let name = linker[0].file_name().unwrap();
    let old = ["lib64", "lib"].map(|folder| root.path().join(folder).join(name));
    let old = old.iter().find(|path| path.is_file()).unwrap();
    assert_eq!(fs::read(&linker[0]).unwrap(), fs::read(old).unwrap());
}

/// Sources that are compiled by the test: a program in C++ that loads a library while it runs.
const MAIN: &str = r#"
#include <dlfcn.h>
#include <iostream>
#include <string>
int main() {
    void *plugin = dlopen("libplugin.so", RTLD_NOW);
    if (!plugin) { std::cerr << dlerror() << std::endl; return 1; }
    auto say = reinterpret_cast<const char *(*)()>(dlsym(plugin, "say"));
    try { throw std::string(say()); }
    catch (const std::string &text) { std::cout << text << std::endl; }
    return 0;
}
"#;
const PLUGIN: &str = "const char *word(void);\nconst char *say(void) { return word(); }\n";
const WORD: &str = "const char *word(void) { return \"loaded\"; }\n";

/// Compiles `source` into `output`, as C or C++ by the compiler.
fn compile(compiler: &str, source: &str, output: &Path, arguments: &[&str]) {
    let ending = if compiler == "g++" { "cc" } else { "c" };
    let path = output.with_extension(ending);
    fs::create_dir_all(output.parent().unwrap()).unwrap();
    fs::write(&path, source).unwrap();
    let mut command = command(&judge(compiler).unwrap());
    success(command.arg("-o").arg(output).arg(&path).args(arguments));
    fs::remove_file(path).unwrap();
}

/// What the test compiles, in a root with the libraries of `ls` and of C++.
fn compiled() -> Option<Root> {
    if !judges(&["gcc", "g++", "readelf"]) || !can_chroot() {
        return None;
    }
    let root = Root::new(&[("ls", &[]), ("apt-cache", &[]), ("ld.gold", &[])])?;
    let at = |path: &str| root.path().join(path);
    let flags = ["-shared", "-fPIC"];
    compile("gcc", WORD, &at("opt/words/libword.so"), &flags);
    let words = at("opt/words");
    let link = [
        "-shared",
        "-fPIC",
        "-L",
        text(&words),
        "-lword",
        "-Wl,-rpath,$ORIGIN/../words",
    ];
    compile("gcc", PLUGIN, &at("opt/plugins/libplugin.so"), &link);
    compile(
        "g++",
        MAIN,
        &at("opt/app/bin/app"),
        &["-ldl", "-Wl,-rpath,$ORIGIN/../../plugins"],
    );
    compile(
        "g++",
        MAIN,
        &at("opt/app/bin/fixed"),
        &["-no-pie", "-Wl,-rpath,/opt/plugins"],
    );
    compile(
        "gcc",
        "int main(void) { return 7; }\n",
        &at("usr/bin/static"),
        &["-static"],
    );
    let far = "static char far[200 << 20];\nint main(int c, char **v) { far[c << 20] = 1; return v[0] == far; }\n";
    compile("gcc", far, &at("usr/bin/far"), &[]);
    let tight = [
        "-Wl,-z,nodynamic-undefined-weak",
        "-Wl,--spare-dynamic-tags=0",
    ];
    compile(
        "gcc",
        "int main(void) { return 9; }\n",
        &at("usr/bin/tight"),
        &tight,
    );
    Some(root)
}

#[test]
fn libraries_that_are_loaded_at_run_time_come_along() {
    let Some(root) = compiled() else { return };
    let wanted = [
        "/opt/app/bin/app:/usr/bin/app",
        "/opt/app/bin/fixed:/usr/bin/fixed",
        "/usr/bin/static",
        "/usr/bin/far",
        "/usr/bin/tight",
    ];
    let tree = root.flix(&wanted, &["libplugin.so"]).unwrap();
    for program in ["/usr/bin/app", "/usr/bin/fixed"] {
        let output = run_in(&tree, program, &[]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "loaded\n",
            "{}",
            said(&output)
        );
    }
    // One has memory behind what is stored, the other no room for tags.
    assert_eq!(run_in(&tree, "/usr/bin/far", &[]).status.code(), Some(0));
    assert_eq!(run_in(&tree, "/usr/bin/tight", &[]).status.code(), Some(9));
    // Static ones are the same bytes.
    let old = fs::read(root.path().join("usr/bin/static")).unwrap();
    assert_eq!(fs::read(tree.join("usr/bin/static")).unwrap(), old);
    assert_eq!(run_in(&tree, "/usr/bin/static", &[]).status.code(), Some(7));
    for name in [
        "libword.so",
        "libplugin.so",
        "libstdc++.so.6",
        "libc.so.6",
        "libnss_dns.so.2",
    ] {
        assert!(tree.join("usr/local/tools").join(name).is_file(), "{name}");
    }
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let Some(root) = compiled() else { return };
    fs::remove_file(root.path().join("opt/words/libword.so")).unwrap();
    let wanted = ["/opt/app/bin/app:/usr/bin/app"];
    let error = root.flix(&wanted, &["libplugin.so"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let told = error.to_string();
    assert!(
        told.contains("/opt/plugins/libplugin.so needs the library libword.so"),
        "{told}"
    );
    let error = root.flix(&wanted, &["libnowhere.so.3"]).unwrap_err();
    assert!(error.to_string().contains("libnowhere.so.3"), "{error}");
    let error = root.flix(&["/usr/bin/nowhere"], &[]).unwrap_err();
    assert!(error.to_string().contains("/usr/bin/nowhere"), "{error}");
    let error = root.flix(&["/opt/app/bin/app:/bin/app"], &[]).unwrap_err();
    assert!(
        error.to_string().contains("outside of /usr and /opt"),
        "{error}"
    );
}

#[test]
fn scripts_bring_their_interpreters_and_links_what_they_lead_to() {
    if !can_chroot() {
        return;
    }
    let Some(root) = Root::new(&[("ls", &[]), ("dash", &[])]) else {
        return;
    };
    let script = |path: &str, text: &str| {
        write_file(&root.path(), path, text.as_bytes());
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path().join(path), mode).unwrap();
    };
    script("usr/bin/greet", "#!/usr/bin/env dash\necho hello\n");
    script("usr/bin/plain", "#!/bin/sh\n");
    script("usr/bin/lost", "#!/usr/bin/lua5.9 -x\n");
    fs::create_dir_all(root.path().join("etc/alternatives")).unwrap();
    symlink("/usr/bin/greet", root.path().join("etc/alternatives/hi")).unwrap();
    symlink("/etc/alternatives/hi", root.path().join("usr/bin/hi")).unwrap();
    let error = root.flix(&["/usr/bin/lost"], &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/usr/bin/lost is run by /usr/bin/lua5.9"),
        "{error}"
    );
    let tree = root.flix(&["/usr/bin/hi", "/usr/bin/plain"], &[]).unwrap();
    assert_eq!(
        fs::read_link(tree.join("usr/bin/hi")).unwrap(),
        Path::new("/usr/bin/greet")
    );
    let output = run_in(&tree, "/usr/bin/dash", &["/usr/bin/hi"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello\n",
        "{}",
        said(&output)
    );
    assert!(!tree.join("usr/bin/sh").exists() && tree.join("usr/bin/plain").is_file());
}

/// A file in memory.
struct Bytes(Vec<u8>);

impl FileRead for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
        Ok(())
    }
}

#[test]
fn damaged_programs_give_an_error_or_a_file_that_says_what_was_asked_for() {
    let needed = crate::sysext_build::dynamic("/lib64/ld.so", &["libc.so.6", "libm.so.6"]);
    let mut wholes = vec![needed];
    if let Some(path) = find("ls") {
        wholes.push(fs::read(path).unwrap());
    }
    let change = Change {
        interpreter: "/usr/local/tools/ld.so".to_owned(),
        search: vec!["/usr/local/tools".to_owned()],
        ..Change::default()
    };
    for whole in &wholes {
        edit(Box::new(Bytes(whole.clone())), &change).unwrap();
    }
    for seed in 0..longer(4000) {
        let random = noise(seed, 13);
        let mut bytes = wholes[usize::from(random[0]) % wholes.len()].clone();
        let len = bytes.len();
        for record in random[1..].chunks(4) {
            let number = usize::from(u16::from_le_bytes([record[0], record[1]]));
            // Headers are at the start, sections and tags at the end.
            let at = match record[2] & 3 {
                0 | 1 => number % 1024.min(len),
                2 => len - 1 - number % 8192.min(len),
                _ => number % len,
            };
            bytes[at] = if record[2] & 4 == 0 { 0xff } else { record[3] };
        }
        match edit(Box::new(Bytes(bytes)), &change) {
            Ok(edited) => assert!(edited.size() >= len as u64 && edited.size() < 3 << 30),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                "{seed}: {error}"
            ),
        }
    }
}
