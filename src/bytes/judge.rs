//! The programs that judge what unit tests make; integration tests have `tests/common/programs.rs`.

use std::env;
use std::process::{Command, Stdio};

/// A command for `program`, which sees nothing of the caller's environment but where programs are. Where it is missing:
/// `None` and one line on stderr, or a panic when `FLATBAKE_REQUIRE_ORACLES=1`.
pub(crate) fn judge(program: &str) -> Option<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    let Some(found) = found else {
        let required = env::var_os("FLATBAKE_REQUIRE_ORACLES").is_some_and(|value| value == "1");
        assert!(
            !required,
            "{program} is not installed, and FLATBAKE_REQUIRE_ORACLES=1 is set"
        );
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let mut command = Command::new(found);
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    Some(command)
}
