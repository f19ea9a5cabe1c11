//! The command line of `evenkeel drill`, and the checked plan that is made from it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::DrillError;
use super::catalogue::{self, Cast};
use super::judge::{Durability, Times};
use crate::units;

/// Break one thing at a time under a verifying load, and see what clients notice.
///
/// Without --dir the drills have a deployment of their own, in a temporary directory and on free ports, which is
/// removed in the end. Exit status: 0 every promise held, 1 a drill could not be run, 3 a promise was broken,
/// 130 stopped early.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Drills to run, see --list
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Run every drill
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Show what can be broken, and what is promised then
    #[arg(long)]
    pub list: bool,
    /// Runs of each drill, each at another moment; figures are then median, least and most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub times: u32,
    /// Drill the deployment that runs in this directory instead; asks first
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Seconds of load before the fault and after the healing
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Clients of the load
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,
    /// Settings of its own deployment in the form of the configuration file, such as cluster.persistence="none"
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "dir")]
    pub set: Vec<String>,
    /// What writes wait for before they are acknowledged, by which losses are judged [default: async; with --all also
    /// replicated, for the drills in which that decides what is lost]
    #[arg(long, value_name = "WHAT", value_enum, conflicts_with = "dir")]
    pub durability: Option<Durability>,
    /// Put the servers through the drills alone as well, without gateway and control, to compare: primary-killed,
    /// primary-hung, planned-failover
    #[arg(long, conflicts_with = "dir")]
    pub alone: bool,
    /// Report times without judging them, as is done anyway where the machine is busy when the drills begin
    #[arg(long)]
    pub no_time_limits: bool,
    /// Print drill.json to standard output
    #[arg(long)]
    pub json: bool,
    /// Directory for drill.json and drill.html [default: drill-<time of start>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// File for the HTML report, if it shall lie elsewhere
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// This process becomes the command that follows, and ends when the process with this id does
    #[arg(long, hide = true, value_name = "PID", requires = "command")]
    pub under: Option<u32>,
    /// That command
    #[arg(last = true, hide = true)]
    pub command: Vec<OsString>,
}

/// What is drilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// A deployment of the drill's own, with these settings (`section.key`, value).
    Own(Vec<(String, String)>),
    /// The one that runs in this directory.
    Running(PathBuf),
}

/// What goes to standard output at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A table for people.
    Table,
    /// The report for scripts.
    Json,
}

/// A checked command line.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) drills: Vec<Cast>,
    pub(crate) times: u32,
    pub(crate) place: Where,
    pub(crate) agreed: bool,
    pub(crate) calm: Duration,
    pub(crate) clients: usize,
    pub(crate) times_count: Times,
    pub(crate) output: Output,
    pub(crate) json_file: PathBuf,
    pub(crate) html_file: PathBuf,
}

