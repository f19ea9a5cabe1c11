//! `evenkeel down`: stops a service that `up` started.

use std::process::ExitCode;
use std::time::Duration;

use evenkeel_control::engine::stop_leftovers;
use evenkeel_control::home::Home;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Outcome;
use crate::cli::DownArgs;
use crate::run;
use crate::say::say;

/// How long the service may take to save its data.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn down(args: &DownArgs) -> Outcome {
    let dir = run::dir(args.dir.as_deref())?;
    let Some(pid) = Home::holder(&dir) else {
        let stopped = if dir.join("evenkeel.lock").exists() {
            let home = Home::open(&dir)?;
            run::runtime()?.block_on(stop_leftovers(&home))
        } else {
            0
        };
        match stopped {
            0 => say(format_args!("not running in {}", dir.display())),
            many => {
                say(format_args!("evenkeel was not running; stopped {many} servers that it had left behind"));
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("the lock file names no process")?;
    let handle = pidfd_open(raw, PidfdFlags::empty())?;
    // the handle first, then the look: the id cannot change hands in between
    if Home::holder(&dir) != Some(pid) {
        return Err(format!("evenkeel in {} has just stopped by itself", dir.display()).into());
    }
    pidfd_send_signal(&handle, Signal::TERM)?;
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience))?;
    if ended == 0 {
        return Err(
            format!("evenkeel with process id {pid} did not stop within {} s", PATIENCE.as_secs()).into()
        );
    }
    // It may have been killed in the same moment; then its servers are still there. A lock that somebody else has
    // taken since means that they have a new owner.
    let left = match Home::open(&dir) {
        Ok(home) => run::runtime()?.block_on(stop_leftovers(&home)),
        Err(_) => 0,
    };
    match left {
        0 => say(format_args!("stopped")),
        many => {
            say(format_args!(
                "evenkeel was killed meanwhile; stopped {many} servers that it had left behind"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
