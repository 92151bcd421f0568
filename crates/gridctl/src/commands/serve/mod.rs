//! `gridctl serve`: the model that a trial has kept, behind HTTP.
//! Invariant: what is served are the trial's files as their hashes say they were published; nothing of it stays.

mod api;
mod model;
#[cfg(feature = "train")]
mod native;

use std::net::SocketAddr;
use std::path::Path;
#[cfg(feature = "train")]
use std::sync::Arc;

use gridctl_core::launch::BaseEnv;
use gridctl_core::view::TrialDetails;
use gridctl_storage::owned::{OwnedDir, remove_abandoned};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::cli::ServeArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, number, sanitise};
use crate::runtime;
use crate::settings::Settings;
use crate::source::{DataSource, target};
use crate::submit::preview;

use super::package::{MANIFEST, PackageManifest};
use super::run::interrupt::Interrupts;
use super::{again, fetch, trials};
use model::{ModelCommand, ModelError, ModelPool};

/// What the names of directories with served files begin with.
const PREFIX: &str = "gridctl-serve-";

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, settings: &Settings) -> Outcome {
    if let Some(dir) = &args.package {
        let (served, about) = packaged(dir, args)?;
        runtime::shared()?.block_on(serve(args, served, about))?;
        return Ok(Exit::Ok);
    }
    let (sweep, mut source) = target::open(args.sweep.named(), settings)?;
    let details = source.trial(&sweep, &args.trial)?;
    trials::say_repeat(&mut source, &details, &args.trial);
    let published = fetch::published(&source, &details)?;
    let base = std::env::temp_dir();
    remove_abandoned(&base, |name| name.starts_with(PREFIX));
    let path = base.join(format!("{PREFIX}{}", std::process::id()));
    let failed = |error: std::io::Error| {
        let message = format!("cannot write to {}: {}", path.display(), reason(&error));
        Failure::error("serve::dir", message)
    };
    let scratch = OwnedDir::make(&path, "").map_err(failed)?;
    let files = scratch.path().join("files");
    std::fs::create_dir(&files).map_err(failed)?;
    let done = published
        .copy(&files)
        .and_then(|()| served(args, settings, (&details, &source), &files))
        .and_then(|served| runtime::shared()?.block_on(serve(args, served, About::of(&details))));
    // The next one removes what cannot be removed now.
    drop(scratch.remove());
    done.map(|()| Exit::Ok)
}

/// What is to answer.
enum ServedModel {
    /// Processes of a command.
    Command(ModelCommand),
    /// A model of `gridctl train`.
    #[cfg(feature = "train")]
    Native(Arc<gridctl_trainer::KeptModel>),
}

/// What answers.
enum Answerer {
    Pool(ModelPool),
    #[cfg(feature = "train")]
    Native(native::NativeModel),
}

impl Answerer {
    async fn start(served: ServedModel, args: &ServeArgs) -> Result<Self, ModelError> {
        match served {
            ServedModel::Command(command) => {
                ModelPool::start(command, args.processes.into()).await.map(Self::Pool)
            }
            #[cfg(feature = "train")]
            ServedModel::Native(model) => Ok(Self::Native(native::NativeModel::new(model, args.timeout))),
        }
    }

    /// The answer to a request, which has `data`.
    async fn ask(&self, request: Map<String, Value>) -> Result<Value, ModelError> {
        match self {
            Self::Pool(pool) => pool.ask(Value::Object(request).to_string()).await,
            #[cfg(feature = "train")]
            Self::Native(model) => model.ask(request).await,
        }
    }

    fn is_well(&self) -> bool {
        match self {
            Self::Pool(pool) => pool.is_well(),
            #[cfg(feature = "train")]
            Self::Native(_) => true,
        }
    }
}

/// What is to answer: what the command line says, or the sweep file, or else a model of `gridctl train` among the files.
fn served(
    args: &ServeArgs,
    settings: &Settings,
    (details, source): (&TrialDetails, &DataSource),
    files: &Path,
) -> Result<ServedModel, Failure> {
    let frozen = again::frozen(details, source);
    let (argv, dir) = match &frozen {
        _ if !args.command.is_empty() => (args.command.clone(), settings.cwd.clone()),
        Ok(frozen) if !frozen.spec.serve.is_empty() => {
            (frozen.spec.serve.clone(), frozen.sources.start_dir().into())
        }
        #[cfg(feature = "train")]
        _ if has_native(files) => return native(files),
        _ => return Err(no_command(&details.sweep)),
    };
    let mut env: Vec<(String, String)> = match &frozen {
        Ok(frozen) => BaseEnv::new(frozen, preview::caller_env())
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Err(_) => preview::caller_env().collect(),
    };
    env.push(("GRID_MODEL_DIR".to_owned(), files.display().to_string()));
    Ok(ServedModel::Command(ModelCommand { argv, env, dir, timeout: args.timeout }))
}

