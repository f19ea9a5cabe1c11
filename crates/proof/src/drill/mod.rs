//! `evenkeel drill`: breaks one thing at a time under a verifying load, and judges what clients saw by promises.
//!
//! ```text
//! Args ─► Plan ─► for each Drill of the catalogue, so many times:
//!
//!    Scene (a deployment)      Load (verifying clients)
//!      │  healthy?                │ calm ────── mark ─────── after ─── every key read once more
//!      │                          │              │                        │
//!      └─ strike: case/….rs ──────┼──────────────┘                     Verdict
//!                                 ▼
//!    Figures ─► judge (promises are data) ─► Report ─► table, drill.json, drill.html
//! ```
//! One failure is one file in `case`. Faults reach processes only by ids that the deployment's status names, and
//! the deployment only by its command line, its status and its nodes' own protocol.

mod args;
mod case;
mod catalogue;
mod chart;
mod course;
mod deployment;
mod entrance;
mod figures;
mod judge;
pub(crate) mod lab;
mod page;
mod report;
mod scene;
mod system;
mod table;
mod timeline;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

pub use args::Args;
use args::{Output, Plan, Where};
use catalogue::{Cast, Needs};
pub use judge::Durability;
use report::{DrillReport, Report};
use scene::Scene;

use crate::machine::Machine;

/// Why there was no drill, or why it was given up.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// No drill of this name.
    #[error("there is no drill {name}, expected one of {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Nothing was asked for.
    #[error("no drill is named, expected NAME…, --all, or --list to see them")]
    Nothing,
    /// Nobody agreed.
    #[error("a drill against a running deployment breaks things in it: agree at the prompt, or give --yes")]
    NotAgreed,
    /// This drill cannot be run here.
    #[error("{0}")]
    Unable(String),
    /// The deployment does not do what it must before anything is broken.
    #[error("the deployment is not ready: {0}")]
    NotReady(String),
    /// The deployment was given an order and did not carry it out.
    #[error("`{order}` failed: {said}")]
    Order {
        /// The command line.
        order: String,
        /// What it said.
        said: String,
    },
    /// Something that the drill waits for did not happen.
    #[error("{0}")]
    Vain(String),
    /// A result cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl DrillError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> DrillError {
        let what = what.into();
        move |source| DrillError::System { what, source }
    }
}

/// How drills ended, as a script may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every promise held.
    Held,
    /// A drill could not be run.
    Unable,
    /// A promise was broken.
    Broken,
    /// Stopped early by the user.
    Stopped,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Held => 0,
            Outcome::Unable => 1,
            Outcome::Broken => 3,
            Outcome::Stopped => 130,
        })
    }
}

/// Runs the drills that the arguments name; `program` is the evenkeel to drill. Must be called from the thread that
/// lives longest: what it starts ends with that thread.
pub fn run(args: &Args, program: &Path) -> Result<Outcome, DrillError> {
    if args.list {
        return say(&table::list(args.durability.unwrap_or_default())).map(|()| Outcome::Held);
    }
    let plan = Plan::new(args, program)?;
    if let Where::Running(dir) = &plan.place {
        agree(dir, &plan)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DrillError::system("start a runtime"))?;
    let report = runtime.block_on(drill(&plan))?;
    write_whole(&plan.json_file, &report.json())?;
    write_whole(&plan.html_file, &page::page(&report))?;
    match plan.output {
        Output::Table => say(&table::table(&report))?,
        Output::Json => say(&report.json())?,
    }
    let files = format!("written: {} and {}", plan.json_file.display(), plan.html_file.display());
    progress(&files);
    Ok(report.outcome)
}

/// All drills, one after the other; what a stop leaves undone is left out.
async fn drill(plan: &Plan) -> Result<Report, DrillError> {
    let mut report = Report::begin(Machine::look(), plan);
    let stop = |kind| signal(kind).map_err(DrillError::system("listen to signals"));
    let (mut interrupt, mut terminate) = (stop(SignalKind::interrupt())?, stop(SignalKind::terminate())?);
    let mut scene = None;
    for cast in &plan.drills {
        let mut done = DrillReport::begin(cast);
        let finished = tokio::select! {
            () = several(plan, cast, &mut scene, &mut done) => true,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        };
        if !finished {
            progress("stopping: what was broken is put right");
        }
        if let Some(scene) = &mut scene {
            scene.put_right().await;
        }
        let spoiled = !finished || done.unable.is_some() || done.unhealed();
        done.conclude(cast, report.times);
        progress(&format!("{}: {}", done.title(), done.verdict()));
        report.add(done);
        // the next drill gets a new one where this one is not what the next needs, or not what it was
        if spoiled || cast.drill.needs != Needs::Any {
            scene = None;
        }
        if !finished {
            report.stopped();
            break;
        }
    }
    drop(scene);
    report.end();
    Ok(report)
}

/// One drill, as many times as asked for.
async fn several(plan: &Plan, cast: &Cast, scene: &mut Option<Scene>, done: &mut DrillReport) {
    let drill = cast.drill;
    for number in 1..=plan.times {
        let run = async {
            let other = |scene: &Scene| scene.durability != cast.durability;
            // servers that nobody looks after stay broken
            let anew = drill.needs == Needs::Solitude || (drill.needs != Needs::Any && number == 1);
            if anew || scene.as_ref().is_some_and(other) {
                *scene = None;
            }
            let scene = match scene {
                Some(scene) => scene,
                None => scene.insert(Scene::open(plan, cast).await?),
            };
            progress(&format!("{} {number}/{}: {}", done.title(), plan.times, drill.about));
            let run = course::run(drill, scene, plan).await;
            scene.put_right().await;
            run
        };
        match run.await {
            Ok(run) => done.runs.push(run),
            Err(error) => {
                done.unable = Some(error.to_string());
                return;
            }
        }
    }
}

fn agree(dir: &Path, plan: &Plan) -> Result<(), DrillError> {
    use std::io::IsTerminal as _;
    if plan.agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(DrillError::NotAgreed);
    }
    let names: Vec<&str> = plan.drills.iter().map(|cast| cast.drill.name).collect();
    let mut err = io::stderr();
    let _ =
        write!(err, "Break things in {} ({})? Clients will notice. [y/N] ", dir.display(), names.join(", "));
    let _ = err.flush();
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(DrillError::NotAgreed),
    }
}

/// A line for the person who waits.
pub(crate) fn progress(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

fn say(text: &str) -> Result<(), DrillError> {
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    Ok(())
}

/// Replaces a file so that a reader sees the old or the new text, never half of one.
fn write_whole(path: &Path, text: &str) -> Result<(), DrillError> {
    let beside = path.with_extension("new");
    let write = || {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| DrillError::Write { path: path.to_owned(), source })
}
