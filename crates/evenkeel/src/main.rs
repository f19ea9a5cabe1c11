//! The binary: reads the command line, starts and stops roles.
//!
//! Owns the exit codes. Never decides anything about clusters or requests.

mod cli;
mod command;
mod install;
mod progress;
mod run;
mod say;
mod secret;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{AcceptLossArgs, Cli, Command, FailoverArgs, RestartArgs};
use evenkeel_core::plan::Request;
use say::complain;

fn main() -> ExitCode {
    let cli = Cli::parse();
    run::log(&cli);
    let done = match cli.command {
        Command::Up(args) => command::up::up(&args),
        Command::Down(args) => command::down::down(&args),
        Command::Status(args) => command::status::status(&args),
        Command::Failover(FailoverArgs { target, order }) => {
            command::order::order(&order, &Request::Failover { target })
        }
        Command::Restart(RestartArgs { target, order }) => {
            command::order::order(&order, &Request::Restart { target })
        }
        Command::AcceptLoss(AcceptLossArgs { node, order }) => {
            command::order::order(&order, &Request::AcceptLoss { node })
        }
        Command::Check(args) => command::check::check(&args),
        Command::Run(args) => command::role::role(&args),
        Command::Bench(args) => command::bench::bench(args),
        Command::Drill(args) => command::drill::drill(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}
