//! `gridctl status`: how far sweeps are.
//! Invariant: a state is told by its word.

mod frame;
mod screen;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use gridctl_core::notice::Notice;
use gridctl_core::record::TrialState;
use gridctl_core::sched::SweepStatus;
use gridctl_core::trials::TrialLine;
use gridctl_core::view::TrialsQuery;

use super::run::progress;
use crate::cli::StatusArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::sentence::{self, NoticeTeller};
use crate::output::table::TableColumns;
use crate::output::{self, Format, causes, csv, number, sanitise};
use crate::settings::Settings;
use crate::source::{DataSource, target};

/// The results volume is looked at for so long.
const LOOK: Duration = Duration::from_secs(3);

/// Trials that are looked at for what runs, and for what failed, of each state.
const LOOKED_AT: u32 = 2_000;

/// A master that has gone is waited for so long: one that is started again is back by then.
const RETURN: Duration = Duration::from_secs(60);

/// Runs the command.
pub(crate) fn run(args: &StatusArgs, settings: &Settings) -> Outcome {
    let (name, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let from = source.from.clone();
    if args.all {
        print_all(&source.sweeps()?, args.output)?;
        return Ok(Exit::Ok);
    }
    let mut status = source.status(&name)?;
    let live = source.is_live();
    if source.is_without_master() && !status.state.is_over() {
        output::say(
            "no master is running: this is what the journal says; `gridctl run FILE` goes on with it",
        );
    }
    if let Some(dir) = source.dir.clone().filter(|_| source.is_without_master()) {
        status.notices.extend(waiting(&dir, &status.sweep));
    }
    if !args.watch {
        print_one(&mut source, &status, args.output)?;
        return Ok(Exit::Ok);
    }
    let mut notices = NoticeTeller::default();
    if !live || status.phase.is_closed() {
        watch(&status, args.output, &mut notices)?;
        return Ok(Exit::Ok);
    }
    let is_terminal =
        std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|it| it != "dumb");
    if is_terminal && args.output == Format::Table {
        screen::show(source, &status.sweep, (settings, &from))?;
        let mut source = DataSource::open(settings, &from)?;
        let status = source.status(&status.sweep)?;
        print_one(&mut source, &status, args.output)?;
        return Ok(Exit::Ok);
    }
    follow(source, &status.sweep, (settings, &from), |status| watch(status, args.output, &mut notices))?;
    Ok(Exit::Ok)
}

/// Follows a sweep until it is over, though its master is started again meanwhile.
fn follow(
    mut source: DataSource,
    sweep: &str,
    (settings, from): (&Settings, &Path),
    mut each: impl FnMut(&SweepStatus) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut is_over = false;
    loop {
        let ended = source.follow(sweep, |status| {
            is_over = status.phase.is_closed();
            each(&status)?;
            Ok(true)
        });
        match ended {
            Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
            _ if is_over => return Ok(()),
            _ => {}
        }
        output::say(format_args!("the master has gone; waiting {} s for it", RETURN.as_secs()));
        source = returned(settings, from, || false)?;
    }
}

/// The trials that have failed, or wait to be tried again since they did: as many as one page holds.
fn failed(source: &mut DataSource, sweep: &str) -> Result<Vec<TrialLine>, Failure> {
    let mut all = Vec::new();
    for state in [TrialState::Failed, TrialState::Quarantined, TrialState::Pending] {
        let query = TrialsQuery { state: Some(state), page_size: LOOKED_AT, page_token: String::new() };
        all.extend(source.trials(sweep, &query)?.trials);
    }
    all.retain(|trial| trial.class.is_some());
    Ok(all)
}

/// The master, once it answers again; nobody waits for it any longer once `is_ended`.
fn returned(settings: &Settings, from: &Path, is_ended: impl Fn() -> bool) -> Result<DataSource, Failure> {
    let mut looks = RETURN.as_secs();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        if is_ended() {
            return DataSource::open(settings, from);
        }
        match DataSource::master(settings, from).and_then(|_| DataSource::open(settings, from)) {
            Err(failure) if failure.exit != Exit::Unreachable || looks <= 1 => return Err(failure),
            Ok(source) if source.is_live() => return Ok(source),
            _ => looks = looks.saturating_sub(1),
        }
    }
}

