//! Raw values become checked ones; every refusal names file, line, key, value and what was expected.
//!
//! Owns the limits of each key and the checks over several keys. Never fills in a default that is not
//! [`Config::default`]'s.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use toml::Value;

use super::raw::{Raw, RawCluster, RawGateway, RawTls, RawUser, RawWeb, Written};
use super::{
    Auth, Bytes, Cluster, Config, ConfigError, Durability, Engine, EngineKind, Eviction, Gateway, Millis,
    NodeUser, Persistence, Program, Threads, Tls, User, Web,
};

/// What a write's reply can wait for, by its word.
const DURABILITIES: [(&str, Durability); 2] =
    [("async", Durability::Async), ("replicated", Durability::Replicated)];

/// Distance of a node's bus port from its port; fixed by Redis.
const BUS: u16 = 10_000;

pub(super) fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    let page = Page { text, file };
    let raw: Raw = toml::from_str(text).map_err(|error| page.refused(&error))?;
    let config = Config {
        cluster: cluster(&page, &raw.cluster)?,
        gateway: gateway(&page, &raw.gateway)?,
        web: web(&page, &raw.web)?,
        engine: engine(&page, &raw.engine.kind)?,
    };
    ports(&page, &raw, &config)?;
    replicas(&page, &raw, &config)?;
    Ok(config)
}

/// Without a replica no write can be confirmed.
fn replicas(page: &Page<'_>, raw: &Raw, config: &Config) -> Result<(), ConfigError> {
    let wanted = |durability: Durability| durability == Durability::Replicated;
    let expected = "\"async\", as cluster.replicas is 0 and no replica could confirm a write";
    if config.cluster.replicas > 0 {
        return Ok(());
    }
    if wanted(config.gateway.durability) {
        return Err(page.wrong("gateway.durability", &raw.gateway.durability, expected));
    }
    if let (Some(tls), Some(raw)) = (&config.gateway.tls, &raw.gateway.tls)
        && tls.durability.is_some_and(wanted)
    {
        return Err(page.wrong("gateway.tls.durability", &raw.durability, expected));
    }
    let users = config.gateway.users.iter().zip(&raw.gateway.users);
    match users.into_iter().find(|(user, _)| user.durability.is_some_and(wanted)) {
        Some((_, raw)) => Err(page.wrong("gateway.users.durability", &raw.durability, expected)),
        None => Ok(()),
    }
}

/// The file, to find lines in.
struct Page<'a> {
    text: &'a str,
    file: &'a str,
}

