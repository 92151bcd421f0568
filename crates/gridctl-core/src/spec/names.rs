//! Names: of sweeps, parameters, metrics and environment variables.
//! Invariant: a sweep's name is safe as a directory, a variable's name as a variable, and none hides a character.

use super::diagnostic::{is_hostile, shown};
use super::limits;

/// Why a text is not a name, and what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameError {
    pub(super) problem: String,
    pub(super) help: Option<String>,
}

fn refuse(problem: impl Into<String>, help: Option<String>) -> Result<(), NameError> {
    Err(NameError { problem: problem.into(), help })
}

/// Checks a sweep's name: 1 to 63 of `[a-z0-9-]`, with no `-` at either end.
pub(super) fn sweep(name: &str) -> Result<(), NameError> {
    let suggestion = || sanitised(name).map(|good| format!("write `name: {good}`"));
    if name.is_empty() {
        return refuse("the name is empty", Some("leave `name` out to use the file's name".to_owned()));
    }
    if name.len() > limits::NAME_BYTES {
        let problem = format!("the name has {} bytes: at most {}", name.len(), limits::NAME_BYTES);
        return refuse(problem, suggestion());
    }
    if let Some(c) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        let which = match c {
            c if is_hostile(c) || !c.is_ascii() => {
                format!("{} (U+{:04X})", shown(&c.to_string()), u32::from(c))
            }
            c => shown(&c.to_string()),
        };
        let problem =
            format!("the name {} holds {which}: names are made of a to z, 0 to 9 and `-`", shown(name));
        return refuse(problem, suggestion());
    }
    if name.starts_with('-') || name.ends_with('-') {
        return refuse(format!("the name {} begins or ends with `-`", shown(name)), suggestion());
    }
    Ok(())
}

/// The name that is made of `text`, which people chose to be shown: `Exp 4: Lr` becomes `exp-4-lr`. Letters that no
/// name has leave a short hash, so that two such texts do not become one name.
///
/// # Errors
/// The text is empty, a path, too long, or not what it looks like.
pub(super) fn usable(text: &str) -> Result<String, NameError> {
    if sweep(text).is_ok() {
        return Ok(text.to_owned());
    }
    let words = || text.split(|c: char| !c.is_alphanumeric());
    let looks_like = |word: &str| {
        let cyrillic = word.chars().find(|c| matches!(c, '\u{400}'..='\u{52f}'));
        cyrillic.filter(|_| word.contains(|c: char| c.is_ascii_alphabetic()))
    };
    let hidden = text.chars().find(|c| is_hostile(*c)).or_else(|| words().find_map(looks_like));
    let is_path = text.starts_with(['/', '~']) || text.split('/').any(|part| matches!(part, "." | ".."));
    if text.trim().is_empty() || text.len() > limits::IDENT_BYTES || hidden.is_some() || is_path {
        return sweep(text).map(|()| text.to_owned());
    }
    Ok(derived(text))
}

/// A sweep's name for any text, the same for the same text.
#[must_use]
pub fn derived(text: &str) -> String {
    const HASH: usize = 6;
    let lost = text.contains(|c: char| c.is_alphanumeric() && !c.is_ascii());
    let readable = sanitised(text).unwrap_or_default();
    if !readable.is_empty() && !lost && text.len() <= limits::NAME_BYTES {
        return readable;
    }
    let hash = &blake3::hash(text.as_bytes()).to_hex()[..HASH];
    let readable = if readable.is_empty() { "sweep" } else { &readable };
    let readable = &readable[..readable.len().min(limits::NAME_BYTES - HASH - 1)];
    format!("{}-{hash}", readable.trim_end_matches('-'))
}

/// The nearest name that is allowed, if anything is left of `text`.
pub(super) fn sanitised(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if out.is_empty() || out.ends_with('-') => {}
            _ => out.push('-'),
        }
        if out.len() == limits::NAME_BYTES {
            break;
        }
    }
    let name = out.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// Checks a parameter's name: dots, dashes, slashes and spaces are fine, what cannot be seen or passed on is not.
pub(super) fn parameter(name: &str) -> Result<(), NameError> {
    visible("parameter", name)?;
    if name.contains('=') {
        return refuse(
            format!("the parameter's name {} holds `=`", shown(name)),
            Some("arguments are written `--name=value`: use another character".to_owned()),
        );
    }
    Ok(())
}

/// Checks a metric's name: spaces and brackets are fine.
pub(super) fn metric(name: &str) -> Result<(), NameError> {
    visible("metric", name)
}

fn visible(what: &str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return refuse(format!("a {what}'s name is empty"), None);
    }
    if name.len() > limits::IDENT_BYTES {
        let problem = format!(
            "the {what}'s name {} has {} bytes: at most {}",
            shown(name),
            name.len(),
            limits::IDENT_BYTES
        );
        return refuse(problem, None);
    }
    if name.contains(is_hostile) {
        return refuse(
            format!("the {what}'s name {} holds a character that cannot be seen", shown(name)),
            None,
        );
    }
    if name.trim() != name {
        return refuse(format!("the {what}'s name {} begins or ends with a space", shown(name)), None);
    }
    Ok(())
}

