//! Freezes a sweep: absolute paths, passed-on variables, and the code's mark.
//! Invariant: no secret's value gets in; equal code in equal surroundings has an equal mark.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gridctl_core::code::{NamedFiles, is_source};
use gridctl_core::id::CodeHash;
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::{Code, FrozenSweep, Sources};
use gridctl_core::spec::{Diagnostic, SweepSpec};
use gridctl_storage::dataset::{self, DatasetError};
use gridctl_worker::isolate::Contents;

use super::{CheckedFile, at_key, naming};
use crate::datadir::DataDir;
use crate::exit::{Exit, Failure, SourceText};
use crate::source::results::s3_url;
use crate::workdir;

/// Where trials are to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunPlace {
    /// Where the workdir is seen.
    Here,
    /// On machines that get it packed.
    Elsewhere,
    /// The same, on machines that are started for it.
    Launched,
}

/// A variable of the caller, by name.
pub(crate) type Caller<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A sweep with its paths and variables, not yet with its code's mark.
#[derive(Debug)]
pub(crate) struct ResolvedSweep {
    /// The sweep; `code` and `files` are empty.
    pub(crate) frozen: FrozenSweep,
    /// Variables and secrets that the file passes on and the caller lacks.
    pub(crate) missing: Vec<Diagnostic>,
    /// What was decided that the file does not say.
    pub(crate) notes: Vec<Diagnostic>,
}

/// Resolves paths and variables of a sweep whose results go to `dir` unless the file says
/// otherwise.
pub(crate) fn resolve(
    checked: &CheckedFile,
    dir: &DataDir,
    caller: Caller<'_>,
) -> Result<ResolvedSweep, Failure> {
    let CheckedFile { file, spec, .. } = checked;
    let source = &file.source;
    let text = |path: &Path| utf8(path).map_err(|failure| failure.within(source));
    let workdir = match &spec.workdir {
        Some(dir) => Some(existing(&file.base.join(dir), "workdir", source)?),
        None => found_workdir(spec, &file.base),
    };
    let typed_from = workdir.as_ref().filter(|dir| spec.workdir.is_none() && **dir != file.base);
    let outside = outside_note(spec, &file.base, workdir.as_deref(), source);
    let notes = typed_from.map(|dir| typed_from_note(dir, source)).into_iter().chain(outside).collect();
    let data = match &spec.data {
        Some(data) if !data.contains("://") => Some(existing(&file.base.join(data), "data", source)?),
        _ => None,
    };
    let output = match &spec.output {
        Some(output) if !output.contains("://") => {
            let dir = absolute(&file.base.join(output));
            text(&dir)?;
            Output::At(VolumeUrl::Dir(dir))
        }
        Some(address) => Output::At(VolumeUrl::S3(s3_url(address)?)),
        None => {
            text(&dir.results)?;
            dir.output()
        }
    };
    let mut missing = Vec::new();
    let mut env = Vec::new();
    for (name, value) in &spec.env {
        match value.clone().or_else(|| caller(name)) {
            Some(value) => env.push((name.clone(), value)),
            None => missing.push(not_set(source, "env", name)),
        }
    }
    missing.extend(
        spec.secrets
            .iter()
            .filter(|name| caller(name).is_none())
            .map(|name| not_set(source, "secrets", name)),
    );
    let frozen = FrozenSweep {
        uuid: String::new(),
        spec: spec.clone(),
        source: source.text.clone(),
        file: Some(naming::relative_file(file, dir)),
        sources: Sources {
            base: text(&file.base)?,
            code: workdir.as_deref().map(text).transpose()?.map(Code::Dir),
            data: data.as_deref().map(text).transpose()?,
        },
        output,
        env,
        code: CodeHash([0; 10]),
        reader: gridctl_core::metrics::READER_RULE,
        files: Vec::new(),
    };
    Ok(ResolvedSweep { frozen, missing, notes })
}

