//! Finds servers that an earlier evenkeel left running, and listens to processes ending.
//!
//! Owns the identity of a server process: its command line names our configuration file and it works in our
//! directory. Never trusts a process id that was written down: it may belong to somebody else by now.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

/// A handle that becomes readable when the process ends.
pub(super) type PidFd = AsyncFd<OwnedFd>;

/// Opens a handle of a process.
pub(super) fn pidfd(pid: u32) -> std::io::Result<PidFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput)?;
    // its unsafe successor asks for a promise that an OwnedFd keeps by itself
    #[allow(deprecated)]
    AsyncFd::new(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// The server that runs over a node's directory, if one does.
pub(super) fn find(conf: &Path, dir: &Path) -> Option<(u32, PidFd)> {
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| is_kin(*pid, conf, dir)) {
        // the handle first, then the look: the id cannot change hands in between
        if let Ok(handle) = pidfd(pid)
            && is_kin(pid, conf, dir)
        {
            return Some((pid, handle));
        }
    }
    None
}

fn is_kin(pid: u32, conf: &Path, dir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = line.split(|byte| *byte == 0);
    let named = words.nth(1) == Some(conf.as_os_str().as_bytes());
    // the server changes into its data directory; before it has done so it is too young to be left over
    named && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)
}

/// When a process was started, in milliseconds since the Unix epoch; within a hundredth of a second.
pub(super) fn born(pid: u32, now: u64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = uptime.split(' ').next()?.parse().ok()?;
    let age = ((up * 1_000.0) as u64).saturating_sub(ticks * 10);
    Some(now.saturating_sub(age))
}

/// The first of a node's two ports that something listens on.
pub(super) fn taken(port: u16, bus: u16) -> Option<u16> {
    let free = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    [port, bus].into_iter().find(|port| !free(*port))
}
