//! The deployment that is drilled, by its command line: one of the drill's own, or one that runs already.
//!
//! Owns starting an own one, what it says of itself, and its end. Never starts or stops one that ran before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use evenkeel_control::home::{Home, Secrets};
use evenkeel_control::status::{Event, Health, Status};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::judge::Durability;
use super::system::{free_ports, is_root, private_dir};
use super::{DrillError, Needs};

/// How long a deployment may take to become what it should be before a drill.
pub(crate) const READY: Duration = Duration::from_secs(90);
/// How long it may take to end.
const END: Duration = Duration::from_secs(60);
/// How long a command may take that is not waited for by its own limit.
const COMMAND: Duration = Duration::from_secs(300);

/// A deployment.
pub(crate) struct Deployment {
    program: PathBuf,
    /// Its directory.
    pub(crate) dir: PathBuf,
    own: Option<Own>,
}

/// What is there only for an own one. It ends with this value, whatever becomes of the drill.
struct Own {
    program: PathBuf,
    place: PathBuf,
    disk: Disk,
    child: Option<Child>,
}

/// What an own deployment lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// The machine's.
    Shared,
    /// A small one that was mounted for it.
    Mounted,
}

impl Deployment {
    /// One that runs already.
    pub(crate) fn running(program: &Path, dir: &Path) -> Deployment {
        Deployment { program: program.to_owned(), dir: dir.to_owned(), own: None }
    }

    /// Starts one, with the settings that the drill needs and those that were given.
    pub(crate) async fn start(
        program: &Path,
        needs: Needs,
        durability: Durability,
        given: &[(String, String)],
    ) -> Result<Deployment, DrillError> {
        let place = private_dir()?;
        let mut own = Own { program: program.to_owned(), place, disk: Disk::Shared, child: None };
        if let Needs::SmallDisk { megabytes } = needs {
            mount(&own.place, megabytes)?;
            own.disk = Disk::Mounted;
        }
        own.child =
            Some(spawn(program, &own.place, configuration(free_ports(16)?, needs, durability, given))?);
        let dir = own.place.join("home");
        let mut deployment = Deployment { program: program.to_owned(), dir, own: Some(own) };
        match deployment.ready().await {
            Ok(_) => Ok(deployment),
            Err(error) => Err(DrillError::NotReady(format!("{error}; it said: {}", deployment.log()))),
        }
    }

