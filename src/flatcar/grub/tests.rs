//! Kernel arguments of `grub.cfg`, judged by GRUB itself.

use super::*;
use crate::bytes::judge::judge;
use crate::bytes::random::Random;

fn edit(config: &str, add: &[&str], remove: &[&str]) -> Result<String> {
    let owned = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    edit_kernel_args(config, &owned(add), &owned(remove))
}

#[test]
fn arguments_end_up_in_one_line_that_ignition_understands() {
    assert_eq!(
        edit("", &["quiet"], &[]).unwrap(),
        "set linux_append=\"quiet\"\n"
    );
    let config = "set oem_id=\"qemu\"\nset linux_append=\"a b\"\nset timeout=0\nset linux_append=\"$linux_append c\"";
    let edited = edit(config, &["b", "d=1"], &["a"]).unwrap();
    assert_eq!(
        edited,
        "set oem_id=\"qemu\"\nset timeout=0\nset linux_append=\"$linux_append b c d=1\"\n"
    );
    assert_eq!(
        edit(&edited, &["b"], &[]).unwrap(),
        edited,
        "a second edit changes nothing"
    );
}

#[test]
fn other_assignments_stay_and_still_count() {
    let config = "if [ x = y ]; then\n  set linux_append=\"inner\"\nfi";
    assert_eq!(
        edit(config, &["new"], &[]).unwrap(),
        format!("{config}\nset linux_append=\"$linux_append new\"\n")
    );
}

#[test]
fn the_last_argument_takes_its_line_along() {
    assert_eq!(
        edit("set linux_append=\"a\"\nset oem_id=\"x\"\n", &[], &["a"]).unwrap(),
        "set oem_id=\"x\"\n"
    );
    assert_eq!(
        edit("# nothing\n", &[], &["a"]).unwrap_err().kind(),
        crate::ErrorKind::NotFound
    );
}

#[test]
fn arguments_that_grub_would_not_take_literally_are_refused() {
    for bad in ["", "a b", "a\"b", "$x", "a\\", "a\nb"] {
        assert!(edit("", &[bad], &[]).is_err(), "{bad:?}");
    }
}

#[test]
fn a_file_that_ends_within_a_line_does_not_swallow_the_next() {
    for end in ["insmod \\\n", "insmod \\\n\\\n", "# \\\n", "insmod x"] {
        let config = format!("set linux_append=\"a=1 b=2\"\n{end}");
        let edited = edit(&config, &["c=3"], &["a=1"]).unwrap();
        assert_eq!(kernel_args(&edited), ["b=2", "c=3"], "{edited}");
        let consoles = ["console=ttyS0".to_owned()];
        let edited = set_consoles(&config, &consoles).unwrap();
        assert_eq!(certain_consoles(&edited), consoles, "{edited}");
    }
    // The whole of this is one assignment, in which nothing can be edited: it is overridden.
    let edited = edit("set linux_append=\"a=1 \nb=2\" \\\n", &[], &["a=1"]).unwrap();
    assert_eq!(kernel_args(&edited), ["b=2"], "{edited}");
}

#[test]
fn traps_are_named() {
    assert!(check("set oem_id=\"qemu\"\nset linux_append=\"quiet\"\n").is_empty());
    let findings = check(
        "# set linux_append=x\nset linux_append=quiet\n  set linux_append=\"x\"\nif [ a ]; then\nset linux_append=\"y\"\nfi\n\
         set linux_append=\"systemd.machine_id=0 ignition.config.url=http://x\"\n",
    );
    let found: Vec<_> = findings
        .iter()
        .map(|finding| (finding.code(), finding.value("line")))
        .collect();
    assert_eq!(
        found,
        [
            (code::GRUB_LINE_FORM, Some("2")),
            (code::GRUB_LINE_FORM, Some("3")),
            (code::GRUB_CONDITION, Some("5")),
            (code::GRUB_MACHINE_ID, Some("7")),
            (code::GRUB_CONFIG_URL, Some("7")),
            (code::GRUB_NO_OEM_ID, None),
        ]
    );
}

