//! Configs made at random from names and paths that are there, that are not, and that come again.

use crate::common::random::Random;

const PATHS: [&str; 12] = [
    "/etc/hosts",
    "/etc/app",
    "/etc/app/a.conf",
    "/etc/app/new/x",
    "/opt/a",
    "/opt/a/b",
    "/opt/data/y",
    "/data/y",
    "/var/run/z",
    "/home/svc/notes",
    "/home/core/x",
    "/etc/motd",
];
const USERS: [&str; 6] = ["core", "svc", "odd", "bob", "eve", "lone"];
const GROUPS: [&str; 6] = ["docker", "wheel", "lone", "g1", "g2", "bob"];
const NEW_GROUPS: [&str; 5] = ["g1", "g2", "bob", "lone", "docker"];

/// A config of the sections that Ignition writes files for.
pub fn random_config(random: &mut Random) -> String {
    let users = list(random, 3, &user);
    let groups = list(random, 2, &group);
    let files = list(random, 3, &file);
    let directories = list(random, 3, &directory);
    let links = list(random, 2, &link);
    format!(
        r#"{{"ignition":{{"version":"3.3.0"}},"passwd":{{"users":[{users}],"groups":[{groups}]}},"storage":{{"files":[{files}],"directories":[{directories}],"links":[{links}]}}}}"#
    )
}

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

fn list(random: &mut Random, most: usize, make: &dyn Fn(&mut Random) -> String) -> String {
    let count = random.below(most);
    let items: Vec<String> = (0..count).map(|_| make(random)).collect();
    items.join(",")
}

/// Adds some of `more`, each in one of so many cases.
fn maybe(random: &mut Random, text: &mut String, more: &[(usize, &str)]) {
    for (of, more) in more {
        if random.below(*of) == 0 {
            text.push_str(more);
        }
    }
}

fn user(random: &mut Random) -> String {
    let mut user = format!(r#"{{"name":"{}""#, pick(random, &USERS));
    maybe(
        random,
        &mut user,
        &[
            (3, r#","passwordHash":"$6$x""#),
            (4, r#","gecos":"Some One""#),
            (5, r#","system":true"#),
            (5, r#","noUserGroup":true"#),
            (6, r#","noCreateHome":true"#),
            (5, r#","shell":"/bin/sh""#),
            (3, r#","sshAuthorizedKeys":["a","b"]"#),
            (12, r#","shouldExist":false"#),
            (6, r#","homeDir":"/srv/h""#),
        ],
    );
    if random.below(4) == 0 {
        user.push_str(&format!(r#","uid":{}"#, 995 + random.below(10)));
    }
    if random.below(4) == 0 {
        user.push_str(&format!(r#","primaryGroup":"{}""#, pick(random, &GROUPS)));
    }
    if random.below(3) == 0 {
        user.push_str(&format!(r#","groups":["{}"]"#, pick(random, &GROUPS)));
    }
    user + "}"
}

fn group(random: &mut Random) -> String {
    let mut group = format!(r#"{{"name":"{}""#, pick(random, &NEW_GROUPS));
    if random.below(3) == 0 {
        group.push_str(&format!(r#","gid":{}"#, 996 + random.below(8)));
    }
    maybe(
        random,
        &mut group,
        &[
            (4, r#","system":true"#),
            (4, r#","passwordHash":"$1$y""#),
            (5, r#","shouldExist":false"#),
        ],
    );
    group + "}"
}

fn node(random: &mut Random, more: &str) -> String {
    let mut node = format!(r#"{{"path":"{}"{more}"#, pick(random, &PATHS));
    if random.below(4) == 0 {
        node.push_str(&format!(
            r#","user":{{"name":"{}"}}"#,
            pick(random, &USERS[..3])
        ));
    }
    if random.below(4) == 0 {
        node.push_str(&format!(r#","group":{{"id":{}}}"#, random.below(2000)));
    }
    node + "}"
}

fn file(random: &mut Random) -> String {
    let mut more = String::new();
    if random.below(4) != 0 {
        more.push_str(&format!(
            r#","contents":{{"source":"data:,{}"}}"#,
            random.below(99)
        ));
        maybe(random, &mut more, &[(2, r#","overwrite":true"#)]);
    }
    maybe(
        random,
        &mut more,
        &[(3, r#","append":[{"source":"data:,more"}]"#)],
    );
    if random.below(2) == 0 {
        more.push_str(&format!(r#","mode":{}"#, random.below(0o1000)));
    }
    node(random, &more)
}

fn directory(random: &mut Random) -> String {
    let mut more = String::new();
    maybe(random, &mut more, &[(3, r#","overwrite":true"#)]);
    if random.below(2) == 0 {
        more.push_str(&format!(r#","mode":{}"#, random.below(0o1000)));
    }
    node(random, &more)
}

fn link(random: &mut Random) -> String {
    let mut more = format!(r#","target":"{}""#, pick(random, &PATHS));
    maybe(
        random,
        &mut more,
        &[(2, r#","overwrite":true"#), (3, r#","hard":true"#)],
    );
    node(random, &more)
}
