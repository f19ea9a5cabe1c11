//! The configuration's cases: each default, each refusal, and the example file against the code.

use super::{Auth, Bytes, Config, Millis, Program, Threads};

const EXAMPLE: &str = include_str!("../../../../evenkeel.example.toml");

fn refused(text: &str) -> String {
    Config::parse(text, "evenkeel.toml").unwrap_err().to_string()
}

#[test]
fn nothing_written_means_the_defaults() {
    assert_eq!(Config::parse("", "evenkeel.toml").unwrap(), Config::default());
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [cluster]
        shards = 5
        replicas = 2
        server = "/opt/valkey-server"
        base-port = 8001
        memory = "1gb"
        eviction = "allkeys-lru"
        persistence = "none"
        node-timeout = "1500ms"
        [gateway]
        listen = "0.0.0.0:6379"
        threads = 4
        hold = "2s"
        max-clients = 99
        merge-reads = false
        auth = "password"
        tls = { listen = "0.0.0.0:7011", cert = "c", key = "k", durability = "replicated" }
        users = [{ name = "app", password-file = "a" }, { name = "b", password-file = "c", user = "d", user-password-file = "e" }]
        [web]
        listen = "[::1]:80"
        auth = "none"
        [engine]
        kind = "process"
    "#;
    let config = Config::parse(text, "evenkeel.toml").unwrap();
    assert_eq!(config.nodes(), 15);
    assert_eq!(config.ports().collect::<Vec<_>>().len(), 15);
    assert_eq!(config.cluster.server, Program::Named("/opt/valkey-server".into()));
    assert_eq!((config.cluster.memory, config.cluster.node_timeout), (Bytes(1 << 30), Millis(1500)));
    assert_eq!((config.gateway.threads, config.gateway.auth), (Threads::Count(4), Auth::Password));
    assert!(!config.gateway.merge_reads);
    assert_eq!(Config::parse(&config.to_toml(), "again").unwrap(), config, "what is printed can be read");
}

#[test]
fn a_refusal_names_file_line_key_value_and_expectation() {
    assert_eq!(
        refused("[cluster]\n\nshards = 300\n"),
        "evenkeel.toml:3: cluster.shards is 300, expected an integer 3..=64"
    );
    for (text, expected) in [
        ("[cluster]\nshards = \"3\"", "cluster.shards is \"3\", expected an integer 3..=64"),
        ("[cluster]\nreplicas = -1", "cluster.replicas is -1, expected an integer 0..=5"),
        ("[cluster]\nserver = 7", "cluster.server is 7, expected \"auto\", or the name or path of"),
        ("[cluster]\nbase-port = 60000", "cluster.base-port is 60000, expected an integer 1024..=55530"),
        ("[cluster]\nmemory = \"1tb\"", "cluster.memory is \"1tb\", expected a size such as"),
        ("[cluster]\nmemory = \"1mb\"", "cluster.memory is \"1mb\", expected at least \"16mb\""),
        (
            "[cluster]\neviction = \"lru\"",
            "cluster.eviction is \"lru\", expected one of \"noeviction\", \"allkeys-lru\"",
        ),
        (
            "[cluster]\npersistence = true",
            "cluster.persistence is true, expected one of \"none\", \"rdb\", \"aof\"",
        ),
        (
            "[cluster]\nnode-timeout = \"5\"",
            "cluster.node-timeout is \"5\", expected a duration 500ms..=1m, such as \"5s\"",
        ),
        (
            "[cluster]\nnode-timeout = \"1ms\"",
            "cluster.node-timeout is \"1ms\", expected a duration 500ms..=1m",
        ),
        (
            "[gateway]\nlisten = \"localhost\"",
            "gateway.listen is \"localhost\", expected an IP address and a port",
        ),
        (
            "[gateway]\nlisten = \"127.0.0.1:0\"",
            "gateway.listen is \"127.0.0.1:0\", expected an IP address and a port",
        ),
        ("[gateway]\nthreads = 0", "gateway.threads is 0, expected \"auto\" or an integer 1..=256"),
        ("[gateway]\nhold = \"1h\"", "gateway.hold is \"1h\", expected a duration 0ms..=10m"),
        (
            "[gateway]\nusers = [{ name = \"default\", password-file = \"a\" }]",
            "gateway.users.name is \"default\", expected a name of its own",
        ),
        (
            "[gateway]\nusers = [{ name = \"a\" }]",
            "gateway.users.password-file is not set, expected the path of a file",
        ),
        (
            "[gateway]\ntls = { listen = \"0.0.0.0:1\" }",
            "gateway.tls.cert is not set, expected the path of a file",
        ),
        (
            "[gateway]\ntls = { listen = \"[::]:7010\", cert = \"a\", key = \"b\" }",
            "gateway.tls.listen is \"[::]:7010\", expected another port than those of gateway.listen",
        ),
        ("[gateway]\nmax-clients = 0", "gateway.max-clients is 0, expected an integer 1..=1000000"),
        (
            "[web]\nauth = \"hunter2\"",
            "web.auth is \"hunter2\", expected one of \"auto\", \"none\", \"password\"",
        ),
        ("[engine]\nkind = \"swarm\"", "engine.kind is \"swarm\", expected \"process\""),
        (
            "[web]\nlisten = \"127.0.0.1:17003\"",
            "web.listen is \"127.0.0.1:17003\", expected another port: 7001..=7006",
        ),
        ("[cluster]\nbase-port = 7005", "cluster.base-port is 7005, expected one that leaves gateway.listen"),
        ("[web]\nlisten = \"127.0.0.1:7010\"", "web.listen is \"127.0.0.1:7010\", expected different ports"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("evenkeel.toml:2: "), "{error}");
        assert!(error.contains(expected), "{error}\n  wanted {expected}");
    }
}

