//! The directory in which everything of one deployment lies.
//!
//! Owns its layout, its lock, its secrets and the record of what it was made for. Never lets two evenkeels share
//! it, and never writes a secret where others can read it.
//!
//! ```text
//! <dir>/                 mode 0700
//!   evenkeel.lock        held (flock) while an evenkeel runs here; its process id and page
//!   secrets.json         mode 0600: generated passwords
//!   layout.json          shards and replicas that the data below was made with, and the port that names the nodes
//!   members.json         who is who: id, role and slots of every node, when all was well last
//!   orders.json          orders that are not done yet
//!   control.sock         mode 0600: takes orders of `evenkeel failover` and `evenkeel restart`
//!   journal.jsonl        every step and event with its reason
//!   status.json          what control saw last
//!   evenkeel.log         the log of `up --detach`
//!   nodes/<name>/        redis.conf (0600), nodes.conf, the data, server.log
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use evenkeel_core::config::Config;
use evenkeel_core::plan::NodeName;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// An open, locked directory.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    secrets: Secrets,
    // the lock lasts as long as this is open
    lock: File,
}

/// Generated passwords.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Secrets {
    /// What the nodes ask of the gateway, of control and of each other.
    pub node_password: String,
    /// What the gateway asks of clients, where it asks.
    pub gateway_password: String,
    /// What the page asks of people, where it asks.
    pub web_password: String,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `--dir` nor a home directory.
    #[error("no directory to keep data in: neither XDG_STATE_HOME nor HOME is set, expected --dir DIR")]
    Nowhere,
    /// Another evenkeel runs here.
    #[error(
        "the directory {dir} is in use by evenkeel with process id {pid}: stop that one (`evenkeel down --dir \
         {dir}`) or use another --dir"
    )]
    InUse {
        /// The directory.
        dir: String,
        /// Who holds it; 0 when that could not be read.
        pid: u32,
    },
    /// It holds something else.
    #[error(
        "the directory {dir} is not empty and was not made by evenkeel, expected an empty or a new one in --dir"
    )]
    NotOurs {
        /// The directory.
        dir: String,
    },
    /// It was made for something else.
    #[error(
        "{key} is {now}, but the data in {dir} was made with {then}, and changing it is not possible yet: write \
         {then}, or use another --dir"
    )]
    Changed {
        /// Configuration key.
        key: &'static str,
        /// The value asked for.
        now: String,
        /// The value it was made with.
        then: String,
        /// The directory.
        dir: String,
    },
    /// A file of ours that cannot be understood.
    #[error(
        "{file} is damaged: {what}; put it back from a copy, or remove it and the directory {dir} starts anew"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
        /// The directory.
        dir: String,
    },
    /// The system refused.
    #[error("{what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// What the data in a directory was made with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Layout {
    base_port: u16,
    shards: u16,
    replicas: u16,
}