impl Page<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// An error about one key's value.
    fn wrong(&self, key: &'static str, written: &Written, expected: impl Into<String>) -> ConfigError {
        let (at, value) = match written {
            Some(value) => (value.span().start, value.get_ref().to_string()),
            None => (0, "not set".to_owned()),
        };
        ConfigError::Wrong {
            file: self.file.to_owned(),
            line: self.line(at),
            key,
            value,
            expected: expected.into(),
        }
    }

    /// What the TOML parser refused: a key that does not exist, or text that is no TOML.
    fn refused(&self, error: &toml::de::Error) -> ConfigError {
        let line = self.line(error.span().map_or(0, |span| span.start));
        let (file, what) = (self.file.to_owned(), error.message().replace('\n', ": "));
        // serde says these words, for a key that exists nowhere or a section that is no table
        if what.starts_with("unknown field") || what.starts_with("invalid type") {
            let written = self.text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
            ConfigError::Unknown { file, line, written, what }
        } else {
            ConfigError::Syntax { file, line, what }
        }
    }

    fn integer(
        &self,
        key: &'static str,
        written: &Written,
        limits: RangeInclusive<i64>,
        default: i64,
    ) -> Result<i64, ConfigError> {
        match written.as_ref().map(toml::Spanned::get_ref) {
            None => Ok(default),
            Some(Value::Integer(number)) if limits.contains(number) => Ok(*number),
            Some(_) => {
                Err(self.wrong(key, written, format!("an integer {}..={}", limits.start(), limits.end())))
            }
        }
    }

    fn flag(&self, key: &'static str, written: &Written, default: bool) -> Result<bool, ConfigError> {
        match written.as_ref().map(toml::Spanned::get_ref) {
            None => Ok(default),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, written, "true or false")),
        }
    }

    /// A string that is one of a few words.
    fn word<T: Copy>(
        &self,
        key: &'static str,
        written: &Written,
        words: &[(&str, T)],
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(value) = written else { return Ok(default) };
        let found = value.get_ref().as_str().and_then(|text| words.iter().find(|(name, _)| *name == text));
        found.map(|(_, word)| *word).ok_or_else(|| {
            let names: Vec<String> = words.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.wrong(key, written, one_of(&names))
        })
    }

    /// A string that a small type reads.
    fn text<T: std::str::FromStr>(
        &self,
        key: &'static str,
        written: &Written,
        expected: &str,
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(value) = written else { return Ok(default) };
        let parsed = match value.get_ref() {
            Value::String(text) => text.parse().ok(),
            Value::Integer(number) => number.to_string().parse().ok(),
            _ => None,
        };
        parsed.ok_or_else(|| self.wrong(key, written, expected))
    }

    /// A string that has to be there, in the table in which `near` stands.
    fn named(
        &self,
        key: &'static str,
        (written, near): (&Written, &Written),
        expected: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<String, ConfigError> {
        match written.as_ref().and_then(|value| value.get_ref().as_str()) {
            Some(text) if !text.is_empty() && fits(text) => Ok(text.to_owned()),
            Some(_) => Err(self.wrong(key, written, expected)),
            None if written.is_some() => Err(self.wrong(key, written, expected)),
            None => Err(ConfigError::Wrong {
                file: self.file.to_owned(),
                line: self.line(near.as_ref().map_or(0, |near| near.span().start)),
                key,
                value: "not set".to_owned(),
                expected: expected.to_owned(),
            }),
        }
    }

    fn millis(
        &self,
        key: &'static str,
        written: &Written,
        limits: RangeInclusive<Millis>,
        default: Millis,
    ) -> Result<Millis, ConfigError> {
        let expected = format!("a duration {}..={}, such as \"{default}\"", limits.start(), limits.end());
        let time = self.text(key, written, &expected, default)?;
        if limits.contains(&time) { Ok(time) } else { Err(self.wrong(key, written, expected)) }
    }
}

fn cluster(page: &Page<'_>, raw: &RawCluster) -> Result<Cluster, ConfigError> {
    let default = Cluster::default();
    // a majority needs three primaries: with fewer the servers cannot outvote a dead one
    let shards = page.integer("cluster.shards", &raw.shards, 3..=64, default.shards.into())? as u16;
    let replicas = page.integer("cluster.replicas", &raw.replicas, 0..=5, default.replicas.into())? as u16;
    let highest = i64::from(u16::MAX - BUS - shards * (1 + replicas) + 1);
    let base_port =
        page.integer("cluster.base-port", &raw.base_port, 1024..=highest, default.base_port.into())? as u16;
    let memory = page.text(
        "cluster.memory",
        &raw.memory,
        "a size such as \"512mb\" or \"1gb\", or \"0\" for no limit",
        default.memory,
    )?;
    if memory != Bytes(0) && memory < Bytes(16 << 20) {
        return Err(page.wrong("cluster.memory", &raw.memory, "at least \"16mb\", or \"0\" for no limit"));
    }
    Ok(Cluster {
        shards,
        replicas,
        server: program(page, &raw.server)?,
        base_port,
        memory,
        eviction: page.word("cluster.eviction", &raw.eviction, &Eviction::ALL, default.eviction)?,
        persistence: page.word(
            "cluster.persistence",
            &raw.persistence,
            &[("none", Persistence::None), ("rdb", Persistence::Rdb), ("aof", Persistence::Aof)],
            default.persistence,
        )?,
        node_timeout: page.millis(
            "cluster.node-timeout",
            &raw.node_timeout,
            Millis(500)..=Millis(60_000),
            default.node_timeout,
        )?,
        hang: hang(page, &raw.hang, default.hang)?,
    })
}

/// Less than 200 ms would take an ordinary slow command for a hang.
fn hang(page: &Page<'_>, written: &Written, default: Millis) -> Result<Millis, ConfigError> {
    let expected = "\"0\" for never, or a duration 200ms..=1m, such as \"400ms\"";
    let time = page.text("cluster.hang", written, expected, default)?;
    match time.0 {
        0 | 200..=60_000 => Ok(time),
        _ => Err(page.wrong("cluster.hang", written, expected)),
    }
}

