//! Who answers for a sweep that was launched: its master, or, without one, its results.
//! Invariant: that there is no master any more is said, with how long ago it was heard of.

use std::path::Path;

use tokio::runtime::Runtime;

use super::api::ApiClient;
use super::pointer::LaunchPointer;
use super::results::ResultsPlace;
use crate::exit::Failure;

/// Who answers for a launch.
pub(super) enum Launched {
    /// Its master.
    Master(ApiClient),
    /// What its master has left.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(dead_code, reason = "without EC2 nothing tells whether it is over")
    )]
    Over(ResultsPlace),
}

/// The master of the launch that `dir` points to, or what it has left.
pub(super) fn open(runtime: &Runtime, pointer: LaunchPointer, dir: &Path) -> Result<Launched, Failure> {
    match connect(runtime, &pointer) {
        Ok(client) => Ok(Launched::Master(client)),
        Err(unreachable) => left(runtime, pointer, dir, unreachable),
    }
}

fn connect(runtime: &Runtime, pointer: &LaunchPointer) -> Result<ApiClient, Failure> {
    let place = pointer.place()?.ok_or_else(|| {
        let sweep = &pointer.sweep;
        Failure::error("launch::master", format!("the master of `{sweep}` has not said yet where it is"))
            .help(format!("`gridctl attach {sweep}` finds it; `gridctl down {sweep}` ends it"))
    })?;
    runtime.block_on(ApiClient::connect(&place))
}

#[cfg(not(feature = "ec2"))]
fn left(_: &Runtime, _: LaunchPointer, _: &Path, unreachable: Failure) -> Result<Launched, Failure> {
    Err(unreachable.help("it was launched on EC2, and this gridctl was built without that: it may be over"))
}

#[cfg(feature = "ec2")]
fn left(
    runtime: &Runtime,
    mut pointer: LaunchPointer,
    dir: &Path,
    unreachable: Failure,
) -> Result<Launched, Failure> {
    use crate::commands::cloud;
    use crate::output::{self, number};

    if cloud::look_again(&mut pointer, dir)?
        && let Ok(client) = connect(runtime, &pointer)
    {
        return Ok(Launched::Master(client));
    }
    let Some(report) = cloud::last_report(&pointer)? else { return Err(unreachable) };
    let age = std::time::Duration::from_secs(gridctl_fleet::ec2::now_s().saturating_sub(report.written_s));
    let (age, sweep) = (number::duration(age), &pointer.sweep);
    output::say(match (&report.problem, report.over) {
        (Some(problem), _) => {
            format!("the launch of `{sweep}` has ended, {age} ago: {}", output::sanitise::line(problem))
        }
        (None, true) => format!("the launch of `{sweep}` is over since {age}: this is what its results hold"),
        (None, false) => format!(
            "the master of `{sweep}` does not answer, and said something {age} ago: this is what its results hold"
        ),
    });
    ResultsPlace::in_s3(&pointer.results).map(Launched::Over)
}
