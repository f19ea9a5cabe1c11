//! The server program: which one, where, and whether it really is one.
//!
//! Owns the facts that differ by program. Never starts a server: engines do.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_core::config::Program;

/// A server program that was found and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The program. Not resolved: Debian's `redis-server` is a link to a program that looks at its own name.
    pub program: PathBuf,
    /// Which one it is.
    pub kind: Kind,
    /// Its version, e.g. `7.0.15`.
    pub version: String,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// The facts about each kind: its program's usual name and how `--version` begins.
const KINDS: [(Kind, &str, &str); 2] =
    [(Kind::Valkey, "valkey-server", "Valkey server v="), (Kind::Redis, "redis-server", "Redis server v=")];

/// Oldest version that works.
const OLDEST: u32 = 7;

/// Why there is no server program to run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// None was found.
    #[error("no {looked_for} on PATH")]
    Missing {
        /// The names that were looked for.
        looked_for: String,
    },
    /// It is something else.
    #[error(
        "cluster.server {program} is not a Redis or Valkey server: {what}, expected redis-server or valkey-server"
    )]
    NotOne {
        /// The program.
        program: String,
        /// What it did or said instead.
        what: String,
    },
    /// It is too old.
    #[error("cluster.server {program} is version {version}, expected {OLDEST}.0 or newer")]
    TooOld {
        /// The program.
        program: String,
        /// Its version.
        version: String,
    },
}

impl Server {
    /// Finds the program that the configuration names and makes sure of it.
    pub fn find(wanted: &Program) -> Result<Server, ServerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path =
            |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file));
        match wanted {
            Program::Auto => {
                let found = KINDS.iter().find_map(|(_, name, _)| on_path(name));
                let program = found.ok_or_else(|| ServerError::Missing {
                    looked_for: KINDS.map(|(_, name, _)| name).join(" and no "),
                })?;
                Server::ask(program)
            }
            Program::Named(name) if name.contains('/') => {
                let program = std::path::absolute(name).unwrap_or_else(|_| PathBuf::from(name));
                if is_program(&program) {
                    Server::ask(program)
                } else {
                    Err(not_one(&program, "there is no such program".to_owned()))
                }
            }
            Program::Named(name) => match on_path(name) {
                Some(program) => Server::ask(program),
                None => Err(ServerError::Missing { looked_for: name.clone() }),
            },
        }
    }

    fn ask(program: PathBuf) -> Result<Server, ServerError> {
        let said = first_words(&program).map_err(|what| not_one(&program, what))?;
        let known = KINDS.iter().find_map(|(kind, _, begin)| Some((*kind, said.strip_prefix(begin)?)));
        let Some((kind, rest)) = known else {
            let line: String = said.lines().next().unwrap_or_default().chars().take(80).collect();
            return Err(not_one(&program, format!("it answers {line:?} to --version")));
        };
        let version = rest.split_ascii_whitespace().next().unwrap_or_default().to_owned();
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            return Err(ServerError::TooOld { program: program.display().to_string(), version });
        }
        Ok(Server { program, kind, version })
    }

    /// Its name and version for people.
    pub fn title(&self) -> String {
        let name = KINDS.iter().find(|(kind, ..)| *kind == self.kind).map_or("server", |(_, name, _)| name);
        format!("{name} {}", self.version)
    }
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn not_one(program: &Path, what: String) -> ServerError {
    ServerError::NotOne { program: program.display().to_string(), what }
}

/// What a program prints when it is asked for its version: 4 KiB and 5 s at most, so that no program can hang us.
fn first_words(program: &Path) -> Result<String, String> {
    let command = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = command.map_err(|error| format!("it cannot be run: {error}"))?;
    let pipe = child.stdout.take();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(4096).read_to_end(&mut said);
        }
        let _ = tell.send(String::from_utf8_lossy(&said).into_owned());
    });
    let said = told.recv_timeout(Duration::from_secs(5));
    let patience = Instant::now() + Duration::from_secs(1);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < patience && said.is_ok() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    said.map_err(|_| "it says nothing to --version".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Server, ServerError};
    use evenkeel_core::config::Program;

    #[test]
    fn the_installed_one_is_found() {
        let server = Server::find(&Program::Auto).unwrap();
        assert!(server.title().contains("-server "), "{server:?}");
        assert_eq!(Server::find(&Program::Named(server.program.display().to_string())).unwrap(), server);
    }

    #[test]
    fn other_programs_are_refused() {
        for name in ["/bin/true", "sleep", "/bin/cat", "/etc/passwd", "/nonexistent/redis-server"] {
            let error = Server::find(&Program::Named(name.into())).unwrap_err();
            assert!(matches!(error, ServerError::NotOne { .. }), "{name}: {error}");
        }
        let error = Server::find(&Program::Named("no-such-server".into())).unwrap_err();
        assert_eq!(error.to_string(), "no no-such-server on PATH");
    }
}
