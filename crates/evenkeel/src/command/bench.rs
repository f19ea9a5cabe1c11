//! `evenkeel bench`: measures any address; the proof crate does the work.

use super::Outcome;

pub(crate) fn bench(args: evenkeel_proof::bench::Args) -> Outcome {
    Ok(evenkeel_proof::bench::run(args)?.into())
}
