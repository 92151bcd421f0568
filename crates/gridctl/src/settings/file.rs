//! A file of settings: `gridctl.toml`, or `config.toml` of the person.
//! Invariant: what a key is set to is shown only where no secret can stand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::spec::{self, Diagnostic};
use toml::de::{DeTable, DeValue};

use super::{Origin, Setting};
use crate::address;
use crate::exit::{Exit, Failure, SourceText};
use crate::input::{self, ReadError};

/// Largest file, in bytes.
const MOST: u64 = 64 << 10;

/// The keys that a file may have.
const KEYS: [&str; 3] = ["data_dir", "log", "master"];

/// What one file sets, or several.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InFile {
    pub(super) data_dir: Option<Setting<PathBuf>>,
    pub(super) master: Option<Setting<String>>,
    pub(super) log: Option<Setting<String>>,
}

impl InFile {
    /// This file's settings, and `other`'s where it has none.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(other.data_dir),
            master: self.master.or(other.master),
            log: self.log.or(other.log),
        }
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<InFile, Failure> {
    let name = path.display().to_string();
    let bytes = input::read(path, MOST).map_err(|error| unreadable(&name, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let source = Arc::new(SourceText { name, text: without_values(&text) });
    let failure = |problems| Failure { exit: Exit::Usage, problems, source: Some(Arc::clone(&source)) };
    if let Err(error) = std::str::from_utf8(&bytes) {
        let at = error.valid_up_to();
        let problem = Diagnostic::error("settings::encoding", "a file of settings is UTF-8, and this is not");
        return Err(failure(vec![problem.at(&(at..at + char::REPLACEMENT_CHARACTER.len_utf8()))]));
    }
    let table = DeTable::parse(&text).map_err(|error| {
        let problem = Diagnostic::error("settings::syntax", format!("this is not TOML: {}", error.message()));
        failure(vec![match error.span() {
            Some(span) => problem.at(&span),
            None => problem,
        }])
    })?;
    let mut found = InFile::default();
    let mut problems = Vec::new();
    for (key, value) in table.get_ref().iter() {
        let name = key.get_ref().as_ref();
        if let Err(failure) = take(&mut found, path, name, value.get_ref()) {
            let span = if KEYS.contains(&name) { value.span() } else { key.span() };
            problems.extend(failure.problems.into_iter().map(|problem| problem.at(&span)));
        }
    }
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
    if problems.is_empty() { Ok(found) } else { Err(failure(problems)) }
}

/// Takes one setting of the file at `path`.
fn take(found: &mut InFile, path: &Path, key: &str, value: &DeValue<'_>) -> Result<(), Failure> {
    if !KEYS.contains(&key) {
        return Err(unknown(key));
    }
    let wrong = |message: String, help: &str| Err(Failure::usage("settings::value", message).help(help));
    let text = match value {
        DeValue::String(text) if !text.is_empty() => text.as_ref(),
        DeValue::String(_) => return wrong(format!("`{key}` is empty"), "take the line out"),
        _ => return wrong(format!("`{key}` is a text"), "write it between quotes"),
    };
    let by = Origin::File(path.to_owned());
    match key {
        "data_dir" if text.starts_with('~') => {
            return wrong(
                "no shell reads this, so that `~` is not your home".to_owned(),
                "write the whole path, or one that begins where this file is",
            );
        }
        "data_dir" => {
            let beside = path.parent().unwrap_or(Path::new("/"));
            found.data_dir = Some(Setting { value: beside.join(text), by });
        }
        "master" => {
            address::named(text)?;
            found.master = Some(Setting { value: text.to_owned(), by });
        }
        _ => {
            if let Err(why) = super::level(text) {
                return wrong(format!("`log`: {why}"), super::LEVELS);
            }
            found.log = Some(Setting { value: text.to_owned(), by });
        }
    }
    Ok(())
}

fn unknown(key: &str) -> Failure {
    if key.eq_ignore_ascii_case("token") {
        let message = "a token is a secret, and no secret stands in a file of settings";
        return Failure::usage("settings::secret", message).help("take it out, and set GRIDCTL_TOKEN");
    }
    let shown = crate::output::sanitise::short(key, 60);
    let help = match spec::nearest(key, KEYS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: `{}`", KEYS.join("`, `")),
    };
    Failure::usage("settings::unknown_key", format!("unknown key `{shown}`")).help(help)
}

fn unreadable(name: &str, error: &ReadError) -> Failure {
    Failure::usage("settings::unreadable", error.about(name, "a file of settings"))
        .help("mend it, or move it away: settings can be flags and GRIDCTL_* variables as well")
}

/// The text, byte for byte as long, with nothing left of what may be a secret: a value that is neither a path nor a level.
fn without_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (key, rest) = line.split_at(line.find(['=', ':']).map_or(0, |at| at + 1));
        out.push_str(key);
        if ["data_dir=", "log="].contains(&key.replace([' ', '\t'], "").as_str()) {
            out.push_str(rest);
            continue;
        }
        for c in rest.chars() {
            if c.is_whitespace() {
                out.push(c);
            } else {
                out.extend(std::iter::repeat_n('*', c.len_utf8()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_nothing_of_a_secret_is_left_and_every_byte_keeps_its_place() {
        let text = "data_dir = \"/x\"\ntoken = \"ü s3cret\"\nmaster = '''\ns3cret'''\ns3cret\n[a]\n";
        let shown = without_values(text);
        assert_eq!(shown.len(), text.len());
        assert!(!shown.contains("s3") && shown.contains("\"/x\"") && shown.contains("token ="), "{shown}");
    }

    #[test]
    fn the_nearer_file_goes_first_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap()
        };
        let near = file("near.toml", "data_dir = 'here'\n");
        let far = file("far.toml", "data_dir = '/there'\nlog = 'debug'\n");
        let both = near.or(far);
        assert_eq!(both.data_dir.unwrap().value, dir.path().join("here"));
        assert_eq!(both.log.unwrap().by, Origin::File(dir.path().join("far.toml")));
    }
}
