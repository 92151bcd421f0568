//! A whole launch on the stand-in for AWS: deploy/aws-local/story, as a person would run it.
//! Invariant: it ends well, and leaves nothing; what it shows is shown when it does not.
mod lab;
mod stand_in;

use std::path::Path;
use std::process::{Command, Stdio};

use lab::Lab;
use stand_in::StandIn;

#[test]
fn a_sweep_is_launched_disturbed_and_ends_with_nothing_left() {
    let lab = Lab::new();
    // Says what this machine lacks; the story starts one of its own.
    let Some(cloud) = StandIn::start(&lab) else { return };
    let python = cloud.python().to_owned();
    drop(cloud);
    // Every machine fetches it: without what only a debugger reads it is a tenth.
    let binary = lab.path().join("gridctl");
    let stripped = Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_gridctl")).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(env!("CARGO_BIN_EXE_gridctl"), &binary).unwrap();
    }
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/aws-local/story");
    let mut told = Command::new(story);
    told.arg("6").env("GRIDCTL", &binary).env("GRIDCTL_TEST_MOTO", python).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || (text.starts_with("GRIDCTL_") && text != "GRIDCTL_TEST_MOTO") {
            told.env_remove(&name);
        }
    }
    let told = told.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{out}\n{err}");
    assert!(out.ends_with("\nall well\n"), "{out}\n{err}");
}
