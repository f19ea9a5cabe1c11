//! Starts processes from one thread that lives as long as the engine.
//!
//! Owns the one call that has to happen between fork and exec. The kernel binds "end when your parent ends" to the
//! parent's thread, so a passing worker thread must never be the one that forks.
#![allow(unsafe_code)] // CommandExt::pre_exec

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::sync::oneshot;

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that forks.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub(super) fn new() -> io::Result<Spawner> {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Spawner { orders })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts servers has ended");
        self.orders.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Makes a command's process get SIGTERM (and so save its data) when the thread that starts it ends.
pub(super) fn end_with_us(command: &mut Command) {
    let parent = getpid();
    let between_fork_and_exec = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // the parent may have ended before the call above
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(3)) }
    };
    // SAFETY: runs in the forked child before exec. It makes two system calls (prctl, getppid), allocates nothing
    // and takes no lock: both errors are made of plain numbers.
    unsafe { command.pre_exec(between_fork_and_exec) };
}
