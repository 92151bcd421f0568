//! Says why a command did not start, so that somebody who has never used gridctl can put it right.
//! Invariant: looks only after a start has failed; a trial that starts pays nothing for it.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, str};

use gridctl_core::slot::NotStarted;
use rustix::io::Errno;

use super::StartFault;
use super::spawn::{DEFAULT_PATH, candidates, resolve};

/// Programs looked at for a suggestion.
const MOST_NAMES: usize = 20_000;

fn command_fault(text: String) -> NotStarted {
    NotStarted { fault: StartFault::Command, text }
}

/// Why `program` would not start in the directory `cwd` with this `PATH`, as far as a look can
/// tell; `None`: it may well start.
#[must_use]
pub fn foresee(program: &str, cwd: &Path, path: &str) -> Option<String> {
    let path = if path.is_empty() { DEFAULT_PATH } else { path };
    if !cwd.is_dir() {
        return Some(no_directory(cwd).text);
    }
    let Some(file) = resolve(cwd, path, program).filter(|_| !program.is_empty()) else {
        return Some(not_found(program, cwd, path).text);
    };
    let told = |error: &io::Error| Some(look_at(error, &file, program, path).text);
    match fs::metadata(&file) {
        Err(error) => return told(&error),
        Ok(meta) if meta.is_dir() || meta.permissions().mode() & 0o111 == 0 => {
            return told(&Errno::ACCESS.into());
        }
        Ok(_) => {}
    }
    let head = head_of(&file);
    let starts = match head.strip_prefix(b"#!") {
        Some(line) => Path::new(&interpreter_of(line)).exists(),
        // Text is for no kernel to start; what is not may be for one of its many formats.
        None => !head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()),
    };
    if starts { None } else { told(&Errno::NOEXEC.into()) }
}

/// Nothing of this name stands along `PATH`.
pub(super) fn not_found(name: &str, cwd: &Path, path: &str) -> NotStarted {
    if name.is_empty() {
        return command_fault("the command's first word is empty".to_owned());
    }
    if !cwd.is_dir() {
        return no_directory(cwd);
    }
    if let Some(present) = candidates(cwd, path, name).find(|candidate| candidate.is_file()) {
        return not_executable(&present, name, path);
    }
    if cwd.join(name).is_file() {
        let hint = match interpreter_for(name, path) {
            Some(interpreter) => format!("start it with `{interpreter} {name}`, or as `./{name}`"),
            None => format!("start it as `./{name}`"),
        };
        return command_fault(format!(
            "command not found: `{name}`; there is a file of that name in {}: {hint}",
            cwd.display()
        ));
    }
    let meant =
        similar(name, cwd, path).map(|other| format!(" (did you mean `{other}`?)")).unwrap_or_default();
    command_fault(format!("command not found: `{name}`{meant}; looked in PATH={path}"))
}

/// The program is where it was looked for, and yet the system did not start it.
pub(super) fn explain(error: &io::Error, program: &Path, name: &str, cwd: &str, path: &str) -> NotStarted {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => NotStarted {
            fault: StartFault::Machine,
            text: format!("this machine could not start `{name}`: {error}"),
        },
        Some(Errno::TOOBIG) => command_fault(format!(
            "`{name}`: its arguments and environment are larger than the system takes; read them from $GRID_PARAMS_FILE instead"
        )),
        None if error.kind() == io::ErrorKind::InvalidInput => command_fault(format!(
            "`{name}`: an argument, a variable or the directory holds a NUL character, which no process can be given"
        )),
        _ if !Path::new(cwd).is_dir() => no_directory(Path::new(cwd)),
        _ => look_at(error, program, name, path),
    }
}

fn no_directory(cwd: &Path) -> NotStarted {
    let what = if cwd.exists() { "is not a directory" } else { "does not exist" };
    command_fault(format!(
        "the working directory {} {what}: correct `workdir` in the sweep file",
        cwd.display()
    ))
}