fn program(page: &Page<'_>, written: &Written) -> Result<Program, ConfigError> {
    match written.as_ref().map(toml::Spanned::get_ref) {
        None => Ok(Program::Auto),
        Some(Value::String(name)) if name == "auto" => Ok(Program::Auto),
        Some(Value::String(name)) if !name.trim().is_empty() => Ok(Program::Named(name.clone())),
        Some(_) => {
            let expected = "\"auto\", or the name or path of redis-server or valkey-server";
            Err(page.wrong("cluster.server", written, expected))
        }
    }
}

fn gateway(page: &Page<'_>, raw: &RawGateway) -> Result<Gateway, ConfigError> {
    let default = Gateway::default();
    Ok(Gateway {
        listen: listen(page, "gateway.listen", &raw.listen, default.listen)?,
        threads: threads(page, &raw.threads)?,
        hold: page.millis("gateway.hold", &raw.hold, Millis(0)..=Millis(600_000), default.hold)?,
        durability: page.word("gateway.durability", &raw.durability, &DURABILITIES, default.durability)?,
        durability_wait: page.millis(
            "gateway.durability-wait",
            &raw.durability_wait,
            Millis(1)..=Millis(600_000),
            default.durability_wait,
        )?,
        max_clients: page.integer(
            "gateway.max-clients",
            &raw.max_clients,
            1..=1_000_000,
            default.max_clients.into(),
        )? as u32,
        max_private: page.integer(
            "gateway.max-private",
            &raw.max_private,
            0..=1_000_000,
            default.max_private.into(),
        )? as u32,
        merge_reads: page.flag("gateway.merge-reads", &raw.merge_reads, default.merge_reads)?,
        auth: auth(page, "gateway.auth", &raw.auth)?,
        tls: raw.tls.as_ref().map(|raw| tls(page, raw)).transpose()?,
        users: users(page, &raw.users)?,
    })
}

fn tls(page: &Page<'_>, raw: &RawTls) -> Result<Tls, ConfigError> {
    const FILE: &str = "the path of a file in PEM";
    let any = |_: &str| true;
    let at = [&raw.listen, &raw.cert, &raw.key].into_iter().find(|written| written.is_some());
    let near = at.unwrap_or(&raw.ca);
    let addr = |text: &str| text.parse::<SocketAddr>().is_ok_and(|addr| addr.port() != 0);
    let expected = "an IP address and a port, such as \"127.0.0.1:7011\"";
    let listen = page.named("gateway.tls.listen", (&raw.listen, near), expected, addr)?;
    Ok(Tls {
        listen: listen.parse().map_err(|_| page.wrong("gateway.tls.listen", &raw.listen, expected))?,
        cert: page.named("gateway.tls.cert", (&raw.cert, near), FILE, any)?,
        key: page.named("gateway.tls.key", (&raw.key, near), FILE, any)?,
        ca: match raw.ca {
            Some(_) => Some(page.named("gateway.tls.ca", (&raw.ca, near), FILE, any)?),
            None => None,
        },
        durability: other_durability(page, "gateway.tls.durability", &raw.durability)?,
    })
}

/// A durability for some clients, where one is written.
fn other_durability(
    page: &Page<'_>,
    key: &'static str,
    written: &Written,
) -> Result<Option<Durability>, ConfigError> {
    match written {
        None => Ok(None),
        written => page.word(key, written, &DURABILITIES, Durability::default()).map(Some),
    }
}

