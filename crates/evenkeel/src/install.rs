//! Installs Debian's redis-server where there is no server program, if the user wants that.
//!
//! Owns the conversation and the call of apt. Never leaves the distribution's own service running or enabled:
//! evenkeel starts its own servers, and nobody asked for one on port 6379.

use crate::say::say;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

/// Debian's hook that is asked before a package starts its service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// Nobody said yes.
    #[error(
        "{0}: install redis-server or valkey-server (on Debian: `evenkeel up --install-server`), or name it with cluster.server"
    )]
    NotWanted(String),
    /// apt did not work.
    #[error("{command} failed ({why}): install redis-server or valkey-server yourself, then try again")]
    Failed { command: String, why: String },
}

/// Says what is missing and installs it with `--install-server` or a yes at the prompt.
pub(crate) fn offer(missing: &dyn std::fmt::Display, flag: bool) -> Result<(), InstallError> {
    if !flag && !agreed(missing) {
        return Err(InstallError::NotWanted(missing.to_string()));
    }
    say(format_args!("{missing}: installing Debian's redis-server"));
    let quiet = Quiet::begin();
    apt(&["update", "-q"])?;
    apt(&["install", "-q", "-y", "--no-install-recommends", "redis-server"])?;
    drop(quiet);
    if Path::new("/run/systemd/system").exists() {
        let _ = as_root("systemctl").args(["disable", "--now", "redis-server"]).status();
    }
    Ok(())
}

fn agreed(missing: &dyn std::fmt::Display) -> bool {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return false;
    }
    print!("There is {missing}. Install Debian's redis-server with apt-get? [y/N] ");
    let _ = io::stdout().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn apt(args: &[&str]) -> Result<(), InstallError> {
    let mut command = as_root("apt-get");
    // RUNLEVEL=1 keeps old-style init scripts from starting the service, the policy file keeps systemd from it
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    let failed = |why: String| InstallError::Failed { command: format!("apt-get {}", args.join(" ")), why };
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(status.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// While it lives, packages do not start services. A policy that is there already is left alone.
struct Quiet {
    ours: bool,
}

impl Quiet {
    fn begin() -> Quiet {
        let open = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        let ours = open.is_ok_and(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n").is_ok());
        Quiet { ours }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