#[test]
fn nothing_is_confirmed_without_replicas() {
    let tls = "tls = { listen = \"[::]:1\", cert = \"a\", key = \"b\", durability = \"replicated\" }";
    let error = refused(&format!("cluster.replicas = 0\ngateway.{tls}"));
    let expected = "gateway.tls.durability is \"replicated\", expected \"async\", as cluster.replicas is 0";
    assert!(error.starts_with("evenkeel.toml:2: ") && error.contains(expected), "{error}");
}

#[test]
fn unknown_keys_and_broken_toml_are_refused_with_their_line() {
    let error = refused("[cluster]\nshards = 3\nshrads = 5\n");
    assert!(
        error.starts_with("evenkeel.toml:3: `shrads = 5`: unknown field `shrads`, expected one of"),
        "{error}"
    );
    let error = refused("[clutser]\nshards = 3\n");
    assert!(
        error.starts_with("evenkeel.toml:1: `[clutser]`: unknown field `clutser`, expected one of"),
        "{error}"
    );
    let error = refused("cluster = 3\n");
    assert!(error.starts_with("evenkeel.toml:1: `cluster = 3`: invalid type"), "{error}");
    let error = refused("[cluster]\nshards = \n");
    assert!(error.starts_with("evenkeel.toml:2: not TOML: "), "{error}");
    let error = refused("[cluster]\nshards = 3\nshards = 4\n");
    assert!(error.contains("evenkeel.toml:3: "), "{error}");
}

#[test]
fn the_example_file_is_the_defaults_and_names_every_key() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')) => {
                format!("{key}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(Config::parse(EXAMPLE, "example").unwrap(), Config::default(), "as it stands");
    assert_eq!(Config::parse(&uncommented, "example").unwrap(), Config::default(), "uncommented");
    let written: toml::Table = uncommented.parse().unwrap();
    let known: toml::Table = Config::default().to_toml().parse().unwrap();
    for (section, keys) in &known {
        for key in keys.as_table().unwrap().keys() {
            let named = written.get(section).and_then(|table| table.get(key));
            assert!(named.is_some(), "{section}.{key} is not in the example file");
        }
    }
}

#[test]
fn auto_asks_for_a_password_only_beyond_loopback() {
    assert!(!Auth::Auto.applies("127.0.0.1:1".parse().unwrap()));
    assert!(!Auth::Auto.applies("[::1]:1".parse().unwrap()));
    assert!(Auth::Auto.applies("0.0.0.0:1".parse().unwrap()));
    assert!(Auth::Password.applies("127.0.0.1:1".parse().unwrap()));
    assert!(!Auth::None.applies("10.0.0.1:1".parse().unwrap()));
}