/// Checks the name of an environment variable that the file sets or passes on.
pub(super) fn variable(name: &str) -> Result<(), NameError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if name.len() > limits::IDENT_BYTES || !begins_well || !name.chars().all(good) {
        let help =
            name.contains('=').then(|| "write the name alone here, and the value after a colon".to_owned());
        return refuse(format!("{} is no name of a variable (letters, digits and `_`)", shown(name)), help);
    }
    if name.starts_with("GRID_") || name.starts_with("GRIDCTL_") {
        return refuse(format!("{} belongs to gridctl, which sets it itself", shown(name)), None);
    }
    Ok(())
}

/// The variable that carries the parameter `name`.
pub(super) fn variable_of(prefix: &str, name: &str) -> String {
    let upper = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    prefix.chars().chain(upper).collect()
}

/// Variables that steer the shell, the loader, an interpreter or gridctl, so that no parameter may become one.
const DENIED: &[&str] = &[
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "DISPLAY",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "HOME",
    "HOSTNAME",
    "IFS",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "MAIL",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PS1",
    "PS4",
    "PWD",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "TERM",
    "TMP",
    "TMPDIR",
    "TEMP",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
    "_",
];
const DENIED_PREFIXES: &[&str] = &[
    "AWS_",
    "BASH_FUNC_",
    "CONDA_",
    "CUDA_",
    "DOCKER_",
    "DYLD_",
    "GIT_",
    "GRIDCTL_",
    "GRID_",
    "JAVA_",
    "LC_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "NODE_",
    "OMP_",
    "PERL",
    "PYTHON",
    "RUBY",
    "SSL_",
    "WANDB_",
    "XDG_",
];

/// Whether no parameter may be carried by `variable`.
pub(super) fn denied(variable: &str) -> bool {
    DENIED.contains(&variable) || DENIED_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// Whether a variable's name says that it holds a secret.
pub(super) fn secret(variable: &str) -> bool {
    let upper = variable.to_ascii_uppercase();
    ["_KEY", "_TOKEN", "_SECRET", "PASSWORD"].iter().any(|end| upper.ends_with(end))
        || upper.contains("PASSWORD")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_a_sweeps_name_cannot_leave_its_directory() {
        let long = "a".repeat(4_096);
        for name in ["../../x", "/abs", ".", "..", "", &long, "-a", "a-", "A", "a b", "a_b", "a/b"] {
            assert!(sweep(name).is_err(), "{name}");
        }
        for name in ["a", "wine-forest", "2026", &"a".repeat(63)] {
            assert_eq!(sweep(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn c04_a_hostile_name_is_refused_and_its_characters_are_named() {
        for name in ["a\0b", "a\nb", "a\rb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}b", "win\u{435}"] {
            let error = sweep(name).unwrap_err();
            assert!(error.problem.contains("U+"), "{}", error.problem);
            assert!(!error.problem.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{200b}'));
        }
    }

    #[test]
    fn a_files_name_becomes_a_name() {
        assert_eq!(sanitised("Wine Forest (v2)").as_deref(), Some("wine-forest-v2"));
        assert_eq!(sanitised("___"), None);
        assert_eq!(sanitised("日本"), None);
        assert_eq!(sanitised(&"ab-".repeat(100)).map(|name| sweep(&name)), Some(Ok(())));
    }

    #[test]
    fn a_display_name_becomes_a_name_and_two_never_become_one() {
        for (text, name) in [
            ("small_benchmark_v0.1", "small-benchmark-v0-1"),
            ("Exp 4: Observation Dim", "exp-4-observation-dim"),
            ("ResNet50@NWPU-RESISC45_Final", "resnet50-nwpu-resisc45-final"),
            ("bert/sst2 (3 seeds)", "bert-sst2-3-seeds"),
            ("wine", "wine"),
        ] {
            assert_eq!(usable(text).as_deref(), Ok(name));
        }
        let long = format!("{}.", "ab ".repeat(70));
        let others = ["実験1", "比較1", "日本", "!!!", "Größe", "β-VAE", &long];
        let mut made: Vec<String> = others.iter().map(|text| usable(text).unwrap()).collect();
        assert!(made.iter().all(|name| sweep(name).is_ok()), "{made:?}");
        made.sort();
        made.dedup();
        assert_eq!(made.len(), others.len());
        let huge = "a".repeat(4_096);
        for text in ["", "  ", "../x", "/abs", "a/../b", ".", "a\u{202e}b", "win\u{435}", "a\nb", &huge] {
            assert!(usable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn s27_names_of_parameters_and_the_variables_they_become() {
        for name in ["", "a=b", "a\0", "a\nb", &"x".repeat(10_000), "\u{202e}x", " x"] {
            assert!(parameter(name).is_err(), "{name:?}");
        }
        for name in ["__proto__", "model.optimizer.lr", "transition-observer", "val/loss", "PATH", "größe"]
        {
            assert_eq!(parameter(name), Ok(()), "{name}");
        }
        assert_eq!(variable_of("HP_", "model.lr-x"), "HP_MODEL_LR_X");
        for variable in ["PATH", "LD_PRELOAD", "PYTHONPATH", "AWS_PROFILE", "GRID_TRIAL"] {
            assert!(denied(variable), "{variable}");
        }
        assert!(!denied("HP_PATH") && !denied("LR"));
    }
}