/// What `linux_append` holds after each script, as GRUB says; None where `grub-emu` is not installed.
fn judged(scripts: &[String]) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let mut main = String::new();
    for (number, script) in scripts.iter().enumerate() {
        let path = dir.path().join(format!("{number}.cfg"));
        std::fs::write(&path, script).unwrap();
        // Variables of the script before are none of this one's.
        main.push_str("set linux_append=\"\"\nset oem_id=\"\"\nunset a\nunset b\n");
        main.push_str(&format!(
            "source (host){}\necho \"@@{number}@$linux_append@@\"\n",
            path.display()
        ));
    }
    std::fs::create_dir(dir.path().join("grub")).unwrap();
    std::fs::write(dir.path().join("grub/grub.cfg"), main + "exit\n").unwrap();
    let folder = dir.path().join("grub");
    let output = judge("grub-emu")?.arg("-d").arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace(['\r', '\n'], "");
    let value = |number: usize| {
        let rest = text.split_once(&format!("@@{number}@"))?.1;
        Some(rest.split_once("@@")?.0.to_owned())
    };
    let values = (0..scripts.len())
        .map(value)
        .collect::<Option<Vec<String>>>();
    Some(values.unwrap_or_else(|| panic!("grub-emu did not get through: {text}")))
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Scripts whose meaning is easily mistaken.
const ODD: [&str; 34] = [
    "linux_append=bare",
    "linux_append=bare further words",
    "export linux_append=\"x\"",
    "linux_append=x; export linux_append",
    "set oem_id=\"qemu\"; set linux_append=\"x\"",
    "set linux_append='a $b'",
    "set linux_append=\"a\\\"b\\\\c\\$d\\e\"",
    "linux_append=a\\ b",
    "set \"linux_append=a b\"",
    "set linux_append = x",
    "set linux_append=\"a\" b",
    "set linux_append=\"a\nb\"",
    "set linux_append=\"a \\\nb\"",
    "set linux_append=x\"y z\"'w'",
    "a=\" p  q\"\nset linux_append=$a",
    "a=\" p  q\"\nset linux_append=\"$a\"",
    "a=\"p q\"\nlinux_append=${a}x",
    "a=linux_append\nset $a=x",
    "a=linux\nset ${a}_append=\"y\"",
    "linux_append=a#b # not",
    "#linux_append=x",
    "  set linux_append=x # why",
    "set linux_append=x; unset linux_append",
    "set linux_append=a && set linux_append=b",
    "set linux_append=a\nset linux_append=b | c",
    "if true; then linux_append=yes; else linux_append=no; fi",
    "if false; then\n  linux_append=one\nelif true; then\n  linux_append=two\nfi",
    "for i in a b c; do set linux_append=\"$linux_append $i\"; done",
    "function f {\n  set linux_append=\"$linux_append F$1\"\n}\nf z\nf y",
    "menuentry \"x\" {\n  set linux_append=\"inside\"\n}",
    "set linux_append=x\nif true; then\nfi\nset linux_append=y",
    "set linux_append={x}",
    "set linux_append=a\\\nb",
    "until true; do\nset linux_append=never\ndone\nset linux_append=\"$linux_append x\"",
];