impl Home {
    /// `$XDG_STATE_HOME/evenkeel`, or `~/.local/state/evenkeel`.
    pub fn default_dir() -> Result<PathBuf, HomeError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        state.map(|state| state.join("evenkeel")).ok_or(HomeError::Nowhere)
    }

    /// Makes the directory where it is missing, locks it, and reads or makes its secrets.
    pub fn open(dir: &Path) -> Result<Home, HomeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| system("cannot make the directory", dir, source))?;
        let dir = dir.canonicalize().map_err(|source| system("cannot use the directory", dir, source))?;
        let lock_path = dir.join("evenkeel.lock");
        let empty =
            fs::read_dir(&dir).map_err(|source| system("cannot read", &dir, source))?.next().is_none();
        if !empty && !lock_path.exists() {
            return Err(HomeError::NotOurs { dir: dir.display().to_string() });
        }
        let lock = lock(&lock_path, &dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))
            .map_err(|source| system("cannot close to others", &dir, source))?;
        let secrets = secrets(&dir)?;
        Ok(Home { dir, secrets, lock })
    }

    /// The process that holds a directory, if any does.
    pub fn holder(dir: &Path) -> Option<u32> {
        let mut file = File::open(dir.join("evenkeel.lock")).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => read_pid(&mut file),
        }
    }

    /// Tells where the page of this directory's evenkeel is, for as long as the lock is held.
    pub fn announce(&self, page: SocketAddr) -> Result<(), HomeError> {
        let wrote = write_lock(&self.lock, &format!("{}\n{page}\n", std::process::id()));
        wrote.map_err(|source| system("cannot write the lock of", &self.dir, source))
    }

    /// Where the page was said to be.
    pub fn page(dir: &Path) -> Option<SocketAddr> {
        fs::read_to_string(dir.join("evenkeel.lock")).ok()?.lines().nth(1)?.parse().ok()
    }

    /// The passwords of a directory that another evenkeel holds, to ask it.
    pub fn secrets_of(dir: &Path) -> Option<Secrets> {
        serde_json::from_slice(&fs::read(dir.join("secrets.json")).ok()?).ok()
    }

    /// Refuses a configuration that would not find the data that lies here; remembers a first one. Returns the port
    /// after which the first node is named, which stays when ports change.
    pub fn suits(&self, config: &Config) -> Result<u16, HomeError> {
        let path = self.dir.join("layout.json");
        let now = Layout {
            base_port: config.cluster.base_port,
            shards: config.cluster.shards,
            replicas: config.cluster.replicas,
        };
        let then: Layout = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| self.damaged(&path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = serde_json::to_vec_pretty(&now).expect("plain fields are always JSON");
                let wrote = write_whole(&path, &text, 0o600);
                return wrote.map(|()| now.base_port).map_err(|source| system("cannot write", &path, source));
            }
            Err(source) => return Err(system("cannot read", &path, source)),
        };
        for (key, now, then) in [
            ("cluster.shards", now.shards.to_string(), then.shards.to_string()),
            ("cluster.replicas", now.replicas.to_string(), then.replicas.to_string()),
        ] {
            if now != then {
                return Err(HomeError::Changed { key, now, then, dir: self.dir.display().to_string() });
            }
        }
        Ok(then.base_port)
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The generated passwords.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Where a node's files lie.
    pub fn node_dir(&self, node: &NodeName) -> PathBuf {
        self.dir.join("nodes").join(&node.0)
    }

    /// What control saw last.
    pub fn status_path(dir: &Path) -> PathBuf {
        dir.join("status.json")
    }

    /// Forgets what an earlier control saw last: it would be taken for the word of the next one.
    pub fn forget_status(&self) -> Result<(), HomeError> {
        let path = Home::status_path(&self.dir);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(system("remove", &path, source)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Steps and events.
    pub fn journal_path(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    fn damaged(&self, path: &Path, what: &dyn std::fmt::Display) -> HomeError {
        damaged(path, &self.dir, what)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secrets(not shown)")
    }
}

/// Replaces a file so that a reader sees the old or the new text, never half of one.
pub(crate) fn write_whole(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text)?;
    drop(file);
    fs::rename(&beside, path)
}

fn lock(path: &Path, dir: &Path) -> Result<File, HomeError> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(|source| system("cannot open", path, source))?;
    // `status` looks with a shared lock for an instant; that must not make us give up
    for _ in 0..10 {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let wrote = write_lock(&file, &format!("{}\n", std::process::id()));
            return wrote.map(|()| file).map_err(|source| system("cannot write", path, source));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Err(HomeError::InUse { dir: dir.display().to_string(), pid: read_pid(&mut file).unwrap_or(0) })
}

fn write_lock(mut file: &File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(100).read_to_string(&mut text).ok()?;
    text.lines().next()?.parse().ok()
}

fn secrets(dir: &Path) -> Result<Secrets, HomeError> {
    let path = dir.join("secrets.json");
    match fs::read(&path) {
        Ok(text) => {
            fs::set_permissions(&path, Permissions::from_mode(0o600))
                .map_err(|source| system("cannot close to others", &path, source))?;
            serde_json::from_slice(&text).map_err(|error| damaged(&path, dir, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fresh = || password().map_err(|source| system("cannot draw a password for", &path, source));
            let secrets =
                Secrets { node_password: fresh()?, gateway_password: fresh()?, web_password: fresh()? };
            let text = serde_json::to_vec_pretty(&secrets).expect("plain fields are always JSON");
            write_whole(&path, &text, 0o600).map_err(|source| system("cannot write", &path, source))?;
            Ok(secrets)
        }
        Err(source) => Err(system("cannot read", &path, source)),
    }
}

/// 160 random bits in letters and digits that survive any shell and configuration file.
fn password() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}

fn system(what: &'static str, path: &Path, source: io::Error) -> HomeError {
    HomeError::System { what, path: path.display().to_string(), source }
}

fn damaged(path: &Path, dir: &Path, what: &dyn std::fmt::Display) -> HomeError {
    HomeError::Damaged {
        file: path.display().to_string(),
        what: what.to_string(),
        dir: dir.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Home, HomeError};
    use evenkeel_core::config::Config;

    #[test]
    fn it_is_private_and_keeps_its_secrets() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("a/b");
        let home = Home::open(&dir).unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("secrets.json"))), (0o700, 0o600));
        let password = home.secrets().node_password.clone();
        assert_eq!(password.len(), 32);
        assert!(!format!("{home:?}").contains(&password));
        drop(home);
        assert_eq!(Home::open(&dir).unwrap().secrets().node_password, password);
    }

    #[test]
    fn two_never_share_it_and_the_holder_is_named() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        assert_eq!(Home::holder(place.path()), Some(std::process::id()));
        let error = Home::open(place.path()).unwrap_err();
        assert!(matches!(error, HomeError::InUse { pid, .. } if pid == std::process::id()), "{error}");
        drop(home);
        assert_eq!(Home::holder(place.path()), None);
        Home::open(place.path()).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(Home::open(place.path()).unwrap_err(), HomeError::NotOurs { .. }));
    }

    #[test]
    fn data_made_with_other_settings_is_not_overlooked() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        let mut config = Config::default();
        home.suits(&config).unwrap();
        home.suits(&config).unwrap();
        config.cluster.base_port = 8001;
        assert_eq!(home.suits(&config).unwrap(), 7001, "nodes keep their names");
        config.cluster.shards = 4;
        let error = home.suits(&config).unwrap_err().to_string();
        assert!(error.starts_with("cluster.shards is 4, but the data in"), "{error}");
        std::fs::write(place.path().join("layout.json"), "{").unwrap();
        assert!(matches!(home.suits(&config).unwrap_err(), HomeError::Damaged { .. }));
    }
}