fn look_at(error: &io::Error, program: &Path, name: &str, path: &str) -> NotStarted {
    let Ok(meta) = fs::metadata(program) else {
        let meant = neighbour(program).map(|other| format!(" (did you mean `{other}`?)")).unwrap_or_default();
        return command_fault(format!(
            "command not found: `{name}`{meant}; there is no {}",
            program.display()
        ));
    };
    if meta.is_dir() {
        return command_fault(format!("`{name}` is a directory, not a program"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return not_executable(program, name, path);
    }
    let head = head_of(program);
    if let Some(line) = head.strip_prefix(b"#!") {
        return bad_interpreter(line, name, error);
    }
    if head.starts_with(b"\x7fELF") {
        return command_fault(format!(
            "`{name}` is a program that this machine cannot start ({error}): it was built for another kind of machine, or its loader is missing"
        ));
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return command_fault(format!(
            "not allowed to start {}: its file system may be mounted noexec, or a directory above it is closed to you",
            program.display()
        ));
    }
    let hint = match interpreter_for(name, path) {
        Some(interpreter) => {
            format!(
                "start it with `{interpreter} {name}`, or make `#!/usr/bin/env {interpreter}` its first line"
            )
        }
        None => "a script needs a first line such as `#!/bin/sh`".to_owned(),
    };
    command_fault(format!("`{name}` is neither a program nor a script that says how to start it: {hint}"))
}

fn not_executable(program: &Path, name: &str, path: &str) -> NotStarted {
    let shown = if name.contains('/') { name.to_owned() } else { program.display().to_string() };
    let or = interpreter_for(name, path)
        .map(|interpreter| format!(", or start it with `{interpreter} {shown}`"))
        .unwrap_or_default();
    command_fault(format!("`{name}` is not executable: run `chmod +x {shown}`{or}"))
}

/// A script whose first line (`line`, without `#!`) asks for something that is not there.
fn bad_interpreter(line: &[u8], name: &str, error: &io::Error) -> NotStarted {
    let wanted = interpreter_of(line);
    if wanted.ends_with('\r') {
        return command_fault(format!(
            "`{name}` has Windows line ends, so its first line asks for a program called `{}\\r`: run `sed -i 's/\\r$//' {name}`",
            wanted.trim_end()
        ));
    }
    if !Path::new(&wanted).exists() {
        let meant = neighbour(Path::new(&wanted))
            .map(|other| format!(" (did you mean `{other}`?)"))
            .unwrap_or_default();
        return command_fault(format!(
            "the first line of `{name}` asks for `{wanted}`, which is not there{meant}"
        ));
    }
    command_fault(format!("`{name}`, by its first line a script for `{wanted}`, did not start: {error}"))
}

/// The program that a script's first line (`line`, without `#!`) asks for.
fn interpreter_of(line: &[u8]) -> String {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let wanted = text.trim_start_matches([' ', '\t']).split([' ', '\t']).next();
    wanted.unwrap_or_default().to_owned()
}

fn head_of(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = fs::File::open(program) {
        drop(file.take(256).read_to_end(&mut head));
    }
    head
}

/// What starts a script of this name, if it is there.
fn interpreter_for(name: &str, path: &str) -> Option<&'static str> {
    let wanted: &[&str] = match Path::new(name).extension()?.to_str()? {
        "py" => &["python", "python3"],
        "sh" => &["sh"],
        "R" | "r" => &["Rscript"],
        "jl" => &["julia"],
        "js" | "mjs" => &["node"],
        "pl" => &["perl"],
        "rb" => &["ruby"],
        _ => return None,
    };
    let there =
        |program: &&&str| candidates(Path::new("/"), path, program).any(|candidate| candidate.is_file());
    wanted.iter().find(there).or(wanted.last()).copied()
}

/// The name along `PATH` that is most like `name`.
fn similar(name: &str, cwd: &Path, path: &str) -> Option<String> {
    let names = path.split(':').filter_map(|part| fs::read_dir(cwd.join(part)).ok()).flatten().flatten();
    closest(name, names.take(MOST_NAMES).filter_map(|entry| entry.file_name().into_string().ok()))
}

/// The file beside `missing` whose name is most like it.
fn neighbour(missing: &Path) -> Option<String> {
    let name = missing.file_name()?.to_str()?;
    let names = fs::read_dir(missing.parent()?).ok()?.flatten();
    closest(name, names.take(MOST_NAMES).filter_map(|entry| entry.file_name().into_string().ok()))
}

/// Of equally close names the shortest, then the first in the alphabet.
fn closest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let far = (name.chars().count() / 3).max(1);
    let distances = names.map(|other| (strsim::osa_distance(name, &other), other.len(), other));
    distances.filter(|(distance, ..)| (1..=far).contains(distance)).min().map(|(_, _, other)| other)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::super::TrainerStart;
    use super::super::spawn::Spawner;
    use super::*;

    /// What a newcomer is told who starts `argv` in `dir`.
    fn told(dir: &Path, path: &str, argv: &[&str]) -> NotStarted {
        let start = TrainerStart {
            id: 1,
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![("PATH".to_owned(), path.to_owned())],
            cwd: dir.to_str().unwrap().to_owned(),
            by_ms: u64::MAX,
        };
        Spawner::default().spawn(&start).expect_err("it cannot start")
    }

    #[test]
    fn the_first_mistakes_of_a_newcomer_are_explained() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, bin) = (temp.path(), temp.path().join("bin"));
        fs::create_dir(&bin).unwrap();
        let write = |name: &str, mode: u32, text: &[u8]| {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).unwrap();
        };
        write("bin/python3", 0o755, b"#!/bin/sh\n");
        write("train.py", 0o644, b"print(1)\n");
        write("plain.py", 0o755, b"print(1)\n");
        write("typo.py", 0o755, b"#!/bin/ssh-nonesuch -x\n");
        write("dos.sh", 0o755, b"#!/bin/sh\r\necho 1\r\n");
        write("alien", 0o755, b"\x7fELF nonsense");
        write("empty", 0o755, b"");
        let path = bin.to_str().unwrap();
        let cases: [(&[&str], &str); 13] = [
            (&["pythn3"], "command not found: `pythn3` (did you mean `python3`?); looked in PATH="),
            (&["python"], "command not found: `python` (did you mean `python3`?); looked in PATH="),
            (&["train.py"], "command not found: `train.py`; there is a file of that name in"),
            (
                &["./train.py"],
                "`./train.py` is not executable: run `chmod +x ./train.py`, or start it with `python3 ./train.py`",
            ),
            (&["./trian.py"], "command not found: `./trian.py` (did you mean `train.py`?); there is no "),
            (
                &["./plain.py"],
                "is neither a program nor a script that says how to start it: start it with `python3 ./plain.py`",
            ),
            (
                &["./typo.py"],
                "the first line of `./typo.py` asks for `/bin/ssh-nonesuch`, which is not there",
            ),
            (&["./dos.sh"], "`./dos.sh` has Windows line ends"),
            (&["./alien"], "built for another kind of machine"),
            (&["./empty"], "a script needs a first line such as `#!/bin/sh`"),
            (&["./bin"], "`./bin` is a directory, not a program"),
            (&["python3", "a\0b"], "holds a NUL character"),
            (&[""], "the command's first word is empty"),
        ];
        for (argv, expected) in cases {
            let told = told(dir, path, argv);
            assert!(told.text.contains(expected), "{argv:?}: {}", told.text);
            assert_eq!(told.fault, StartFault::Command, "{argv:?}");
            let foreseen = foresee(argv[0], dir, path);
            let visible = argv.len() == 1 && argv[0] != "./alien";
            assert_eq!(foreseen, visible.then_some(told.text), "{argv:?}");
        }
        assert_eq!(foresee("python3", dir, path), None);
        let gone = dir.join("gone");
        let cases = [(gone.as_path(), "does not exist"), (&dir.join("empty"), "is not a directory")];
        for (cwd, expected) in cases {
            for program in ["python3", "./x", "nonesuch"] {
                let told = told(cwd, path, &[program]).text;
                assert!(
                    told.contains("the working directory") && told.contains(expected),
                    "{program}: {told}"
                );
            }
        }
        let long = "x".repeat(3 << 20);
        assert!(told(dir, path, &["python3", &long]).text.contains("$GRID_PARAMS_FILE"));
    }
}
