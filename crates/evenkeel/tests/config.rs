//! `evenkeel check`: what is in force is printed, what cannot be meant is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::process::{Command, Output};

fn check(text: &str, args: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("my.toml"), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["check", "my.toml"])
        .args(args)
        .current_dir(place.path())
        .output()
        .unwrap()
}

#[test]
fn the_effective_configuration_is_printed() {
    let output = check("[cluster]\nshards = 4\n", &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for line in ["shards = 4", "replicas = 1", "base-port = 7001", "hold = \"10s\"", "kind = \"process\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert_eq!(
        String::from_utf8(check(&printed, &[]).stdout).unwrap(),
        printed,
        "what is printed is a configuration"
    );
    let json: serde_json::Value = serde_json::from_slice(&check("", &["--json"]).stdout).unwrap();
    assert_eq!((&json["cluster"]["base-port"], &json["gateway"]["threads"]), (&7001.into(), &"auto".into()));
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let output = check("[gateway]\nlisten = 7010\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "evenkeel: my.toml:2: gateway.listen is 7010, expected an IP address and a port, such as \"127.0.0.1:7010\"\n"
    );
    let missing =
        Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(["check", "/nonexistent.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent.toml: No such file"));
}

#[test]
fn the_help_of_every_command_has_an_example() {
    for command in ["up", "down", "status", "check", "run", "bench"] {
        let output = Command::new(env!("CARGO_BIN_EXE_evenkeel")).args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(
            help.contains(&format!("evenkeel {command}")) && help.contains("Example"),
            "{command}:\n{help}"
        );
    }
}
