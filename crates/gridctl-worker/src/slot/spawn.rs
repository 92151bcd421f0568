//! Starts a trainer: finds its program as a shell would, and stays on the cheap way of starting a process.
//! Invariant: nothing here makes the standard library fork instead of `posix_spawn`: absolute program, no `pre_exec`, no uid, no gid.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{io, thread, time::Duration};

use rustix::fs::{Access, access};

use super::{Fault, Start, why};

/// Where commands are sought when the trainer's environment has no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Programs that were found before, by directory, `PATH` and name, so that a trial does not search for them again.
#[derive(Debug, Default)]
pub(super) struct Programs {
    found: HashMap<(String, String, String), PathBuf>,
}

/// Why there is no trainer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotStarted {
    pub(super) fault: Fault,
    pub(super) text: String,
}

/// Starts `start` in a process group of its own, its two outputs being pipes and its input empty.
pub(super) fn spawn(
    programs: &mut Programs,
    base: &[(String, String)],
    start: &Start,
) -> Result<Child, NotStarted> {
    let Some(name) = start.argv.first() else {
        return Err(NotStarted { fault: Fault::Command, text: "the command is empty".to_owned() });
    };
    let path = lookup("PATH", base, start).unwrap_or(DEFAULT_PATH);
    let program = programs.find(&start.cwd, path, name)?;
    let mut command = Command::new(&program);
    command.arg0(name).args(&start.argv[1..]).env_clear();
    command.envs(base.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command.envs(start.env.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command.current_dir(&start.cwd).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    patiently(&mut command).map_err(|error| {
        programs.found.clear();
        why::explain(&error, &program, name, &start.cwd, path)
    })
}

/// A program that was written a moment ago may still be open for writing: that passes.
fn patiently(command: &mut Command) -> io::Result<Child> {
    for _ in 0..20 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
    command.spawn()
}

/// The value that the trainer will see of the variable `name`.
fn lookup<'a>(name: &str, base: &'a [(String, String)], start: &'a Start) -> Option<&'a str> {
    let variables = base.iter().chain(&start.env);
    variables.rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

impl Programs {
    /// The file that `name` means in the directory `cwd` with this `PATH`.
    fn find(&mut self, cwd: &str, path: &str, name: &str) -> Result<PathBuf, NotStarted> {
        let key = (cwd.to_owned(), path.to_owned(), name.to_owned());
        if let Some(known) = self.found.get(&key) {
            return Ok(known.clone());
        }
        let Some(program) = resolve(Path::new(cwd), path, name) else {
            return Err(why::not_found(name, Path::new(cwd), path));
        };
        if self.found.len() >= 64 {
            self.found.clear();
        }
        self.found.insert(key, program.clone());
        Ok(program)
    }
}

/// `name` with a slash is a place relative to `cwd`; without, the first executable file of that name along `path`.
pub(super) fn resolve(cwd: &Path, path: &str, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    candidates(cwd, path, name)
        .find(|candidate| access(candidate, Access::EXEC_OK).is_ok() && candidate.is_file())
}

/// Every place where `name` is sought; an empty part of `PATH` is the working directory, as everywhere.
pub(super) fn candidates<'a>(
    cwd: &'a Path,
    path: &'a str,
    name: &'a str,
) -> impl Iterator<Item = PathBuf> + 'a {
    path.split(':').map(move |part| cwd.join(part).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(argv: &[&str], env: &[(&str, &str)], cwd: &Path) -> Start {
        Start {
            id: 1,
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: cwd.to_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn a_trainer_gets_exactly_the_environment_it_was_meant_to_get() {
        let base = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        let request = start(&["env"], &[("B", "two")], Path::new("/"));
        let child = spawn(&mut Programs::default(), &base, &request).unwrap();
        let output = child.wait_with_output().unwrap();
        let mut lines: Vec<_> = str::from_utf8(&output.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["A=1", "B=two"]);
    }

    #[test]
    fn the_trainers_own_path_and_directory_decide_what_a_name_means() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\necho \"$0 in $PWD\"\n").unwrap();
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let here = dir.path().to_str().unwrap();
        let cases = [("tool", here), ("./tool", "/bin"), ("tool", ""), ("tool", ".:/bin")];
        for (name, path) in cases {
            let request = start(&[name], &[("PATH", path)], dir.path());
            let child = spawn(&mut Programs::default(), &[], &request).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{name} with PATH={path}");
        }
    }
}
