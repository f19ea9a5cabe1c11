//! The configuration file as it was written: every key optional, unknown keys refused, each value with its place.
//!
//! Owns the names of sections and keys. Never judges a value: that is [`super::check`]'s work.

use serde::Deserialize;
use toml::{Spanned, Value};

/// A value and where in the file it stands.
pub(super) type Written = Option<Spanned<Value>>;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) cluster: RawCluster,
    pub(super) gateway: RawGateway,
    pub(super) web: RawWeb,
    pub(super) engine: RawEngine,
}

/// `[cluster]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawCluster {
    pub(super) shards: Written,
    pub(super) replicas: Written,
    pub(super) server: Written,
    pub(super) base_port: Written,
    pub(super) memory: Written,
    pub(super) eviction: Written,
    pub(super) persistence: Written,
    pub(super) node_timeout: Written,
    pub(super) hang: Written,
}

/// `[gateway]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawGateway {
    pub(super) listen: Written,
    pub(super) threads: Written,
    pub(super) hold: Written,
    pub(super) durability: Written,
    pub(super) durability_wait: Written,
    pub(super) max_clients: Written,
    pub(super) max_private: Written,
    pub(super) merge_reads: Written,
    pub(super) auth: Written,
    pub(super) users: Vec<RawUser>,
    pub(super) tls: Option<RawTls>,
}

/// `gateway.tls`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTls {
    pub(super) listen: Written,
    pub(super) cert: Written,
    pub(super) key: Written,
    pub(super) ca: Written,
    pub(super) durability: Written,
}

/// One of `gateway.users`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawUser {
    pub(super) name: Written,
    pub(super) password_file: Written,
    pub(super) user: Written,
    pub(super) user_password_file: Written,
    pub(super) durability: Written,
}

/// `[web]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawWeb {
    pub(super) listen: Written,
    pub(super) auth: Written,
}

/// `[engine]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawEngine {
    pub(super) kind: Written,
}