impl Plan {
    pub(crate) fn new(args: &Args, program: &Path) -> Result<Plan, DrillError> {
        let cast = |durability: Option<Durability>| {
            move |drill| Cast { drill, durability: durability.unwrap_or_default() }
        };
        let drills = match (args.all, args.names.is_empty()) {
            (true, _) => match (args.durability, &args.dir) {
                (None, None) => catalogue::all(),
                (durability, _) => catalogue::ALL.into_iter().map(cast(durability)).collect(),
            },
            (false, true) => return Err(DrillError::Nothing),
            (false, false) => {
                let drills: Result<Vec<_>, _> =
                    args.names.iter().map(|name| catalogue::named(name)).collect();
                drills?.into_iter().map(cast(args.durability)).collect()
            }
        };
        let alone = if args.alone { catalogue::alone(&drills) } else { Vec::new() };
        if args.alone && alone.is_empty() {
            let these: Vec<&str> = catalogue::ALONE.iter().map(|drill| drill.name).collect();
            let why = format!(
                "none of these drills can be done to servers alone, expected one of {}",
                these.join(", ")
            );
            return Err(DrillError::Unable(why));
        }
        let place = match &args.dir {
            Some(dir) => {
                let dir = dir.canonicalize();
                Where::Running(dir.map_err(DrillError::system("use the directory of --dir"))?)
            }
            None => Where::Own(args.set.iter().map(|text| setting(text)).collect::<Result<_, _>>()?),
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let out = match &args.out {
            Some(out) => out.clone(),
            None => PathBuf::from(format!("drill-{}", units::compact_time(started))),
        };
        Ok(Plan {
            program: program.to_owned(),
            drills: drills.into_iter().chain(alone).collect(),
            times: args.times,
            place,
            agreed: args.yes,
            calm: Duration::from_secs_f64(args.seconds),
            clients: args.clients.into(),
            times_count: if args.no_time_limits { Times::Told } else { Times::Judged },
            output: if args.json { Output::Json } else { Output::Table },
            json_file: out.join("drill.json"),
            html_file: args.html.clone().unwrap_or_else(|| out.join("drill.html")),
        })
    }
}

/// `cluster.memory="64mb"` → its key and value
fn setting(text: &str) -> Result<(String, String), DrillError> {
    match text.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some((key, value)) if key.contains('.') && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        Some(_) | None => {
            Err(DrillError::Unable(format!("--set is {text}, expected section.key=value as in the file")))
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.2..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err(format!("{text} is not a number of seconds, expected 0.2 to 3600")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches};

    fn plan(line: &str) -> Result<Plan, String> {
        let command = Args::augment_args(clap::Command::new("drill"));
        let matches = command.try_get_matches_from(std::iter::once("drill").chain(line.split_whitespace()));
        let args = matches.and_then(|matches| Args::from_arg_matches(&matches));
        Plan::new(&args.map_err(|error| error.to_string())?, Path::new("x"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn drills_are_named_or_all() {
        assert_eq!(plan("primary-killed replica-killed").unwrap().drills[1].drill.name, "replica-killed");
        assert!(plan("").is_err_and(|error| error.contains("--list")));
        assert!(plan("nothing").is_err_and(|error| error.contains("primary-killed")));
        assert!(plan("--all primary-killed").is_err());
    }

    #[test]
    fn all_drills_come_in_both_classes_where_nothing_else_is_asked_for() {
        let replicated = |line: &str| {
            let drills = plan(line).unwrap().drills;
            let confirmed = drills.iter().filter(|cast| cast.durability == Durability::Replicated);
            (drills.len(), confirmed.count())
        };
        let each = catalogue::ALL.len();
        assert_eq!(replicated("--all"), (each + 5, 5));
        assert_eq!(replicated("--all --durability async"), (each, 0));
        assert_eq!(replicated("--all --durability replicated"), (each, each));
        assert_eq!(replicated("--all --dir /"), (each, 0));
        assert_eq!(replicated("false-alarm"), (1, 0));
        assert_eq!(replicated("false-alarm --durability replicated"), (1, 1));
        assert!(plan("false-alarm --durability replicated --dir /").is_err());
    }

    #[test]
    fn servers_are_drilled_alone_where_that_makes_sense() {
        let judged = |line: &str| {
            let drills = plan(line).unwrap().drills;
            drills.iter().map(|cast| cast.drill.is_judged()).collect::<Vec<_>>()
        };
        assert_eq!(judged("replica-killed primary-hung --alone"), [true, true, false]);
        assert_eq!(judged("--all --alone").iter().filter(|judged| !*judged).count(), 3);
        assert!(plan("replica-killed --alone").is_err_and(|error| error.contains("primary-killed")));
        assert!(plan("primary-killed --alone --dir /").is_err());
    }

    #[test]
    fn settings_are_for_its_own_deployment() {
        let place = plan("--all --set cluster.persistence=\"none\"").unwrap().place;
        assert_eq!(place, Where::Own(vec![("cluster.persistence".to_owned(), "\"none\"".to_owned())]));
        for wrong in
            ["--all --set memory", "--all --set x=1", "--all --dir / --set a.b=1", "--all --dir /none"]
        {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reports_have_their_places() {
        let plan = plan("--all --out there --html page.html").unwrap();
        assert_eq!(plan.json_file, Path::new("there/drill.json"));
        assert_eq!(plan.html_file, Path::new("page.html"));
    }
}
