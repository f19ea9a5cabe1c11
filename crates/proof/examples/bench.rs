//! `evenkeel bench` alone, for trying it out while nothing else is built.

use std::process::ExitCode;

use clap::Parser;
use evenkeel_proof::bench::{Args, run};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: Args,
}

fn main() -> ExitCode {
    match run(Line::parse().bench) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
