//! `gridctl submit`: gives a sweep to a master that is running.
//! Invariant: the file is checked here first, so that its mistakes are shown with their place.

use std::path::PathBuf;

use gridctl_core::protocol::FrozenSweep;
use gridctl_core::view::{SubmitRequest, Submitted, SweepStatus};

use super::run::changed;
use super::run::progress::{done, points};
use crate::cli::{AgainArgs, SubmitArgs};
use crate::datadir::DataDir;
use crate::diagnose;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, number};
use crate::settings::Settings;
use crate::source::DataSource;
use crate::submit::freeze::RunPlace;
use crate::submit::pack::{self, PackedCode};
use crate::submit::{self as sweep, CheckedFile, freeze, image, precheck, preview, reads};

/// Runs the command.
pub(crate) fn run(args: &SubmitArgs, settings: &Settings) -> Outcome {
    sweep::check_again(&args.again)?;
    let checked = sweep::check(&args.file, &settings.data_dir, args.count)?;
    checked.show_warnings();
    let mut master = DataSource::master(settings, &checked.file.base)?;
    let dir = settings.data_dir.for_sweep(&checked.file.base)?;
    let place = if master.is_here { RunPlace::Here } else { RunPlace::Elsewhere };
    let mut frozen = prepare(&checked, &dir, place, None)?;
    let unread = reads::unread(&frozen, &preview::points(&frozen)?);
    if place == RunPlace::Elsewhere {
        let PackedCode { pack, bytes, size } = pack::pack(&mut frozen, &checked.file, &dir)?;
        let packed = number::bytes(bytes.len() as u64);
        let code = format!("the code, {} ({packed} packed),", number::of(size.files, "file"));
        let went = if master.bring(pack, bytes)? { "is at the master already" } else { "went to the master" };
        output::say(format_args!("{code} {went}"));
    }
    let mut submit = request(frozen, &args.again);
    let answer = match master.submit(&submit)? {
        Submitted::CodeChanged { version, lines, succeeded, failed, disturbed } => {
            let sweep = checked.spec.name.clone();
            let found = changed::ChangedFiles { sweep, version, lines, succeeded, failed, disturbed };
            submit.changed = Some(changed::ask(&found)?);
            master.submit(&submit)?
        }
        answer => answer,
    };
    if let Submitted::Stands { sweep: name, new, known, read_again, lost, unread: unmeasured, left, .. } =
        answer
    {
        if new {
            unread.iter().for_each(|warning| diagnose::print(warning, None));
        }
        changed::note_left(&left);
        changed::note_reading(read_again, lost, unmeasured);
        let status = master.status(&name)?;
        output::say(stands(&status, new.then_some(known)));
    }
    Ok(Exit::Ok)
}

/// What a submission came to; `known` of a version that is new.
fn stands(status: &SweepStatus, known: Option<u64>) -> String {
    let SweepStatus { sweep, version, .. } = status;
    let follow = if status.state.is_over() { "" } else { "; `gridctl status -w` follows it" };
    if let Some(known) = known {
        return format!(
            "`{sweep}` is submitted: version {version}, {} known{follow}",
            number::of(known, "trial")
        );
    }
    let done = format!("{} of {} done", number::count(done(status)), number::of(points(status), "trial"));
    let again = match status.state.is_over() {
        true if status.failed + status.quarantined > 0 => {
            "; --retry-failed tries the failed ones again, --rerun all"
        }
        true => "; --rerun tries them again",
        false => follow,
    };
    format!("`{sweep}` is {} already: version {version}, {done}{again}", status.state.as_str())
}

/// Everything that can be said about a sweep without a master: resolved, checked against this machine's files, and marked.
pub(crate) fn prepare(
    checked: &CheckedFile,
    dir: &DataDir,
    place: RunPlace,
    binary: Option<PathBuf>,
) -> Result<FrozenSweep, Failure> {
    let source = &checked.file.source;
    if let Some(problem) = &checked.unstartable {
        return Err(Failure::new(Exit::Usage, problem.clone()).within(source));
    }
    let caller = |name: &str| std::env::var(name).ok();
    let resolved = freeze::resolve(checked, dir, &caller)?;
    resolved.notes.iter().for_each(|note| diagnose::print(note, Some(source)));
    let mut frozen = resolved.frozen;
    for warning in precheck::served(&frozen, place, source)? {
        diagnose::print(&warning, Some(source));
    }
    if !resolved.missing.is_empty() {
        return Err(Failure { exit: Exit::Usage, problems: resolved.missing, source: Some(source.clone()) });
    }
    let copied = freeze::copied(&frozen, dir)?;
    if let Some(warning) = copied.and_then(|copied| freeze::copied_warning(&copied, source)) {
        diagnose::print(&warning, Some(source));
    }
    let points = preview::points(&frozen)?;
    precheck::command(&frozen, &points, source)?;
    let image_pin = image::pin(&frozen, place, binary, source)?;
    if let Some(warning) = freeze::seal(&mut frozen, dir, place, image_pin)? {
        diagnose::print(&warning, None);
    }
    Ok(frozen)
}

/// What a master is asked.
pub(crate) fn request(frozen: FrozenSweep, again: &AgainArgs) -> SubmitRequest {
    SubmitRequest {
        frozen,
        changed: again.changed.map(Into::into),
        retry_failed: again.retry_failed,
        rerun: again.rerun,
    }
}
