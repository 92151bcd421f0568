//! `gridctl pause|resume|stop|cancel`: changes a sweep's phase.
//! Invariant: asking twice is no mistake, and is said.

use gridctl_core::sched::Steer;

use crate::cli::SweepArg;
use crate::exit::{Exit, Outcome};
use crate::output;
use crate::settings::Settings;
use crate::source::{DataSource, target};

/// Runs one of the commands.
pub(crate) fn run(args: &SweepArg, steer: Steer, settings: &Settings) -> Outcome {
    let (name, from) = target::sweep(Some(&args.sweep), settings)?;
    let mut master = DataSource::master(settings, &from)?;
    let before = master.status(&name)?;
    master.steer(&name, steer)?;
    let status = master.status(&name)?;
    if before.state == status.state {
        output::say(format_args!("`{name}` is {} already", status.state.as_str()));
    } else {
        output::say(format_args!("`{name}` was {}, is {}", before.state.as_str(), status.state.as_str()));
    }
    Ok(Exit::Ok)
}