/// A random script of assignments in all forms, in blocks and out of them.
fn random_script(random: &mut Random, depth: usize) -> String {
    const FORMS: [&str; 15] = [
        "set linux_append=\"$linux_append W\"",
        "set linux_append=\"W W\"",
        "set linux_append=\"${linux_append} W\"",
        "linux_append=W",
        "linux_append=\"$linux_append W\"",
        "  set linux_append=\"W $linux_append\"",
        "set oem_id=\"qemu\"; set linux_append=W",
        "set linux_append='W W'",
        "a=\"W W\"",
        "b=$a",
        "set linux_append=\"$linux_append $a\"",
        "set linux_append=\"$linux_append${b}W\"",
        "set linux_append=$linux_append",
        "unset linux_append",
        "# linux_append=W",
    ];
    let mut script = String::new();
    for _ in 0..1 + random.below(4) {
        if depth < 2 && random.below(4) == 0 {
            let can_be_function = depth == 0;
            let condition = ["true", "false", "test -n \"$a\"", "[ x = x ]"][random.below(4)];
            let inner = random_script(random, depth + 1);
            script.push_str(&match random.below(if can_be_function { 4 } else { 3 }) {
                0 => format!("if {condition}; then\n{inner}fi\n"),
                1 => format!(
                    "if {condition}; then\n{inner}else\n{}fi\n",
                    random_script(random, depth + 1)
                ),
                2 => format!("for i in 1 2; do\n{inner}done\n"),
                // GRUB's functions outlive the script: names must not come twice.
                _ => format!("function f{0} {{\n{inner}}}\nf{0}\n", random.number()),
            });
            continue;
        }
        let mut form = FORMS[random.below(FORMS.len())].to_owned();
        while form.contains('W') {
            form = form.replacen('W', &format!("w{}", random.below(6)), 1);
        }
        script.push_str(&form);
        script.push('\n');
    }
    script
}

/// Scripts, and what is to be done to each of them.
fn scripts() -> Vec<String> {
    let mut random = Random::new(11);
    let long = std::env::var("FLATBAKE_LONG")
        .ok()
        .and_then(|factor| factor.parse().ok())
        .unwrap_or(1);
    let random = (0..400 * long).map(|_| random_script(&mut random, 0));
    ODD.iter()
        .map(|script| (*script).to_owned())
        .chain(random)
        .collect()
}

#[test]
fn values_are_those_that_grub_comes_to() {
    let scripts = scripts();
    let Some(values) = judged(&scripts) else {
        return;
    };
    let mut known = 0;
    for (script, found) in scripts.iter().zip(values) {
        // GRUB shows the end of a line as it is.
        let chunks = super::script::parse(script);
        let state = run::run(&chunks);
        match state.value("linux_append") {
            Value::Known(value) => {
                assert_eq!(value.replace('\n', ""), found, "{script}");
                known += 1;
            }
            Value::Open { must, may } => {
                let found = words(&found);
                assert!(
                    must.iter().all(|word| found.contains(word)),
                    "{must:?} of {found:?}: {script}"
                );
                // Words may be glued to others; what is not followed, such as the words of a loop, may bring any.
                let is_known = |word: &String| may.iter().any(|may| word.contains(may.as_str()));
                let is_open = !state.opaque_lines.is_empty() || script.contains("$i");
                let all = found.iter().all(is_known) || is_open;
                assert!(all, "{found:?} of {may:?}: {script}");
            }
        }
    }
    assert!(known > scripts.len() / 2, "{known} of {}", scripts.len());
}

#[test]
fn edits_add_and_remove_what_they_say_and_lose_nothing() {
    let scripts = scripts();
    let Some(before) = judged(&scripts) else {
        return;
    };
    let mut edited = Vec::new();
    let mut kept = Vec::new();
    for (at, (script, before)) in scripts.iter().zip(before).enumerate() {
        let before = words(&before);
        let gone = before
            .last()
            .filter(|last| at % 3 == 0 && check_argument(last).is_ok())
            .cloned();
        let remove: Vec<String> = gone.iter().cloned().collect();
        let result = edit_kernel_args(script, &["added=1".to_owned(), "w1".to_owned()], &remove);
        let text = match result {
            Ok(text) => text,
            // What cannot be edited, or looked at, is refused.
            Err(error) => {
                let is_open = run::run(&super::script::parse(script))
                    .value("linux_append")
                    .known()
                    .is_none();
                assert!(
                    is_open && (gone.is_some() || error.to_string().contains("syntax error")),
                    "{error}: {script}"
                );
                continue;
            }
        };
        assert!(text.lines().any(|line| {
            arguments(line).is_some_and(|mut line| line.any(|word| word == "added=1"))
        }));
        let twice = edit_kernel_args(&text, &["added=1".to_owned(), "w1".to_owned()], &[]).unwrap();
        assert_eq!(twice, text, "a second edit changes nothing: {script}");
        // What words are glued to may be what is removed.
        let stays = |word: &String| {
            gone.as_ref()
                .is_none_or(|gone| gone != word && word.matches('w').count() < 2)
        };
        kept.push(before.into_iter().filter(stays).collect::<Vec<_>>());
        edited.push(text);
    }
    assert!(
        edited.len() * 10 > scripts.len() * 8,
        "{} of {}",
        edited.len(),
        scripts.len()
    );
    let Some(after) = judged(&edited) else { return };
    for ((script, kept), after) in edited.iter().zip(kept).zip(after) {
        let after = words(&after);
        for word in kept.iter().chain(&["added=1".to_owned(), "w1".to_owned()]) {
            assert!(after.contains(word), "{word} of {after:?}: {script}");
        }
    }
}

