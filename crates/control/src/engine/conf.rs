//! A node's configuration file.
//!
//! Owns every setting that evenkeel gives a server, and the reason where it is not the server's default.

use std::fmt::Write as _;
use std::path::Path;

use evenkeel_core::config::{Cluster, Persistence};
use evenkeel_core::plan::Settings;

/// Distance of a node's bus port from its port; fixed by Redis.
pub(super) const BUS: u16 = 10_000;
/// Where a node keeps its users, in its directory.
pub(super) const USERS: &str = "users.acl";

/// Settings that a running server takes over; all others need a new process.
const ADJUSTABLE: [&str; 9] = [
    "cluster-node-timeout",
    "cluster-require-full-coverage",
    "maxmemory",
    "maxmemory-policy",
    "repl-diskless-sync",
    "repl-backlog-size",
    "appendonly",
    "appendfsync",
    "save",
];
/// What stands before the program and version that a file was written for.
const PROGRAM: &str = "# for ";

/// The text of a node's `redis.conf`. `program` is what runs with it, for people and for comparison.
pub(super) fn conf(cluster: &Cluster, program: &str, port: u16, dir: &Path, password: &str) -> String {
    let mut text = String::from("# written by evenkeel at every start: changes here are lost\n");
    let _ = writeln!(text, "{PROGRAM}{program}");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} {value}");
    };
    set("bind", "127.0.0.1");
    set("port", &port.to_string());
    set("dir", &quoted(&dir.display().to_string()));
    // users are kept in a file of their own, the password of `default` included
    set("aclfile", USERS);
    set("masterauth", password);
    set("daemonize", "no");
    set("supervised", "no");
    // evenkeel knows its servers again by their command line
    set("set-proc-title", "no");
    set("cluster-enabled", "yes");
    set("cluster-config-file", "nodes.conf");
    set("cluster-node-timeout", &cluster.node_timeout.0.to_string());
    // one dead shard must not stop the others
    set("cluster-require-full-coverage", "no");
    // the planner decides who copies whom
    set("cluster-allow-replica-migration", "no");
    set("maxmemory", &cluster.memory.0.to_string());
    set("maxmemory-policy", cluster.eviction.name());
    // After a diskless copy a primary holds new writes back until the replica's next word, which comes once a
    // second, while the replica says already that it is in sync: a failover in that second lost acknowledged
    // writes (measured: about 100 in 12 kills). After a copy by file it sends them at once.
    set("repl-diskless-sync", "no");
    // a replica that was away for a moment catches up without a full copy
    set("repl-backlog-size", "16mb");
    // Each client that waits in a blocking command has a connection of its own here, and the gateway limits these;
    // the server lowers it where the system allows fewer files.
    set("maxclients", "50000");
    match cluster.persistence {
        Persistence::None => {
            set("appendonly", "no");
            set("save", "\"\"");
        }
        Persistence::Rdb => {
            set("appendonly", "no");
            set("save", "3600 1 300 100 60 10000");
        }
        Persistence::Aof => {
            set("appendonly", "yes");
            set("appendfsync", "everysec");
            set("save", "\"\"");
        }
    }
    text
}

/// How the settings in one file differ from those in another.
pub(super) fn differences(running: &str, wanted: &str) -> Settings {
    let line = |text: &str, start: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(start)?.trim().to_owned()))
    };
    if let (Some(now), Some(then)) = (line(wanted, PROGRAM), line(running, PROGRAM))
        && now != then
    {
        return Settings::Fixed(format!("{now} instead of {then}"));
    }
    let settings = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let then = settings(running);
    let changes: Vec<_> = settings(wanted).into_iter().filter(|setting| !then.contains(setting)).collect();
    match changes.iter().find(|(key, _)| !ADJUSTABLE.contains(&key.as_str())) {
        Some((key, _)) => Settings::Fixed(format!("another {key}")),
        None if changes.is_empty() => Settings::InForce,
        None => Settings::Adjustable(
            changes.into_iter().map(|(key, value)| (key, value.trim_matches('"').to_owned())).collect(),
        ),
    }
}

/// What a server with these settings writes to disk.
pub(super) fn persistence(text: &str) -> Option<Persistence> {
    let has = |wanted: &str| text.lines().any(|line| line == wanted);
    match (has("appendonly yes"), has("appendonly no"), has("save \"\"")) {
        (true, ..) => Some(Persistence::Aof),
        (false, true, true) => Some(Persistence::None),
        (false, true, false) => Some(Persistence::Rdb),
        (false, false, _) => None,
    }
}

/// The text of a node's file of users: those that it has written there itself, and `default`, as whom evenkeel itself, its
/// gateways and the other nodes log in.
pub(super) fn users(before: &str, password: &str) -> String {
    let mut text = format!("user default on >{password} ~* &* +@all\n");
    let others = before.lines().filter(|line| !line.starts_with("user default ") && !line.trim().is_empty());
    for line in others {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// A value in quotes as the server's configuration reader takes them.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{conf, differences, persistence, users};
    use evenkeel_core::config::{Bytes, Cluster, Persistence};
    use evenkeel_core::plan::Settings;

    #[test]
    fn what_the_operator_chose_is_in_it() {
        let cluster = Cluster { persistence: Persistence::None, ..Cluster::default() };
        let text = conf(&cluster, "redis-server 7.0.15", 7005, Path::new("/a \"b\"/c"), "secret");
        for line in [
            "port 7005",
            "dir \"/a \\\"b\\\"/c\"",
            "aclfile users.acl",
            "masterauth secret",
            "appendonly no",
            "cluster-node-timeout 5000",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
    #[test]
    fn differences_are_set_in_place_where_the_server_can() {
        let text = |cluster: &Cluster, program: &str| conf(cluster, program, 7001, Path::new("/a"), "secret");
        let before = Cluster::default();
        let now = text(&before, "redis-server 7.0.15");
        assert_eq!(differences(&now, &now), Settings::InForce);
        for (persistence, changes) in [
            (Persistence::Rdb, vec![("appendonly", "no"), ("save", "3600 1 300 100 60 10000")]),
            (Persistence::None, vec![("appendonly", "no")]),
        ] {
            let after = text(&Cluster { persistence, ..before.clone() }, "redis-server 7.0.15");
            let changes = changes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(differences(&now, &after), Settings::Adjustable(changes.collect()));
            assert_eq!(super::persistence(&after), Some(persistence));
        }
        let after = text(&Cluster { memory: Bytes(1 << 30), ..before.clone() }, "redis-server 7.0.15");
        let changes = vec![("maxmemory".to_owned(), "1073741824".to_owned())];
        assert_eq!(differences(&now, &after), Settings::Adjustable(changes));
        let other = "valkey-server 8.1.0 instead of redis-server 7.0.15";
        assert_eq!(
            differences(&now, &text(&before, "valkey-server 8.1.0")),
            Settings::Fixed(other.to_owned())
        );
        let moved = now.replace("port 7001", "port 7002");
        assert_eq!(differences(&now, &moved), Settings::Fixed("another port".to_owned()));
        assert_eq!((persistence(&now), persistence("port 1")), (Some(Persistence::Aof), None));
    }

    #[test]
    fn a_node_keeps_its_users_and_default_is_ours() {
        assert_eq!(users("", "secret"), "user default on >secret ~* &* +@all\n");
        assert_eq!(
            users("user alice on #ab ~* +get\nuser default on nopass\n\n", "secret"),
            "user default on >secret ~* &* +@all\nuser alice on #ab ~* +get\n"
        );
    }
}