/// Hashes workdir and data, and marks the code. Returns a warning where that is much to look through.
pub(crate) fn seal(
    frozen: &mut FrozenSweep,
    data_dir: &DataDir,
    place: RunPlace,
    image_pin: Option<String>,
) -> Result<Option<Diagnostic>, Failure> {
    let mut warning = None;
    let mut digest = String::new();
    if let Some(dir) = frozen.sources.workdir() {
        let apart =
            [apart(frozen, data_dir), frozen.sources.data.iter().map(PathBuf::from).collect()].concat();
        let named = NamedFiles::of(&frozen.spec);
        let hashed = match place {
            RunPlace::Here => workdir::hash(Path::new(dir), &apart, &named)?,
            RunPlace::Elsewhere | RunPlace::Launched => workdir::hash_packed(Path::new(dir), &apart, &named)?,
        };
        digest = hashed.digest();
        warning = hashed.is_large().map(|size| {
            Diagnostic::warning("workdir", format!("the workdir {dir} is large: {size}"))
                .help("name in .gridctlignore what is no part of the code; data belongs under `data:`")
        });
        frozen.files = hashed.files;
    }
    let mut data = String::new();
    if let (Some(path), Some(name)) = (&frozen.sources.data, &frozen.spec.data) {
        data = workdir::data_version(Path::new(path))?;
        frozen.files.push((name.clone(), data.clone()));
    }
    if let Some(address) = frozen.spec.data.clone().filter(|data| data.contains("://")) {
        let listed = dataset::list(&s3_url(&address)?).map_err(|error| data_failure(&error))?;
        data = listed.version();
        frozen.files.push((address, data.clone()));
    }
    let image = image_pin.clone().or_else(|| frozen.spec.image.clone()).unwrap_or_default();
    if let (Some(pin), Some(name)) = (image_pin, frozen.spec.image.clone()) {
        frozen.files.push((name, pin));
    }
    let spec = &frozen.spec;
    let (command, program) = (json(&spec.command), json(&(&spec.program, &spec.env_prefix)));
    let env = json(&frozen.env);
    // Scores of trials that disturbed each other are not those of trials apart.
    let isolate = spec.isolate.then_some("isolate");
    let parts = [&*command, &*program, &*env, &*image, &*digest, &*data];
    // With other libraries the scores are others.
    let setup = spec.setup.as_ref().map(|setup| format!("setup {setup}"));
    let entrypoint = spec.entrypoint.as_ref().map(|words| format!("entrypoint {}", json(words)));
    let parts = parts.into_iter().chain(isolate).chain(setup.as_deref()).chain(entrypoint.as_deref());
    frozen.code = CodeHash::of(&parts.collect::<Vec<_>>());
    Ok(warning)
}

/// What is wrong with data in S3.
pub(crate) fn data_failure(error: &DatasetError) -> Failure {
    Failure::usage("sweep::data", format!("`data`: {}", crate::source::chain(error)))
        .maybe_help(error.help().map(str::to_owned))
}

/// Directories that are no part of the workdir, wherever they are.
pub(super) fn apart(frozen: &FrozenSweep, data_dir: &DataDir) -> Vec<PathBuf> {
    let volume = frozen.output.volume_in(&data_dir.journal);
    volume.local_dir().map(Path::to_owned).into_iter().chain([data_dir.journal.clone()]).collect()
}

/// What the copy of the workdir holds that each slot works in, of an isolated sweep or in a container.
#[derive(Debug)]
pub(crate) struct CopiedWorkdir {
    /// How many files.
    pub(crate) files: usize,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// What of the workdir is not in it, by name, because ignore rules leave it out.
    pub(crate) left_out: Vec<String>,
}

