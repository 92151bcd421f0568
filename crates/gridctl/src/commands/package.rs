//! `gridctl package`: the model that a trial has kept, as an image that answers wherever it is taken.
//! Invariant: the image holds what `gridctl serve` would read, and no secret: variables that a sweep file declares so stay here.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gridctl_core::launch::secret_names;
use gridctl_core::protocol::{Code, FrozenSweep};
use gridctl_storage::pack::PackStore;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::PackageArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, sanitise};
use crate::settings::Settings;
use crate::source::{DataSource, chain, target};
use crate::submit;

use super::{again, fetch, serve, trials};

/// What is in an image, beside the files.
pub(super) const MANIFEST: &str = "package.json";
/// Where it lies in the image.
const ROOT: &str = "/srv/gridctl";
/// Where the image listens.
const PORT: u16 = 5000;

/// What the image's gridctl is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PackageManifest {
    /// What is said when it starts.
    pub(super) title: String,
    /// What `/metadata` answers.
    pub(super) metadata: Value,
    /// What answers, in `code`; empty for a model of `gridctl train`.
    pub(super) command: Vec<String>,
    /// Variables of the sweep file.
    pub(super) env: Vec<(String, String)>,
}

/// Runs the command.
pub(crate) fn run(args: &PackageArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.named(), settings)?;
    let details = source.trial(&sweep, &args.trial)?;
    trials::say_repeat(&mut source, &details, &args.trial);
    let published = fetch::published(&source, &details)?;
    let scratch;
    let context = match &args.dir {
        Some(dir) => settings.cwd.join(dir),
        None => {
            scratch = tempfile::Builder::new().prefix("gridctl-package-").tempdir()?;
            scratch.path().join("context")
        }
    };
    fetch::make_empty(&context)?;
    let files = context.join("files");
    make(&files)?;
    published.copy(&files)?;
    let frozen = again::frozen(&details, &source).ok();
    let command = answers(args, frozen.as_deref(), &files, &details.sweep)?;
    make(&context.join("code"))?;
    if let Some(frozen) = frozen.as_deref().filter(|_| !command.is_empty()) {
        copy_code(frozen, &source, &context.join("code"))?;
    }
    let env = frozen.as_deref().map(open_env).unwrap_or_default();
    let base = base(args, frozen.as_deref(), &command)?;
    let serve::About { title, metadata } = serve::About::of(&details);
    let manifest = PackageManifest { title, metadata, command, env };
    let text = serde_json::to_string_pretty(&manifest).map_err(io::Error::from)?;
    write(&context.join(MANIFEST), text.as_bytes())?;
    copy_binary(args.binary.as_deref(), &context.join("gridctl"))?;
    let setup = Setup::of(frozen.as_deref(), &context.join("code"), &base);
    write(&context.join("Dockerfile"), dockerfile(&base.name, &setup).as_bytes())?;
    if let Some(dir) = &args.dir {
        output::say(format_args!(
            "the Dockerfile and what goes into the image: {}",
            sanitise::line(&dir.display().to_string())
        ));
    }
    if let Some(tag) = args.tag.as_ref().filter(|_| !args.no_build) {
        build(tag, &context)?;
        output::say(format_args!("built {tag} on {}; it answers by", base.name));
        output::text(&format!("docker run --rm -p 15000:{PORT} {tag}\n"))?;
    }
    Ok(Exit::Ok)
}

/// What answers in the image; nothing where gridctl does by itself.
fn answers(
    args: &PackageArgs,
    frozen: Option<&FrozenSweep>,
    files: &Path,
    sweep: &str,
) -> Result<Vec<String>, Failure> {
    let command = match frozen {
        _ if !args.command.is_empty() => args.command.clone(),
        Some(frozen) if !frozen.spec.serve.is_empty() => frozen.spec.serve.clone(),
        _ if serve::has_native(files) => return serve::check_native(files).map(|()| Vec::new()),
        _ => return Err(serve::no_command(sweep)),
    };
    match frozen {
        Some(_) => Ok(command),
        None => Err(Failure::usage("package::no_code", "where the code lies is not known here")
            .help("use the data directory of the sweep: --data-dir DIR")),
    }
}

/// What the image is made from.
struct Base {
    name: String,
    /// The sweep's own image has what its code needs.
    is_own: bool,
}

fn base(args: &PackageArgs, frozen: Option<&FrozenSweep>, command: &[String]) -> Result<Base, Failure> {
    let own = frozen.and_then(|frozen| frozen.spec.image.clone());
    let is_own = args.base.is_none() && own.is_some();
    let is_python = command
        .first()
        .is_some_and(|program| program.rsplit('/').next().unwrap_or_default().starts_with("python"));
    let usual = if is_python { "python:3.13-slim-trixie" } else { "debian:13-slim" };
    let name = args.base.clone().or(own).unwrap_or_else(|| usual.to_owned());
    // An image of a sweep file stands in a line of the Dockerfile.
    match crate::cli::image_name(&name) {
        Ok(name) => Ok(Base { name, is_own }),
        Err(why) => Err(Failure::usage("package::base", format!("`{}`: {why}", sanitise::short(&name, 80)))),
    }
}

