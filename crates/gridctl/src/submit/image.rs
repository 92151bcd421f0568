//! The image of a sweep, looked at before anything starts: here, for this machine, with what a trial
//! starts in it; and pinned, so that all trials of a version have the same.
//! Invariant: nothing of the user's runs in it.

use std::path::PathBuf;
use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;
use gridctl_core::spec::Diagnostic;
use gridctl_worker::container::{ContainerError, StagedImage, examine};

use super::at_key;
use super::freeze::RunPlace;
use crate::exit::{Exit, Failure, SourceText};
use crate::{diagnose, output, runtime};

/// What the image of `frozen` is pinned to, if it has one. What keeps it from running here is an error
/// where trials are to run here, and is said otherwise.
pub(crate) fn pin(
    frozen: &FrozenSweep,
    place: RunPlace,
    binary: Option<PathBuf>,
    source: &Arc<SourceText>,
) -> Result<Option<String>, Failure> {
    let Some(name) = &frozen.spec.image else { return Ok(None) };
    let own = || std::env::current_exe().and_then(|own| own.canonicalize());
    let binary = binary.map_or_else(own, |binary| binary.canonicalize());
    let binary = binary.map_err(|error| {
        Failure::usage("run::binary", format!("the binary for containers cannot be found: {error}"))
    })?;
    match runtime::single()?.block_on(examine(frozen, &binary)) {
        Ok(StagedImage { pin, .. }) => {
            if place == RunPlace::Elsewhere && pin.starts_with("sha256:") {
                let message = format!("`{name}` is on this machine alone: no registry has it");
                let help = "`docker push` it, so that workers elsewhere can fetch it, and submit again";
                diagnose::print(
                    &at_key(Diagnostic::warning("submit::image", message).help(help), source, "image"),
                    Some(source),
                );
            }
            Ok(Some(pin))
        }
        Err(error) if place == RunPlace::Elsewhere => {
            let message =
                format!("the image is not pinned, and workers take what `{name}` is to them: {error}");
            output::say(message);
            Ok(None)
        }
        Err(error) => Err(refusal(&error, source)),
    }
}

fn refusal(error: &ContainerError, source: &Arc<SourceText>) -> Failure {
    let key = match error {
        ContainerError::NothingToStart { .. } | ContainerError::Program { .. } => "command",
        _ => "image",
    };
    let mut problem = Diagnostic::error("run::image", error.to_string());
    problem.help = error.help();
    Failure::new(Exit::Usage, at_key(problem, source, key)).within(source)
}