/// Looks at the workdir of a sweep whose slots work in copies; none if they do not.
pub(crate) fn copied(frozen: &FrozenSweep, data_dir: &DataDir) -> Result<Option<CopiedWorkdir>, Failure> {
    let is_contained = frozen.spec.image.is_some() && frozen.sources.code.is_some();
    if !frozen.spec.isolate && !is_contained {
        return Ok(None);
    }
    let dir = Path::new(frozen.sources.start_dir());
    let apart = apart(frozen, data_dir);
    let data = frozen.sources.data.as_ref().map(PathBuf::from);
    let contents = Contents::of(dir, &apart, data.as_deref()).map_err(|error| {
        Failure::error("workdir", format!("the workdir cannot be copied: {error}"))
            .help("make it readable, or name it in .gridctlignore if no trial needs it")
    })?;
    let (files, bytes) = contents.size();
    Ok(Some(CopiedWorkdir { files, bytes, left_out: contents.left_out(dir, &apart) }))
}

/// What to know of such a copy before trials miss something in it.
pub(crate) fn copied_warning(copied: &CopiedWorkdir, source: &SourceText) -> Option<Diagnostic> {
    const NAMED: usize = 5;
    let (first, rest) = copied.left_out.split_at(copied.left_out.len().min(NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!first.is_empty()).then(|| {
        let message = format!("not in the copies of the workdir: {}{more}", first.join(", "));
        let help = "ignore rules leave it out: name data under `data:`, which is linked to where it is, or \
                    write `!NAME` in .gridctlignore to have it copied";
        at_key(Diagnostic::warning("sweep::isolate", message).help(help), source, "isolate")
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts in lists are JSON")
}

/// The directory of the code where the file does not say it: the sweep file's own if the command names a file there, else
/// the one where the command was typed if it does there.
fn found_workdir(spec: &SweepSpec, base: &Path) -> Option<PathBuf> {
    if names_a_file_of(spec, base) {
        return Some(base.to_owned());
    }
    let typed = std::env::current_dir().and_then(|dir| dir.canonicalize()).ok()?;
    let off_limits = typed == Path::new("/") || OFF_LIMITS.iter().any(|dir| typed.starts_with(dir));
    (!off_limits && names_a_file_of(spec, &typed)).then_some(typed)
}

fn typed_from_note(dir: &Path, source: &SourceText) -> Diagnostic {
    let message = format!("the command's files are in {}: trials start there", dir.display());
    let problem = Diagnostic::warning("sweep::workdir", message)
        .help("write `workdir: PATH`, relative to the sweep file, to start it from anywhere");
    at_key(problem, source, "program")
}

/// A program that is named and that no mark covers, since it lies elsewhere.
fn outside_note(
    spec: &SweepSpec,
    base: &Path,
    workdir: Option<&Path>,
    source: &SourceText,
) -> Option<Diagnostic> {
    let named = NamedFiles::of(spec);
    let mut programs = named.iter().filter(|path| is_source(path) && !path.contains('\0'));
    let outside = programs.find_map(|path| {
        let file = workdir.unwrap_or(base).join(path).canonicalize().ok().filter(|file| file.is_file())?;
        let dir = workdir.and_then(|dir| dir.canonicalize().ok());
        (!dir.is_some_and(|dir| file.starts_with(dir))).then_some(file)
    })?;
    let message = format!("{} is not in the workdir: a change of it is not noticed", outside.display());
    let problem = Diagnostic::warning("sweep::outside", message)
        .help("write `workdir: PATH`, a directory that holds all of the code, or use --rerun after a change");
    Some(at_key(problem, source, "command"))
}

/// Whether the command or `program` names a file of `dir`, or (after `-m`) a module, or what they say
/// to a shell, or a value, names a program there.
pub(super) fn names_a_file_of(spec: &SweepSpec, dir: &Path) -> bool {
    let words = spec.command.iter().chain(&spec.program);
    let mut words = words.filter(|word| !word.is_empty() && !word.contains('\0'));
    let is_file = |word: &String| {
        let path = Path::new(word);
        (path.is_relative() || path.starts_with(dir)) && word != "gridctl" && dir.join(path).is_file()
    };
    words.any(is_file)
        || module(spec).is_some_and(|module| is_module_of(&module, dir))
        || names_a_program_of(spec, dir)
}

/// So many directories are looked into.
const MOST_DIRS: usize = 16;

/// Whether some part of a word or of a value is the path of a program below `dir`, or of one in a
/// directory that another part names, as in `cd src && python3 train.py`. Other files may be what
/// trials write.
fn names_a_program_of(spec: &SweepSpec, dir: &Path) -> bool {
    let named = NamedFiles::of(spec);
    let inside =
        |path: &&str| !path.contains('\0') && (!path.starts_with('/') || Path::new(path).starts_with(dir));
    let below =
        named.iter().filter(inside).map(|path| dir.join(path)).filter(|path| path.is_dir()).take(MOST_DIRS);
    let dirs: Vec<PathBuf> = std::iter::once(dir.to_owned()).chain(below).collect();
    named.iter().filter(inside).any(|path| dirs.iter().any(|dir| is_program(&dir.join(path), path)))
}

fn is_program(file: &Path, name: &str) -> bool {
    let runs = |meta: Metadata| meta.is_file() && (is_source(name) || meta.mode() & 0o111 != 0);
    fs::metadata(file).is_ok_and(runs)
}

/// What stands after `-m`.
fn module(spec: &SweepSpec) -> Option<String> {
    let place = spec.command.iter().position(|word| word == "-m")? + 1;
    let word = spec.command.get(place)?;
    if word == "${program}" { spec.program.clone() } else { Some(word.clone()) }
}

fn is_module_of(module: &str, dir: &Path) -> bool {
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let path = dir.join(module.replace('.', "/"));
    module.chars().all(named) && (path.with_extension("py").is_file() || path.join("__main__.py").is_file())
}

/// No code and no data is here, and looking through them would not end.
const OFF_LIMITS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

fn existing(path: &Path, key: &'static str, source: &std::sync::Arc<SourceText>) -> Result<PathBuf, Failure> {
    let path = absolute(path);
    let problem = |message: String| {
        let problem = Diagnostic::error("sweep::path", message)
            .help("paths in a sweep file are relative to the directory that it stands in");
        Failure::new(Exit::Usage, at_key(problem, source, key)).within(source)
    };
    let path = path
        .canonicalize()
        .map_err(|error| problem(format!("`{key}`: {}: {}", path.display(), crate::input::reason(&error))))?;
    if path == Path::new("/") || OFF_LIMITS.iter().any(|dir| path.starts_with(dir)) {
        return Err(problem(format!("`{key}`: {} is the machine's own", path.display())));
    }
    if key == "workdir" && !path.is_dir() {
        return Err(problem(format!("`workdir`: {} is not a directory", path.display())));
    }
    if !path.is_dir() && !path.is_file() {
        return Err(problem(format!("`{key}`: {} is neither a file nor a directory", path.display())));
    }
    Ok(path)
}

fn absolute(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn utf8(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(
            "sweep::path",
            format!("{} is not UTF-8, and environments of trials are", path.display()),
        )
        .help("move the sweep to a directory whose name is UTF-8")
    })
}

fn not_set(source: &SourceText, key: &'static str, name: &str) -> Diagnostic {
    let problem = Diagnostic::error("sweep::env", format!("`{key}` passes on {name}, which is not set here"))
        .help(match key {
            "env" => {
                format!("set it before gridctl starts (`export {name}=...`), or give its value in the file")
            }
            _ => format!("set it before gridctl starts (`export {name}=...`), or take it out of `secrets`"),
        });
    at_key(problem, source, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_a_path_are_resolved_without_looking() {
        assert_eq!(absolute(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(absolute(Path::new("/../x")), Path::new("/x"));
    }
}
