//! Starts a trainer: finds its program as a shell would, and stays on the cheap way of starting a
//! process.
//! Invariant: nothing here forks; a trainer has its two pipes, an empty input, a process group of
//! its own and no signal blocked or ignored, as any program that a shell starts.

use std::collections::HashMap;
use std::ffi::{CString, NulError};
use std::io::{self, PipeReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::{fs::File, thread, time::Duration};

use gridctl_core::slot::NotStarted;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{Access, access};
use rustix::process::{Pid, chdir};

use super::{StartFault, TrainerStart, why};

/// Where commands are sought when the trainer's environment has no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What starts have in common.
#[derive(Debug, Default)]
pub(super) struct Spawner {
    /// Variables below those of each start, and the same as the system takes them.
    base: Vec<(String, String)>,
    base_env: Vec<CString>,
    /// Programs that were found before, by directory, `PATH` and name, so that a trial does not
    /// search for them again.
    found: HashMap<(String, String, String), PathBuf>,
    null: Option<File>,
}

/// A trainer that was started, and is to be waited for.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

impl Spawner {
    /// From now on starts have these variables below their own.
    pub(super) fn set_base(&mut self, base: Vec<(String, String)>) -> Result<(), NulError> {
        self.base_env = base.iter().map(variable).collect::<Result<_, _>>()?;
        self.base = base;
        Ok(())
    }

    /// Starts `start`.
    pub(super) fn spawn(&mut self, start: &TrainerStart) -> Result<Child, NotStarted> {
        let Some(name) = start.argv.first() else {
            return Err(NotStarted { fault: StartFault::Command, text: "the command is empty".to_owned() });
        };
        let path = self.lookup("PATH", start).unwrap_or(DEFAULT_PATH).to_owned();
        let program = self.find(&start.cwd, &path, name)?;
        self.patiently(&program, start).map_err(|error| {
            self.found.clear();
            why::explain(&error, &program, name, &start.cwd, &path)
        })
    }

    /// A program that was written a moment ago may still be open for writing: that passes.
    fn patiently(&mut self, program: &Path, start: &TrainerStart) -> io::Result<Child> {
        for _ in 0..20 {
            match self.try_spawn(program, start) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
        self.try_spawn(program, start)
    }

    fn try_spawn(&mut self, program: &Path, start: &TrainerStart) -> io::Result<Child> {
        let argv =
            start.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
        let own = start.env.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
        let is_own = |name: &String| start.env.iter().any(|(own, _)| own == name);
        let base = self.base.iter().zip(&self.base_env).filter(|((name, _), _)| !is_own(name));
        let env: Vec<&CString> = base.map(|(_, variable)| variable).chain(&own).collect();

        let null = match self.null.take() {
            Some(null) => null,
            None => File::open("/dev/null")?,
        };
        let null = self.null.insert(null);
        let ((stdout, out), (stderr, err)) = (io::pipe()?, io::pipe()?);
        let mut files = PosixSpawnFileActions::init()?;
        for (fd, number) in [(null.as_raw_fd(), 0), (out.as_raw_fd(), 1), (err.as_raw_fd(), 2)] {
            files.add_dup2(fd, number)?;
        }
        // The slot has no other use for its own directory.
        chdir(&start.cwd)?;
        let pid = posix_spawn(program, &files, &attributes()?, &argv, &env)?;
        let pid =
            Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Child { pid, stdout, stderr })
    }

    /// The value that the trainer will see of the variable `name`.
    fn lookup<'a>(&'a self, name: &str, start: &'a TrainerStart) -> Option<&'a str> {
        let variables = self.base.iter().chain(&start.env);
        variables.rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

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

fn variable((name, value): &(String, String)) -> Result<CString, NulError> {
    CString::new(format!("{name}={value}"))
}

/// A process group of its own, and signals as they are by default: the standard library has this
/// process ignore SIGPIPE.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    Ok(attributes)
}

/// `name` with a slash is a place relative to `cwd`; without, the first executable file of that
/// name along `path`.
pub(super) fn resolve(cwd: &Path, path: &str, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    candidates(cwd, path, name)
        .find(|candidate| access(candidate, Access::EXEC_OK).is_ok() && candidate.is_file())
}

/// Every place where `name` is sought; an empty part of `PATH` is the working directory, as
/// everywhere.
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

    fn start(argv: &[&str], env: &[(&str, &str)], cwd: &Path) -> TrainerStart {
        TrainerStart {
            id: 1,
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: cwd.to_str().unwrap().to_owned(),
            by_ms: u64::MAX,
        }
    }

    fn output(mut child: Child) -> String {
        io::read_to_string(&mut child.stdout).unwrap()
    }

    #[test]
    fn a_trainer_gets_exactly_the_environment_it_was_meant_to_get() {
        let base = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        let request = start(&["env"], &[("B", "two")], Path::new("/"));
        let mut spawner = Spawner::default();
        spawner.set_base(base.to_vec()).unwrap();
        let output = output(spawner.spawn(&request).unwrap());
        let mut lines: Vec<_> = output.lines().collect();
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
            let output = output(Spawner::default().spawn(&request).unwrap());
            assert!(output.contains("/tool in "), "{name} with PATH={path}: {output}");
        }
    }
}
