//! What a person means by a sweep: a name, a sweep file, or its results in a directory or in S3.
//! Invariant: a name never becomes a path; what is neither is refused with what it could have been.

use std::path::{Path, PathBuf};

use gridctl_core::s3_url::SCHEME;

use super::DataSource;
use super::results::ResultsPlace;
use crate::exit::Failure;
use crate::settings::Settings;
use crate::submit;

/// What was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaderboardTarget {
    /// A sweep of the data directory seen from `from`; the empty name is the latest.
    Sweep {
        /// Its name.
        name: String,
        /// Where to look for the data directory.
        from: PathBuf,
    },
    /// The results of one sweep: `<output>/<sweep>`.
    Results(ResultsPlace),
}

/// What `text` means, or the latest sweep for none.
pub(crate) fn resolve(text: Option<&Path>, settings: &Settings) -> Result<LeaderboardTarget, Failure> {
    let here = |name: &str| LeaderboardTarget::Sweep { name: name.to_owned(), from: settings.cwd.clone() };
    let Some(path) = text else { return Ok(here("")) };
    let shown = crate::output::sanitise::short(&path.display().to_string(), 80);
    let written = path.to_str().unwrap_or_default();
    if written.starts_with(SCHEME) {
        return ResultsPlace::in_s3(written).map(LeaderboardTarget::Results);
    }
    if path.is_dir() && (path.join("sweep.json").is_file() || !is_name(written)) {
        if path.join("sweep.json").is_file() {
            return ResultsPlace::in_dir(path).map(LeaderboardTarget::Results);
        }
        return Err(Failure::usage("sweep::target", format!("{shown} holds no results of a sweep")).help(
            "the results of a sweep are in <output>/<sweep>, by default gridctl-data/results/<sweep>",
        ));
    }
    if path.is_file() {
        let checked = submit::check(path, &settings.data_dir, None)?;
        return Ok(LeaderboardTarget::Sweep { name: checked.spec.name, from: checked.file.base });
    }
    // A sweep is called `slow-b` if its file is `slow_b.yaml`.
    let dashed = written.replace('_', "-");
    if is_name(&dashed) {
        return Ok(here(&dashed));
    }
    Err(Failure::usage(
        "sweep::target",
        format!("`{shown}` is neither a sweep's name, nor a sweep file, nor results"),
    )
    .help("a sweep's name has 1 to 63 of a-z, 0-9 and -"))
}

/// Who answers questions about the sweep that `text` means, wherever it lies, and the sweep's name.
pub(crate) fn open(text: Option<&Path>, settings: &Settings) -> Result<(String, DataSource), Failure> {
    match resolve(text, settings)? {
        LeaderboardTarget::Sweep { name, from } => Ok((name, DataSource::open(settings, &from)?)),
        LeaderboardTarget::Results(place) => Ok((place.sweep.clone(), DataSource::of_results(&place)?)),
    }
}

/// As [`resolve`], for commands that need a sweep of the data directory.
pub(crate) fn sweep(text: Option<&Path>, settings: &Settings) -> Result<(String, PathBuf), Failure> {
    match resolve(text, settings)? {
        LeaderboardTarget::Sweep { name, from } => Ok((name, from)),
        LeaderboardTarget::Results(place) => Err(Failure::usage(
            "sweep::target",
            format!("{place} holds results, and no master is known by them"),
        )
        .help("name the sweep, or its file; results by themselves can be looked at, and no more")),
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datadir::DataDirChoice;

    #[test]
    fn c03_c04_only_names_files_and_results_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: DataDirChoice::default(),
            master: None,
            log: None,
            cwd: dir.path().to_owned(),
        };
        let long = "x".repeat(4096);
        for bad in [
            "../../x",
            "/abs",
            ".",
            "..",
            "",
            &long,
            "a\nb",
            "a\u{1b}b",
            "a\u{202e}b",
            "a\u{200b}",
            "аbc",
            "A",
        ] {
            let failure = resolve(Some(Path::new(bad)), &settings).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{bad:?}");
        }
        let found = resolve(Some(Path::new("wine-forest")), &settings).unwrap();
        assert_eq!(
            found,
            LeaderboardTarget::Sweep { name: "wine-forest".to_owned(), from: dir.path().to_owned() }
        );
        std::fs::write(dir.path().join("sweep.json"), "{}").unwrap();
        assert_eq!(
            resolve(Some(dir.path()), &settings).unwrap(),
            LeaderboardTarget::Results(ResultsPlace::in_dir(dir.path()).unwrap())
        );
        let place = resolve(Some(Path::new("s3://bucket/sweeps/wine/")), &settings).unwrap();
        assert!(
            matches!(&place, LeaderboardTarget::Results(place) if place.to_string() == "s3://bucket/sweeps/wine")
        );
        for (bad, why) in [("s3://bucket", "<output>/<sweep>"), ("s3://B/wine", "a bucket's name")] {
            let failure = resolve(Some(Path::new(bad)), &settings).unwrap_err();
            let said = format!("{:?}", failure.problems);
            assert!(failure.exit == crate::exit::Exit::Usage && said.contains(why), "{said}");
        }
    }
}
