//! `evenkeel drill`: breaks things and judges; the proof crate does the work.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use evenkeel_proof::drill::{self, Args};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::Outcome;

pub(crate) fn drill(args: &Args) -> Outcome {
    match args.under {
        Some(parent) => become_under(parent, args),
        None => Ok(drill::run(args, &std::env::current_exe()?)?.into()),
    }
}

/// Becomes the command that a drill needs, as a process that ends when the drill does, however that ends.
fn become_under(parent: u32, args: &Args) -> Outcome {
    let (program, words) = args.command.split_first().ok_or("--under needs a command after --")?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // the parent may have ended before the call above
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != i32::try_from(parent).ok() {
        return Err(format!("process {parent}, for which this one was started, has ended").into());
    }
    Err(Command::new(program).args(words).exec().into())
}