/// How what the code needs gets into the image.
enum Setup {
    Nothing,
    Requirements,
    Line(String),
}

impl Setup {
    fn of(frozen: Option<&FrozenSweep>, code: &Path, base: &Base) -> Self {
        match frozen.and_then(|frozen| frozen.spec.setup.clone()) {
            Some(line) => Self::Line(line),
            None if !base.is_own
                && base.name.starts_with("python")
                && code.join("requirements.txt").exists() =>
            {
                Self::Requirements
            }
            None => Self::Nothing,
        }
    }
}

fn dockerfile(base: &str, setup: &Setup) -> String {
    let set_up = match setup {
        Setup::Nothing => String::new(),
        Setup::Requirements => {
            "RUN pip install --no-cache-dir --root-user-action=ignore -r requirements.txt\n".to_owned()
        }
        Setup::Line(line) => format!("RUN {}\n", serde_json::json!(["sh", "-c", line])),
    };
    format!(
        "# Made by `gridctl package`.\nFROM {base}\nUSER root\nCOPY gridctl /usr/local/bin/gridctl\n\
         # Said while the image is built, where it cannot run there.\nRUN [\"/usr/local/bin/gridctl\", \"version\"]\n\
         COPY code {ROOT}/code\nWORKDIR {ROOT}/code\n{set_up}COPY {MANIFEST} {ROOT}/{MANIFEST}\n\
         COPY files {ROOT}/files\nENV HOME=/tmp\nUSER 10001:10001\nEXPOSE {PORT}\n\
         ENTRYPOINT [\"/usr/local/bin/gridctl\", \"serve\", \"--package\", \"{ROOT}\", \"--host\", \"0.0.0.0\", \"--port\", \"{PORT}\"]\nCMD []\n"
    )
}

/// The variables of the sweep file that are no secrets.
fn open_env(frozen: &FrozenSweep) -> Vec<(String, String)> {
    let secrets: Vec<&str> = secret_names(frozen).collect();
    frozen.env.iter().filter(|(name, _)| !secrets.contains(&name.as_str())).cloned().collect()
}

/// Copies the code as it would travel to another machine.
fn copy_code(frozen: &FrozenSweep, source: &DataSource, into: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::error("package::code", chain(error));
    match (&frozen.sources.code, &source.dir) {
        (Some(Code::Dir(dir)), _) => {
            let data = frozen.sources.data.iter().map(PathBuf::from);
            let apart: Vec<PathBuf> = source.dir.iter().cloned().chain(data).collect();
            submit::pack::copy(Path::new(dir), &apart, into)
        }
        (Some(Code::Pack { pack }), Some(dir)) => {
            let mut packed = PackStore::new(dir).open(*pack).map_err(|error| failed(&error))?;
            gridctl_storage::pack::unpack(&mut packed.file, into).map(drop).map_err(|error| failed(&error))
        }
        (Some(Code::Pack { .. }), None) => {
            Err(Failure::error("package::code", "the code lies with the master")
                .help("package it where the master's data directory is"))
        }
        (None, _) => Ok(()),
    }
}

fn copy_binary(named: Option<&Path>, to: &Path) -> Result<(), Failure> {
    let own = std::env::current_exe()?;
    let from = named.unwrap_or(&own);
    let failed = |error: io::Error| {
        let shown = sanitise::line(&from.display().to_string()).into_owned();
        Failure::error("package::binary", format!("cannot copy {shown}: {}", reason(&error)))
    };
    fs::copy(from, to).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(failed)
}

fn build(tag: &str, context: &Path) -> Result<(), Failure> {
    let mut docker = Command::new("docker");
    docker.args(["build", "--tag", tag]).arg(context);
    // What is told on stdout is for whoever reads it; Docker's words are not.
    let done = docker.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let help = "`gridctl package --dir DIR --no-build` writes the Dockerfile and what goes into the image, to be built elsewhere";
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let message = format!("`docker build` ended with {status}: its own words stand above");
            Err(Failure::error("package::build", message).help(
                "a binary that is too new for the image: name one of `cargo portable` by GRIDCTL_BINARY, or a newer image by --base",
            ))
        }
        Err(error) => {
            let message = format!("cannot start docker: {}", reason(&error));
            Err(Failure::error("package::docker", message).help(help))
        }
    }
}

fn make(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::File::create(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let shown = sanitise::line(&path.display().to_string()).into_owned();
    Failure::error("package::write", format!("cannot write {shown}: {}", reason(error)))
}