    fn log(&self) -> String {
        let place = self.own.as_ref().map(|own| own.place.join("up.log"));
        let text = place.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    /// Waits until everything is as desired.
    pub(crate) async fn ready(&mut self) -> Result<Status, DrillError> {
        let (begun, mut because) = (Instant::now(), "it says nothing".to_owned());
        while begun.elapsed() < READY {
            if let Some(child) = self.own.as_mut().and_then(|own| own.child.as_mut())
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(DrillError::NotReady(format!("it has ended ({status})")));
            }
            match self.status().await {
                Ok(status) if is_whole(&status) => return Ok(status),
                Ok(status) => because = status.because,
                Err(error) => because = error.to_string(),
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(DrillError::NotReady(because))
    }

    /// What it says of itself at this moment.
    pub(crate) async fn status(&self) -> Result<Status, DrillError> {
        let said = self.evenkeel(&["status", "--json"]).await?;
        serde_json::from_slice(&said.stdout).map_err(|_| DrillError::NotReady(words(&said)))
    }

    /// What its control wrote down last: at once when its health changes, else once a second. Costs next to nothing,
    /// where a command would take processor time from what is being drilled.
    pub(crate) fn noted(&self) -> Option<Status> {
        serde_json::from_slice(&fs::read(Home::status_path(&self.dir)).ok()?).ok()
    }

    /// Runs a command of the program about this deployment to its end.
    pub(crate) async fn evenkeel(&self, args: &[&str]) -> Result<Output, DrillError> {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--dir").arg(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        let done = timeout(COMMAND, command.output()).await;
        let done = done.map_err(|_| DrillError::NotReady(format!("`evenkeel {}` hangs", args.join(" "))))?;
        done.map_err(DrillError::system(format!("run `evenkeel {}`", args.join(" "))))
    }

    /// Its passwords.
    pub(crate) fn secrets(&self) -> Result<Secrets, DrillError> {
        let missing = || DrillError::NotReady(format!("{} has no secrets.json", self.dir.display()));
        Home::secrets_of(&self.dir).ok_or_else(missing)
    }

    /// What its control noted since then, oldest first.
    pub(crate) fn journal(&self, since_ms: u64) -> Vec<Event> {
        let text = fs::read_to_string(self.dir.join("journal.jsonl")).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
        events.filter(|event| event.at_ms >= since_ms).collect()
    }

    /// Stops an own one's control and gateway without ending them: the servers are on their own.
    pub(crate) fn leave_alone(&self) -> Result<(), DrillError> {
        let child = self.own.as_ref().and_then(|own| own.child.as_ref());
        let pid = child.and_then(Child::id).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid =
            pid.ok_or_else(|| DrillError::Unable("this drill needs a deployment of its own".to_owned()))?;
        // our own child, which nobody but us waits for: the id is still its own
        let sent = kill_process(pid, Signal::STOP).map_err(std::io::Error::from);
        sent.map_err(DrillError::system("stop control"))
    }

    /// Where a node's process works.
    pub(crate) fn node_dir(&self, node: &str) -> PathBuf {
        self.dir.join("nodes").join(node)
    }

    /// The small disk of an own deployment.
    pub(crate) fn disk(&self) -> Option<&Path> {
        self.own.as_ref().filter(|own| own.disk == Disk::Mounted).map(|own| own.place.as_path())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
        // servers that were left over, should it have been killed
        let mut down = std::process::Command::new(&self.program);
        down.args(["down", "--dir"]).arg(self.place.join("home"));
        let _ = down.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match self.disk {
            Disk::Shared => {}
            Disk::Mounted => {
                if let Err(error) = run("umount", &[&self.place.display().to_string()]) {
                    super::progress(&format!("left behind: {error}"));
                    return;
                }
            }
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Asks a child of ours to end, waits, and kills one that does not.
fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // our own child, which nobody but us waits for: the id is still its own
        let _ = kill_process(pid, Signal::TERM);
        // one that was stopped hears of it only when it goes on
        let _ = kill_process(pid, Signal::CONT);
    }
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > END {
            let _ = child.start_kill();
        }
        if begun.elapsed() > END + COMMAND {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether every node is there, serves, and has its copy.
pub(crate) fn is_whole(status: &Status) -> bool {
    status.health == Health::Ok
        && status.slots_served == 16_384
        && status.nodes.iter().all(|node| node.link_up)
}

/// What a command said, in one line.
pub(crate) fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    match (err.is_empty(), out.is_empty()) {
        (false, _) => err,
        (true, false) => out,
        (true, true) => format!("it said nothing ({})", output.status),
    }
}

/// The beginning of a command that ends when this process does, also when that is killed; what it runs is appended.
pub(crate) fn child(program: &Path, log: &Path) -> Result<Command, DrillError> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(DrillError::system(format!("write {}", log.display())))?;
    let twin = file.try_clone().map_err(DrillError::system("write a log"))?;
    let mut command = Command::new(program);
    command.args(["drill", "--under", &std::process::id().to_string(), "--"]);
    // its own process group: a Ctrl-C at the terminal is for us, who stop it in order
    command.stdin(Stdio::null()).stdout(file).stderr(twin).process_group(0).kill_on_drop(true);
    Ok(command)
}

fn spawn(program: &Path, place: &Path, text: String) -> Result<Child, DrillError> {
    let file = place.join("evenkeel.toml");
    fs::write(&file, text).map_err(DrillError::system(format!("write {}", file.display())))?;
    let mut command = child(program, &place.join("up.log"))?;
    command.arg(program).args(["up", "--config"]).arg(&file).arg("--dir").arg(place.join("home"));
    command.spawn().map_err(DrillError::system("start evenkeel up"))
}

/// The configuration of an own deployment; what was given goes before what the drill needs, and that before ours.
fn configuration(base: u16, needs: Needs, durability: Durability, given: &[(String, String)]) -> String {
    let mut keys = BTreeMap::from([
        ("cluster.base-port".to_owned(), base.to_string()),
        ("gateway.durability".to_owned(), format!("\"{}\"", durability.word())),
        ("gateway.listen".to_owned(), format!("\"127.0.0.1:{}\"", base + 14)),
        ("web.listen".to_owned(), format!("\"127.0.0.1:{}\"", base + 15)),
    ]);
    if let Needs::Memory(memory) = needs {
        keys.insert("cluster.memory".to_owned(), format!("\"{memory}\""));
    }
    if needs == Needs::Solitude {
        keys.insert("cluster.node-timeout".to_owned(), "\"5s\"".to_owned());
    }
    keys.extend(given.iter().cloned());
    keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

fn mount(place: &Path, megabytes: u32) -> Result<(), DrillError> {
    if !is_root() {
        let why = "a small disk is mounted for this drill, which only root may do: run it as root";
        return Err(DrillError::Unable(why.to_owned()));
    }
    let size = format!("size={megabytes}m,mode=0700");
    run("mount", &["-t", "tmpfs", "-o", &size, "evenkeel-drill", &place.display().to_string()])
}

/// Runs a short program of the system that has to succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), DrillError> {
    let done = std::process::Command::new(program).args(args).stdin(Stdio::null()).output();
    let done = done.map_err(DrillError::system(format!("run {program}")))?;
    if done.status.success() {
        return Ok(());
    }
    Err(DrillError::Unable(format!("`{program} {}` failed: {}", args.join(" "), words(&done))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_first() {
        let given = [("cluster.memory".to_owned(), "\"1gb\"".to_owned())];
        let text = configuration(12_000, Needs::Memory("16mb"), Durability::Replicated, &given);
        assert!(text.contains("cluster.memory = \"1gb\"\n") && !text.contains("16mb"), "{text}");
        assert!(text.contains("gateway.durability = \"replicated\"\n"), "{text}");
        assert!(text.contains("gateway.listen = \"127.0.0.1:12014\"\n"), "{text}");
        evenkeel_core::config::Config::parse(&text, "drill").unwrap();
    }
}
