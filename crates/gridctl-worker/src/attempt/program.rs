//! Which file a command starts, for the record: two environments may have programs of one name.
//! Invariant: only looks, at a file's first bytes; where it cannot see, it says nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes of a script's first line.
const LINE: u64 = 256;

/// The file that `name` means in the directory `cwd` with this `PATH`; of a script the interpreter that its first line names.
pub(super) fn started(name: &str, cwd: &Path, path: Option<&str>) -> Option<String> {
    let file = found(name, cwd, path)?;
    let interpreter = script_of(&file).and_then(|words| {
        let mut words = words.split_whitespace();
        let first = words.next()?;
        if !first.ends_with("/env") {
            return Some(PathBuf::from(first));
        }
        let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        found(name, cwd, path)
    });
    Some(interpreter.unwrap_or(file).to_str()?.to_owned())
}

fn found(name: &str, cwd: &Path, path: Option<&str>) -> Option<PathBuf> {
    if name.contains('/') {
        let file = cwd.join(name);
        return file.is_file().then_some(file);
    }
    let dirs = path?.split(':');
    dirs.map(|dir| cwd.join(dir).join(name)).find(|file| file.is_file())
}

/// What stands behind `#!` in the file's first line.
fn script_of(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(LINE).read_to_end(&mut bytes).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    String::from_utf8(line.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_they_are_started_and_scripts_name_their_interpreters() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        for (name, text) in [
            ("python", "\u{7f}ELF"),
            ("t.py", "#!/usr/bin/env -S python -u\n"),
            ("t.sh", "#!/bin/sh -e\n"),
            ("odd", "#!\n"),
            ("lost", "#!/usr/bin/env no-such-program\n"),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let path = format!("/nonexistent:{}", dir.display());
        let of = |name| started(name, dir, Some(&path));
        let here = |name: &str| Some(dir.join(name).display().to_string());
        assert_eq!(of("python"), here("python"));
        assert_eq!(of("t.py"), here("python"));
        assert_eq!(of("./t.sh"), Some("/bin/sh".to_owned()));
        assert_eq!(of("odd"), here("odd"));
        assert_eq!(of("lost"), here("lost"));
        assert_eq!(
            (of("gone"), of("./gone"), of(""), started("python", dir, None)),
            (None, None, None, None)
        );
    }
}
