//! Libraries of other languages for tests: installs them once, in the versions that a directory of tests pins, under
//! the target directory, and runs the directory's scripts with them.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LONGEST_RUN: Duration = Duration::from_secs(300);

/// The installed libraries of one directory of tests.
pub(crate) struct Libraries {
    home: &'static str,
    pub(crate) python: PathBuf,
    node_dir: PathBuf,
}

impl Libraries {
    /// Installs what is not there yet in the versions that `requirements.txt` and `package.json` in `home` ask for.
    pub(crate) fn installed(home: &'static str) -> Self {
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().expect("no install has panicked");
        let venv = scratch(home).join("venv");
        let python = venv.join("bin/python");
        unless_done(home, &venv, "requirements.txt", || {
            let advice = "install Python 3 with its venv module (apt install python3-venv)";
            succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), advice);
            let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            succeed(
                Command::new(&python).args(install).arg(sources(home).join("requirements.txt")),
                "is PyPI reachable?",
            );
        });
        let node_dir = scratch(home).join("node");
        if sources(home).join("package.json").exists() {
            install_modules(home, &node_dir);
        }
        Self { home, python, node_dir }
    }

    /// Runs one script to its end; its complaints are the error.
    pub(crate) fn run(
        &self,
        script: &str,
        address: SocketAddr,
        arguments: &[&str],
        target: &str,
    ) -> Result<(), String> {
        let (program, place) = if script.ends_with(".py") {
            (self.python.as_path(), sources(self.home))
        } else {
            (Path::new("node"), self.node_dir.clone())
        };
        let mut child = Command::new(program)
            .arg(place.join(script))
            .args([address.ip().to_string(), address.port().to_string()])
            .args(arguments)
            .arg(target)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{script}: {error}"))?;
        let said = reader(child.stdout.take().expect("piped"));
        let complained = reader(child.stderr.take().expect("piped"));
        let deadline = Instant::now() + LONGEST_RUN;
        let ended = loop {
            match child.try_wait().map_err(|error| format!("{script}: {error}"))? {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => {
                    child.kill().ok();
                    child.wait().ok();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let output = said.join().expect("a reader") + &complained.join().expect("a reader");
        print!("{output}");
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{script} {arguments:?} {target} ({status}):\n{output}")),
            None => Err(format!("{script} {arguments:?} {target} took over {LONGEST_RUN:?}:\n{output}")),
        }
    }
}

/// Node's modules, and the scripts that use them: Node looks for modules beside the script, not beside the test.
fn install_modules(home: &str, node_dir: &Path) {
    unless_done(home, node_dir, "package.json", || {
        fs::create_dir_all(node_dir).expect("a directory for node modules");
        fs::copy(sources(home).join("package.json"), node_dir.join("package.json")).expect("a copy");
        let install = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"];
        let advice = "install Node.js 20 or newer with npm (apt install nodejs npm)";
        succeed(Command::new("npm").args(install).current_dir(node_dir), advice);
    });
    for entry in fs::read_dir(sources(home)).expect("the directory of the scripts") {
        let script = entry.expect("an entry").path();
        if script.extension().is_some_and(|end| end == "mjs") {
            fs::copy(&script, node_dir.join(script.file_name().expect("a name"))).expect("a copy");
        }
    }
}

/// Reads a program's output to its end beside it, so that a full pipe does not stop it.
fn reader(mut output: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs `install` unless `dir` was made from the same `list` before.
fn unless_done(home: &str, dir: &Path, list: &str, install: impl FnOnce()) {
    let wanted = fs::read_to_string(sources(home).join(list)).expect("a list of libraries");
    let stamp = dir.join("installed");
    if fs::read_to_string(&stamp).ok().as_ref() == Some(&wanted) {
        return;
    }
    install();
    fs::write(stamp, wanted).expect("a stamp");
}

fn succeed(command: &mut Command, advice: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {advice}\n{said}");
}

fn sources(home: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(home)
}

pub(crate) fn scratch(home: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(home)
}