#[test]
fn what_is_set_in_other_words_is_told_and_kept() {
    let code_of = |config: &str| check(config).iter().map(Finding::code).collect::<Vec<_>>();
    for (assignment, code, edited) in [
        (
            "linux_append=\"rd.shell\"",
            code::GRUB_LINE_FORM,
            "$linux_append quiet",
        ),
        (
            "set linux_append=rd.shell",
            code::GRUB_LINE_FORM,
            "$linux_append quiet",
        ),
        (
            "set timeout=0; set linux_append=\"rd.shell\"",
            code::GRUB_LINE_FORM,
            "$linux_append quiet",
        ),
        (
            "export linux_append=\"rd.shell\"",
            code::GRUB_EXPORT,
            "quiet",
        ),
        (
            "source ($oem)/more.cfg",
            code::GRUB_OPAQUE,
            "$linux_append quiet",
        ),
    ] {
        let config = format!("set oem_id=\"qemu\"\n{assignment}\n");
        assert_eq!(code_of(&config), [code], "{config}");
        assert_eq!(
            edit(&config, &["quiet"], &[]).unwrap(),
            format!("{config}set linux_append=\"{edited}\"\n")
        );
    }
    let removed = edit("linux_append=\"a b\"\n", &[], &["a"]).unwrap();
    assert_eq!(removed, "linux_append=\"a b\"\nset linux_append=\"b\"\n");
    let open = "if [ a = b ]; then\n  linux_append=a\nfi\n";
    assert_eq!(
        edit(open, &[], &["a"]).unwrap_err().kind(),
        crate::ErrorKind::Unsupported
    );
    for (broken, line) in [
        ("if true; then\n", 1),
        ("set a=b\nset linux_append=x && true\n", 2),
        ("a='\n", 1),
    ] {
        assert_eq!(code_of(broken).first(), Some(&code::GRUB_SYNTAX));
        let error = edit(broken, &["a"], &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("line {line}: GRUB finds a syntax error")),
            "{error}"
        );
    }
    let left = edit("if [ a = b ]; then\n  return\nfi\n", &["a"], &[]).unwrap_err();
    assert!(
        left.to_string().contains("would not reach the kernel"),
        "{left}"
    );
    assert_eq!(
        kernel_args("if [ a = b ]; then linux_append=x; else linux_append=y; fi"),
        ["y", "x"]
    );
}

#[test]
fn any_text_ends_in_a_value() {
    let mut random = Random::new(5);
    let scripts = scripts();
    for _ in 0..3000 {
        let mut bytes = scripts[random.below(scripts.len())].clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = b"{}|&<>$\"'\\#;\n =axif"[random.below(19)];
        }
        let text = String::from_utf8(bytes).unwrap();
        check(&text);
        let _ = edit_kernel_args(&text, &["added".to_owned()], &[]);
    }
    for deep in [
        "if true; then\n",
        "for i in a; do\n",
        "function f {\n",
        "a=\"$a$a\"\n",
        "while true; do f; done\nfunction f {\nf\nf\n}\n",
    ] {
        check(&deep.repeat(3000));
    }
    check(&format!("a=x\n{}", "a=\"$a$a$a$a\"\n".repeat(1000)));
}
