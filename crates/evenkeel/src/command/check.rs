//! `evenkeel check`: reads a configuration and prints what is in force.

use std::process::ExitCode;

use super::Outcome;
use crate::cli::CheckArgs;
use crate::run;
use crate::say::say;

pub(crate) fn check(args: &CheckArgs) -> Outcome {
    let config = run::config(Some(&args.file))?;
    if args.json {
        say(format_args!("{}", serde_json::to_string_pretty(&config)?));
    } else {
        print!("{}", config.to_toml());
    }
    Ok(ExitCode::SUCCESS)
}