fn users(page: &Page<'_>, raw: &[RawUser]) -> Result<Vec<User>, ConfigError> {
    const FILE: &str = "the path of a file whose first line is the password";
    const NAME: &str = "a name without spaces";
    let any = |_: &str| true;
    let mut users: Vec<User> = Vec::new();
    for raw in raw {
        let at = &raw.name;
        let name = page.named("gateway.users.name", (at, &raw.password_file), NAME, is_name)?;
        if name == "default" || users.iter().any(|other| other.name == name) {
            let expected = "a name of its own (the password of `default` is gateway.auth's)";
            return Err(page.wrong("gateway.users.name", at, expected));
        }
        let password_file = page.named("gateway.users.password-file", (&raw.password_file, at), FILE, any)?;
        let node = if raw.user.is_some() || raw.user_password_file.is_some() {
            let file = (&raw.user_password_file, at);
            Some(NodeUser {
                user: page.named("gateway.users.user", (&raw.user, at), NAME, is_name)?,
                user_password_file: page.named("gateway.users.user-password-file", file, FILE, any)?,
            })
        } else {
            None
        };
        let durability = other_durability(page, "gateway.users.durability", &raw.durability)?;
        users.push(User { name, password_file, node, durability });
    }
    Ok(users)
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn web(page: &Page<'_>, raw: &RawWeb) -> Result<Web, ConfigError> {
    Ok(Web {
        listen: listen(page, "web.listen", &raw.listen, Web::default().listen)?,
        auth: auth(page, "web.auth", &raw.auth)?,
    })
}

fn engine(page: &Page<'_>, kind: &Written) -> Result<Engine, ConfigError> {
    let kinds = [("process", EngineKind::Process)];
    Ok(Engine { kind: page.word("engine.kind", kind, &kinds, EngineKind::Process)? })
}

fn threads(page: &Page<'_>, written: &Written) -> Result<Threads, ConfigError> {
    match written.as_ref().map(toml::Spanned::get_ref) {
        None => Ok(Threads::Auto),
        Some(Value::String(word)) if word == "auto" => Ok(Threads::Auto),
        Some(Value::Integer(count @ 1..=256)) => Ok(Threads::Count(*count as u16)),
        Some(_) => Err(page.wrong("gateway.threads", written, "\"auto\" or an integer 1..=256")),
    }
}

fn auth(page: &Page<'_>, key: &'static str, written: &Written) -> Result<Auth, ConfigError> {
    let words = [("auto", Auth::Auto), ("none", Auth::None), ("password", Auth::Password)];
    page.word(key, written, &words, Auth::Auto)
}

fn listen(
    page: &Page<'_>,
    key: &'static str,
    written: &Written,
    default: SocketAddr,
) -> Result<SocketAddr, ConfigError> {
    let expected = "an IP address and a port, such as \"127.0.0.1:7010\"";
    let addr = page.text(key, written, expected, default)?;
    if addr.port() == 0 { Err(page.wrong(key, written, expected)) } else { Ok(addr) }
}

/// No two listeners on one port: nodes, their buses, the gateway and the page.
fn ports(page: &Page<'_>, raw: &Raw, config: &Config) -> Result<(), ConfigError> {
    let first = config.cluster.base_port;
    let last = first + config.nodes() - 1;
    let taken = |port: u16| (first..=last).contains(&port) || (first + BUS..=last + BUS).contains(&port);
    let whose = format!("{first}..={last} and {}..={} belong to the nodes", first + BUS, last + BUS);
    for (key, written, addr) in [
        ("gateway.listen", &raw.gateway.listen, config.gateway.listen),
        ("web.listen", &raw.web.listen, config.web.listen),
    ] {
        if taken(addr.port()) {
            let at = if written.is_some() { written } else { &raw.cluster.base_port };
            let (key, expected) = if written.is_some() {
                (key, format!("another port: {whose}"))
            } else {
                ("cluster.base-port", format!("one that leaves {key} {addr} alone: {whose}"))
            };
            return Err(page.wrong(key, at, expected));
        }
    }
    if let (Some(tls), Some(written)) = (&config.gateway.tls, &raw.gateway.tls) {
        let (key, port) = ("gateway.tls.listen", tls.listen.port());
        if taken(port) {
            return Err(page.wrong(key, &written.listen, format!("another port: {whose}")));
        }
        if port == config.gateway.listen.port() || port == config.web.listen.port() {
            let expected = "another port than those of gateway.listen and web.listen";
            return Err(page.wrong(key, &written.listen, expected));
        }
    }
    if config.gateway.listen.port() == config.web.listen.port() {
        let (key, at) = if raw.web.listen.is_some() {
            ("web.listen", &raw.web.listen)
        } else {
            ("gateway.listen", &raw.gateway.listen)
        };
        return Err(page.wrong(key, at, "different ports for gateway.listen and web.listen"));
    }
    Ok(())
}

fn one_of(names: &[String]) -> String {
    match names {
        [only] => only.clone(),
        names => format!("one of {}", names.join(", ")),
    }
}