/// Nothing is said of what answers.
pub(super) fn no_command(sweep: &str) -> Failure {
    let message = format!("the file of sweep {} does not say what answers", sanitise::line(sweep));
    Failure::usage("serve::no_command", message).help(
        "add `serve: {command: [python3, predict.py]}` and run the sweep again, which computes nothing anew; \
         or say it here: `gridctl serve best -- python3 predict.py`",
    )
}

/// Whether a model of `gridctl train` is among the files.
#[cfg(feature = "train")]
pub(super) fn has_native(files: &Path) -> bool {
    files.join(gridctl_trainer::MODEL_FILE).exists()
}

/// Whether a model is among the files that this build can read.
#[cfg(not(feature = "train"))]
pub(super) fn has_native(_files: &Path) -> bool {
    false
}

/// The model of `gridctl train` that is among the files.
fn native(files: &Path) -> Result<ServedModel, Failure> {
    #[cfg(feature = "train")]
    return gridctl_trainer::KeptModel::read(files)
        .map(|model| ServedModel::Native(Arc::new(model)))
        .map_err(|error| {
            let failure = Failure::error("serve::model", crate::source::chain(&error));
            match error.help() {
                Some(help) => failure.help(help),
                None => failure,
            }
        });
    #[cfg(not(feature = "train"))]
    return Err(no_command(&files.display().to_string()));
}

/// Reads that a model is whole.
pub(super) fn check_native(files: &Path) -> Result<(), Failure> {
    native(files).map(drop)
}

/// What `gridctl package` has put into an image.
fn packaged(dir: &Path, args: &ServeArgs) -> Result<(ServedModel, About), Failure> {
    let failed = |why: String| {
        let shown = sanitise::line(&dir.display().to_string()).into_owned();
        Failure::error("serve::package", format!("{shown} is no package: {why}"))
    };
    let path = dir.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|error| failed(reason(&error)))?;
    let manifest: PackageManifest =
        serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    let files = dir.join("files");
    let about = About { title: manifest.title, metadata: manifest.metadata };
    if manifest.command.is_empty() {
        return Ok((native(&files)?, about));
    }
    // The image's variables go before the sweep file's, as they do for trials.
    let mut env: Vec<(String, String)> = preview::caller_env().collect();
    env.extend(manifest.env);
    env.push(("GRID_MODEL_DIR".to_owned(), files.display().to_string()));
    let command = ModelCommand { argv: manifest.command, env, dir: dir.join("code"), timeout: args.timeout };
    Ok((ServedModel::Command(command), about))
}

/// What is said of a model.
pub(super) struct About {
    /// On the terminal.
    pub(super) title: String,
    /// To who asks for `/metadata`.
    pub(super) metadata: Value,
}

impl About {
    pub(super) fn of(details: &TrialDetails) -> Self {
        let trial = json!(details.trial);
        let known = ["trial", "params", "objective", "metrics"];
        let mut metadata: Map<String, Value> =
            known.into_iter().map(|name| (name.to_owned(), trial[name].clone())).collect();
        metadata.insert("sweep".to_owned(), json!(details.sweep));
        let objective = match details.trial.objective {
            Some(objective) => format!(", objective {}", number::metric(objective.0)),
            None => String::new(),
        };
        let sweep = sanitise::line(&details.sweep);
        let title = format!("trial {} of {sweep}{objective}", details.trial.trial.short());
        Self { title, metadata: Value::Object(metadata) }
    }
}

/// Answers until it is told to stop.
async fn serve(args: &ServeArgs, served: ServedModel, about: About) -> Result<(), Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let refused = |error: std::io::Error| {
        Failure::error("serve::listen", format!("cannot listen at {address}: {}", reason(&error)))
            .help("another program may have the port: take another one with --port")
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let mut interrupts = Interrupts::listen()?;
    let example = match &served {
        ServedModel::Command(_) => "{\"data\": ...}".to_owned(),
        #[cfg(feature = "train")]
        ServedModel::Native(model) => model.example().to_string(),
    };
    let answerer = Answerer::start(served, args).await.map_err(|error| {
        Failure::error("serve::model", error.to_string()).help("what it printed on stderr stands above")
    })?;
    output::say(format_args!(
        "{}: at http://{address}; try: curl -d '{example}' http://{address}",
        about.title
    ));
    tokio::select! {
        () = api::listen(listener, answerer, about.metadata) => {}
        () = interrupts.next() => output::say("no more answers"),
    }
    Ok(())
}
