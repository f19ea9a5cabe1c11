//! What a drill needs of the system: clocks, dice, free ports, a directory, processes by their ids.
//!
//! Owns that a signal reaches only the process that was meant: its command line is looked at behind a handle of it.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open, pidfd_send_signal};

use super::DrillError;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A number below `end`, at random.
pub(crate) fn dice(end: usize) -> usize {
    let mut bytes = [0; 8];
    // without randomness every drill takes the first of everything, which is no worse than any other
    let _ = getrandom::fill(&mut bytes);
    (u64::from_le_bytes(bytes) % end.max(1) as u64) as usize
}

/// Whether this process may mount, and make networks.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// A directory that only we can read, with a name of its own.
pub(crate) fn private_dir() -> Result<PathBuf, DrillError> {
    let dir = std::env::temp_dir().join(format!("evenkeel-drill-{}-{:x}", std::process::id(), dice(1 << 32)));
    let made = DirBuilder::new().mode(0o700).create(&dir);
    made.map_err(DrillError::system(format!("make the directory {}", dir.display())))?;
    dir.canonicalize().map_err(DrillError::system("use a temporary directory"))
}

/// First of `count` free loopback ports in a row, whose ports 10000 above are free as well. All lie below the range
/// from which outgoing connections take theirs.
pub(crate) fn free_ports(count: u16) -> Result<u16, DrillError> {
    let free = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    let found = (0..500).map(|_| 10_000 + dice(usize::from(9_900 - count)) as u16);
    let mut found = found.filter(|base| (*base..base + count).all(|port| free(port) && free(port + 10_000)));
    found.next().ok_or_else(|| DrillError::Unable("no free ports between 10000 and 20000".to_owned()))
}

/// A process of a deployment, held so that its id cannot change hands.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    handle: OwnedFd,
}

impl Process {
    /// The process with this id, if it works in this directory.
    pub(crate) fn open(pid: u32, dir: &Path) -> Result<Process, DrillError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| DrillError::NotReady(format!("{pid} is no process id")))?;
        let open = pidfd_open(raw, PidfdFlags::empty()).map_err(io::Error::from);
        let handle = open.map_err(DrillError::system(format!("find process {pid}")))?;
        // the handle first, then the look: the id cannot change hands in between
        let home = fs::read_link(format!("/proc/{pid}/cwd"));
        if home.as_ref().is_ok_and(|home| home == dir) {
            return Ok(Process { pid, handle });
        }
        Err(DrillError::NotReady(format!(
            "process {pid} does not work in {}, so it is left alone",
            dir.display()
        )))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), DrillError> {
        let sent = pidfd_send_signal(&self.handle, signal).map_err(io::Error::from);
        sent.map_err(DrillError::system(format!("signal process {}", self.pid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_elsewhere_is_left_alone() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(Process::open(std::process::id(), &here).unwrap().pid, std::process::id());
        let error = Process::open(std::process::id(), Path::new("/none")).unwrap_err().to_string();
        assert!(error.contains("left alone"), "{error}");
    }

    #[test]
    fn directories_are_private_and_ports_free() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = private_dir().unwrap();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(&dir).unwrap();
        assert!((10_000..20_000).contains(&free_ports(3).unwrap()));
        assert!((0..100).all(|_| dice(3) < 3));
    }
}