/// Whether records wait that no master ships; a results volume that does not answer is not waited
/// for.
fn waiting(dir: &Path, sweep: &str) -> Option<Notice> {
    let (dir, sweep) = (dir.to_owned(), sweep.to_owned());
    let (say, said) = mpsc::channel();
    let look = move || say.send(gridctl_master::waiting(&dir, Some(&sweep)));
    std::thread::Builder::new().spawn(look).ok()?;
    let left = said.recv_timeout(LOOK).ok()?.ok()?.pop()?;
    let error = format!("{} of {}: {}", sentence::lack(&left), left.sweep, left.why);
    Some(Notice::RecordsNotShipped { error })
}

/// One line of those that follow a sweep.
fn watch(status: &SweepStatus, format: Format, notices: &mut NoticeTeller) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => {
            output::text(&format!("{}\n", watched(status)))?;
            for line in notices.due(&status.notices) {
                output::text(&format!("{line}\n"))?;
            }
            Ok(())
        }
        _ => output::jsonl([status]),
    }
}

fn watched(status: &SweepStatus) -> String {
    format!("{} {}: {}", status.sweep, status.state.as_str(), progress::line(status, "objective", None))
}

fn print_one(source: &mut DataSource, status: &SweepStatus, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(status),
        Format::Jsonl => output::jsonl([status]),
        Format::Yaml => output::yaml(status),
        Format::Csv => print_all(std::slice::from_ref(status), format),
        Format::Table | Format::Wide => {
            let mut text =
                format!("{}  version {}  {}\n", status.sweep, status.version, status.state.as_str());
            text.push_str(&progress::line(status, "objective", None));
            text.push('\n');
            text.push_str(&columns(std::slice::from_ref(status)));
            if status.failed + status.quarantined > 0 {
                text.push_str("\nfailures\n");
                let width = output::terminal_width(std::io::stdout()).unwrap_or(200);
                for cause in causes::of(&failed(source, &status.sweep)?) {
                    let line = format!("{:>6}  {}, {} for example", cause.trials, cause.text, cause.first);
                    let _ = writeln!(text, "{}", sanitise::short(&line, width));
                }
            }
            for notice in &status.notices {
                let _ = writeln!(text, "note: {}", sentence::notice(notice));
            }
            output::text(&text)
        }
    }
}

fn print_all(all: &[SweepStatus], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(&all),
        Format::Jsonl => output::jsonl(all),
        Format::Yaml => output::yaml(&all),
        Format::Csv => {
            let header = HEADINGS.map(|heading| heading.trim_start_matches('>').to_owned());
            csv::print(&header, all.iter().map(|status| cells(status, &|count| count.to_string())))
        }
        Format::Table | Format::Wide => output::text(&columns(all)),
    }
}

const HEADINGS: [&str; 12] = [
    "sweep",
    ">version",
    "state",
    ">total",
    ">pending",
    ">leased",
    ">succeeded",
    ">failed",
    ">quarantined",
    ">cancelled",
    ">excluded",
    ">best",
];

fn columns(all: &[SweepStatus]) -> String {
    let mut columns = TableColumns::new(HEADINGS);
    all.iter().for_each(|status| columns.row(cells(status, &number::count)));
    columns.render()
}

fn cells(status: &SweepStatus, count: &dyn Fn(u64) -> String) -> Vec<String> {
    let mut cells = vec![status.sweep.clone(), status.version.to_string(), status.state.as_str().to_owned()];
    let counts = [
        status.total,
        status.pending,
        status.leased,
        status.succeeded,
        status.failed,
        status.quarantined,
        status.cancelled,
        status.excluded,
    ];
    cells.extend(counts.map(count));
    cells.push(match &status.best {
        Some(best) => number::metric(best.objective.0),
        None if status.none_complete() => "none complete yet".to_owned(),
        None => "-".to_owned(),
    });
    cells
}
