//! `gridctl serve`: the model that a trial has kept, behind HTTP.
//! Invariant: what is served are the trial's files as their hashes say they were published; nothing of it stays.

mod api;
mod model;

use std::net::SocketAddr;
use std::path::Path;

use gridctl_core::launch::BaseEnv;
use gridctl_core::view::TrialDetails;
use gridctl_storage::owned::{OwnedDir, remove_abandoned};
use tokio::net::TcpListener;

use crate::cli::ServeArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, number, sanitise};
use crate::runtime;
use crate::settings::Settings;
use crate::source::{DataSource, target};
use crate::submit::preview;

use super::run::interrupt::Interrupts;
use super::{again, fetch, trials};
use model::{ModelCommand, ModelPool};

/// What the names of directories with served files begin with.
const PREFIX: &str = "gridctl-serve-";

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.as_deref(), settings)?;
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
    let served = published
        .copy(&files)
        .and_then(|()| command(args, settings, (&details, &source), &files))
        .and_then(|command| runtime::shared()?.block_on(serve(args, command, &details)));
    // The next one removes what cannot be removed now.
    drop(scratch.remove());
    served.map(|()| Exit::Ok)
}

/// What answers.
fn command(
    args: &ServeArgs,
    settings: &Settings,
    (details, source): (&TrialDetails, &DataSource),
    files: &Path,
) -> Result<ModelCommand, Failure> {
    let frozen = again::frozen(details, source);
    let (argv, dir) = match &frozen {
        _ if !args.command.is_empty() => (args.command.clone(), settings.cwd.clone()),
        Ok(frozen) if !frozen.spec.serve.is_empty() => {
            (frozen.spec.serve.clone(), frozen.sources.start_dir().into())
        }
        _ => {
            let message = format!("the file of sweep {} does not say what answers", details.sweep);
            return Err(Failure::usage("serve::no_command", message).help(
                "add `serve: {command: [python3, predict.py]}` and run the sweep again, which computes nothing anew; \
                 or say it here: `gridctl serve best -- python3 predict.py`",
            ));
        }
    };
    let mut env: Vec<(String, String)> = match &frozen {
        Ok(frozen) => BaseEnv::new(frozen, preview::caller_env())
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Err(_) => preview::caller_env().collect(),
    };
    env.push(("GRID_MODEL_DIR".to_owned(), files.display().to_string()));
    Ok(ModelCommand { argv, env, dir, timeout: args.timeout })
}

/// Answers until it is told to stop.
async fn serve(args: &ServeArgs, command: ModelCommand, details: &TrialDetails) -> Result<(), Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let refused = |error: std::io::Error| {
        Failure::error("serve::listen", format!("cannot listen at {address}: {}", reason(&error)))
            .help("another program may have the port: take another one with --port")
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let mut interrupts = Interrupts::listen()?;
    let pool = ModelPool::start(command, args.processes.into()).await.map_err(|error| {
        Failure::error("serve::model", error.to_string()).help("what it printed on stderr stands above")
    })?;
    let objective = match details.trial.objective {
        Some(objective) => format!(", objective {}", number::metric(objective.0)),
        None => String::new(),
    };
    output::say(format_args!(
        "trial {} of {}{objective}: at http://{address}; try: curl -d '{{\"data\": ...}}' http://{address}",
        details.trial.trial.short(),
        sanitise::line(&details.sweep)
    ));
    tokio::select! {
        () = api::listen(listener, pool, details) => {}
        () = interrupts.next() => output::say("no more answers"),
    }
    Ok(())
}
