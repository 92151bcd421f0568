//! `gridctl plan`: what a sweep would cost on machines of EC2, beside what it would cost otherwise.
//! Invariant: nobody is asked and nothing is started; each number says what it is made of, and what is not known is not shown.

use std::fmt::Write as _;
use std::sync::Arc;

use gridctl_core::cost::{self, CostQuestion, FleetCost, MachinePrice, PriceError, PriceTable};
use gridctl_core::points::{Count, Points};
use gridctl_core::record::TrialState;
use gridctl_core::spec::{MachineWishes, NO_COUNT, SweepSpec};
use gridctl_core::view::TrialsQuery;
use gridctl_storage::journal::JOURNAL_FILE;
use serde_json::json;

use crate::cli::PlanArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::table::TableColumns;
use crate::output::{self, TextOrJson, number, sanitise};
use crate::settings::Settings;
use crate::source::DataSource;
use crate::submit::{self, CheckedFile, preview};

/// The type that is planned with where none is named, and how many of it.
const DEFAULT_INSTANCE: &str = "c6i.xlarge";
const DEFAULT_MACHINES: u32 = 16;
/// Disk of a machine in GiB, where `workers.disk` says nothing.
const DEFAULT_DISK_GIB: f64 = 30.0;
/// Earlier trials whose time is looked at.
const LOOKED_AT: u32 = 5_000;
/// Fleets that a person is shown where the file names no types.
const SHOWN: usize = 12;

/// A table of prices that is older than so many days is said to be old.
const OLD_DAYS: i32 = 90;
/// How often a spot machine is taken away, an hour, where nobody says it: 717 of 1,442 machines were within 12,121 hours.
#[cfg(feature = "ec2")]
pub(crate) const INTERRUPTIONS: f64 = 0.06;

/// How long a trial takes.
struct TrialTime {
    hours: f64,
    /// How that is known.
    from: String,
}

/// Runs the command.
pub(crate) fn run(args: &PlanArgs, settings: &Settings) -> Outcome {
    show(args, settings, |_| None)
}

/// Shows what a launch would cost; refuses one that cannot keep its deadline.
#[cfg(feature = "ec2")]
pub(crate) fn before_launch(args: &PlanArgs, settings: &Settings) -> Outcome {
    show(args, settings, |plan| plan.unmeetable())
}

fn show(args: &PlanArgs, settings: &Settings, refused: impl Fn(&Plan<'_>) -> Option<Failure>) -> Outcome {
    let checked = submit::check(&args.file, &settings.data_dir, args.count)?;
    checked.show_warnings();
    if let Some(endless) = checked.unstartable.as_ref().filter(|problem| problem.code == NO_COUNT) {
        return Err(Failure::new(Exit::Usage, endless.clone()).within(&checked.file.source));
    }
    let spec = &checked.spec;
    if spec.resources.gpus > 0 {
        return Err(Failure::usage(
            "plan::gpus",
            "trials ask for GPUs, and no prices of machines with GPUs ship with gridctl",
        )
        .help("`resources: {gpu: 0}` plans for the same trials without them"));
    }
    let prices = prices(args)?;
    let master = known(&prices, &args.master_type)?.clone();
    let wishes = spec.machine_wishes();
    let time = trial_time(args, &checked, settings)?;
    let count = trials(spec)?;
    let (rows, mut notes) = rows(args, &wishes, &prices)?;
    let mut question = CostQuestion {
        trials: spec.run_cap.map_or(count.upper(), |cap| cap.min(count.upper())),
        resources: spec.resources,
        trial_hours: time.as_ref().map(|time| time.hours),
        kept_hours: args.kept.map(|kept| kept.as_secs_f64() / 3_600.0),
        max_failures: spec.retry.max_failures,
        at_once: 0,
        spot: args.spot || wishes.spot == Some(true),
        interruptions: args.interruptions,
        disk_gib: disk_gib(&wishes),
        master: master.on_demand,
    };
    let first = rows.iter().find(|machine| question.slots(machine) > 0);
    let Some(first) = first else { return Err(none_fits(spec, &rows)) };
    let machines = args.machines.or(wishes.count).unwrap_or(DEFAULT_MACHINES);
    question.at_once = u64::from(machines).saturating_mul(question.slots(first));
    let mut fleets: Vec<FleetCost> =
        rows.iter().filter_map(|machine| question.on(&prices, machine)).collect();
    if args.instance.is_empty() && wishes.instances.is_empty() {
        // Nobody has an order in mind: the cheapest for what they do come after the first.
        fleets
            .get_mut(1..)
            .unwrap_or_default()
            .sort_by(|one, other| one.per_slot().total_cmp(&other.per_slot()));
    }
    if args.machines.or(wishes.count).is_none() {
        notes.push(format!(
            "for as many trials at once as {machines} machines of {} hold, or fewer: neither --machines nor `workers.count` says how many",
            first.instance
        ));
    }
    let small = rows.iter().filter(|machine| question.slots(machine) == 0);
    notes.extend(small.map(|machine| format!("{} holds no trial of this sweep", machine.instance)));
    let plan = Plan { args, spec, question, prices, wishes, time, count, fleets, notes };
    match args.output {
        TextOrJson::Text => output::text(&plan.text())?,
        TextOrJson::Json => output::json(&plan.json())?,
    }
    refused(&plan).map_or(Ok(Exit::Ok), |failure| Err(failure.within(&checked.file.source)))
}

/// The prices, with those that were typed.
fn prices(args: &PlanArgs) -> Result<PriceTable, Failure> {
    let mut prices = PriceTable::shipped();
    for stated in &args.spot_price {
        prices.set_spot(&stated.instance, stated.dollars).map_err(|error| unpriced(&prices, &error))?;
    }
    Ok(prices)
}

fn known<'a>(prices: &'a PriceTable, instance: &str) -> Result<&'a MachinePrice, Failure> {
    prices.get(instance).ok_or_else(|| unpriced(prices, &PriceError::Unknown(instance.to_owned())))
}

fn unpriced(prices: &PriceTable, error: &PriceError) -> Failure {
    let failure = Failure::usage("plan::price", sanitise::line(&error.to_string()).into_owned());
    match error {
        PriceError::Unknown(instance) if cost::is_arm(instance) => {
            failure.help("its machines are arm64, and trials here are programs for x86_64")
        }
        PriceError::Unknown(_) => {
            let all: Vec<&str> = prices.machines.iter().map(|machine| machine.instance.as_str()).collect();
            failure.help(format!("prices ship for {}", all.join(", ")))
        }
        PriceError::AboveOnDemand { .. } => failure.help("leave --spot-price out to use the table's example"),
    }
}

/// The types to plan with, the first first, and what there is to say of others.
fn rows(
    args: &PlanArgs,
    wishes: &MachineWishes,
    prices: &PriceTable,
) -> Result<(Vec<MachinePrice>, Vec<String>), Failure> {
    let named = if args.instance.is_empty() { &wishes.instances } else { &args.instance };
    let mut notes = Vec::new();
    let mut rows: Vec<MachinePrice> = Vec::new();
    for instance in named {
        match known(prices, instance) {
            Ok(machine) if rows.contains(machine) => {}
            Ok(machine) => rows.push(machine.clone()),
            // What was typed is an error; of a file's list the others do.
            Err(failure) if !args.instance.is_empty() => return Err(failure),
            Err(_) if cost::is_arm(instance) => {
                notes
                    .push(format!("{instance} is left out: it is arm64, and trials are programs for x86_64"));
            }
            Err(_) => notes.push(format!("{instance} is left out: no price of it ships with gridctl")),
        }
    }
    if rows.is_empty() && !named.is_empty() {
        return Err(known(prices, &named[0]).map_or_else(|failure| failure, |_| no_rows()));
    }
    let families: Vec<String> = match rows.is_empty() {
        true => Vec::new(),
        false => rows.iter().map(|machine| machine.family().to_owned()).collect(),
    };
    if rows.is_empty() {
        rows.extend(prices.get(DEFAULT_INSTANCE).cloned());
    }
    // Other sizes of the same families stand beside them: many small machines, or few large ones.
    let others = prices
        .machines
        .iter()
        .filter(|machine| families.is_empty() || families.iter().any(|family| family == machine.family()));
    let others: Vec<MachinePrice> = others.filter(|machine| !rows.contains(machine)).cloned().collect();
    rows.extend(others);
    Ok((rows, notes))
}

fn no_rows() -> Failure {
    Failure::usage("plan::price", "no type of machine is left to plan with")
}

fn none_fits(spec: &SweepSpec, rows: &[MachinePrice]) -> Failure {
    let most = rows.iter().max_by_key(|machine| (machine.vcpus, machine.mem_gib));
    let most = most.map_or_else(String::new, |machine| {
        format!(
            "the largest, {}, has {} processors and leaves {} MiB to trials",
            machine.instance,
            machine.vcpus,
            number::count(machine.usable_mib())
        )
    });
    let wants = wants(spec);
    Failure::usage("plan::resources", format!("no machine holds a trial, which asks for {wants}: {most}"))
        .help("name a larger type with --instance, or ask for less under `resources`")
}

fn wants(spec: &SweepSpec) -> String {
    let cpus = f64::from(spec.resources.cpu_milli) / 1_000.0;
    let processors = if spec.resources.cpu_milli == 1_000 { "processor" } else { "processors" };
    match spec.resources.mem_mib {
        0 => format!("{cpus} {processors}"),
        mem => format!("{cpus} {processors} and {} MiB", number::count(mem)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size of a disk for people")]
fn disk_gib(wishes: &MachineWishes) -> f64 {
    wishes.disk_mib.map_or(DEFAULT_DISK_GIB, |mib| mib as f64 / 1_024.0)
}

fn trials(spec: &SweepSpec) -> Result<Count, Failure> {
    let points = Points::new(Arc::new(spec.clone()));
    let points = points.map_err(|error| Failure::usage("sweep::grid", error.to_string()))?;
    Ok(preview::count(&points))
}

/// The time of a trial: as it was typed, else as earlier ones of this sweep took.
fn trial_time(
    args: &PlanArgs,
    checked: &CheckedFile,
    settings: &Settings,
) -> Result<Option<TrialTime>, Failure> {
    if let Some(stated) = args.trial_time {
        let hours = stated.as_secs_f64() / 3_600.0;
        return Ok(Some(TrialTime { hours, from: "--trial-time says so".to_owned() }));
    }
    let dir = settings.data_dir.for_sweep(&checked.file.base)?;
    if settings.master.is_none() && !dir.journal.join(JOURNAL_FILE).exists() {
        return Ok(None);
    }
    let mut source = DataSource::open(settings, &checked.file.base)?;
    let name = &checked.spec.name;
    if !source.sweeps()?.iter().any(|sweep| sweep.sweep == *name) {
        return Ok(None);
    }
    let query =
        TrialsQuery { state: Some(TrialState::Succeeded), page_size: LOOKED_AT, page_token: String::new() };
    let page = source.trials(name, &query)?;
    let times: Vec<f64> = page.trials.iter().filter_map(|trial| trial.duration_s).collect();
    let mean = times.iter().sum::<f64>() / f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
    if times.is_empty() || mean <= 0.0 {
        return Ok(None);
    }
    let mut hosts: Vec<String> = page.trials.iter().filter_map(|trial| trial.host.clone()).collect();
    hosts.sort();
    hosts.dedup();
    let hosts = match hosts.as_slice() {
        [] => String::new(),
        [one] => format!(" on {one}"),
        [first, rest @ ..] => format!(" on {first} and {}", number::of(rest.len() as u64, "other")),
    };
    let earlier = number::of(times.len() as u64, "earlier trial");
    let from = format!("the mean of {earlier}{hosts}; other machines are faster or slower");
    Ok(Some(TrialTime { hours: mean / 3_600.0, from }))
}

/// What is shown.
struct Plan<'a> {
    args: &'a PlanArgs,
    spec: &'a SweepSpec,
    question: CostQuestion,
    prices: PriceTable,
    wishes: MachineWishes,
    time: Option<TrialTime>,
    count: Count,
    fleets: Vec<FleetCost>,
    notes: Vec<String>,
}

impl Plan<'_> {
    fn text(&self) -> String {
        let mut out = String::new();
        let question = &self.question;
        let relation = if matches!(self.count, Count::Exact(_)) { "" } else { "at most " };
        let trials = number::of(question.trials, "trial");
        let _ = writeln!(out, "{}: {relation}{trials}, each takes {}", self.spec.name, wants(self.spec));
        let _ = match &self.time {
            Some(time) => {
                let one = number::seconds(time.hours * 3_600.0);
                writeln!(out, "a trial takes {one}: {}", sanitise::line(&time.from))
            }
            None => {
                writeln!(out, "how long a trial takes is not known: --trial-time 90s gives hours and dollars")
            }
        };
        let _ = writeln!(out, "\n{}", self.table().trim_end());
        for line in self.explained() {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    fn shown(&self) -> &[FleetCost] {
        let named = !self.args.instance.is_empty() || !self.wishes.instances.is_empty();
        let most = if named { self.fleets.len() } else { self.fleets.len().min(SHOWN) };
        &self.fleets[..most]
    }

    fn table(&self) -> String {
        let is_known = self.fleets.iter().any(|fleet| fleet.worst_cost.is_some());
        let workers = if self.question.spot { "spot machines" } else { "machines" };
        let mut headings = vec![">machines", "of type", ">trials at once", ">$/h", ">$/h on demand"];
        if self.time.is_some() {
            headings.push(">trials/h");
        }
        if is_known {
            headings.extend([">time", ">p50 $", ">p90 $", ">worst case $", ">on demand $"]);
        }
        let first = format!(">{workers}");
        headings[0] = &first;
        let mut columns = TableColumns::new(headings);
        let unknown = || "-".to_owned();
        for fleet in self.shown() {
            let mut cells = vec![
                number::count(fleet.machines),
                fleet.instance.clone(),
                number::count(fleet.machines.saturating_mul(fleet.slots)),
                dollars(fleet.per_hour),
                dollars(fleet.on_demand_per_hour),
            ];
            if self.time.is_some() {
                cells.push(fleet.trials_per_hour.map_or_else(unknown, number::metric));
            }
            if is_known {
                cells.push(fleet.hours.map_or_else(unknown, |hours| number::seconds(hours * 3_600.0)));
                let costs = [fleet.p50_cost, fleet.p90_cost, fleet.worst_cost, fleet.on_demand_cost];
                cells.extend(costs.map(|cost| cost.map_or_else(unknown, dollars)));
            }
            columns.row(cells);
        }
        columns.render()
    }

    /// What the numbers are made of, and what there is to know of them.
    fn explained(&self) -> Vec<String> {
        let question = &self.question;
        let mut lines = vec![String::new()];
        lines.push(format!(
            "with a master on demand ({}, ${}/h), {} GiB of disk and a public address (${}/h) a machine",
            self.args.master_type,
            question.master,
            number::metric(question.disk_gib),
            self.prices.ipv4_hour,
        ));
        if question.spot {
            lines.push(format!(
                "assumed: a spot machine is taken away {} times an hour (--interruptions), and its trials begin anew",
                question.interruptions
            ));
            lines.push("p50, p90: half of all such sweeps cost no more, and nine of ten".to_owned());
        }
        if self.fleets.iter().any(|fleet| fleet.worst_cost.is_some()) {
            lines.push(match &self.time {
                Some(_) if self.args.kept.is_none() => format!(
                    "worst case: each trial fails {} before it is given up, at the price on demand",
                    number::of(u64::from(question.max_failures) + 1, "time")
                ),
                _ => "worst case: spot machines cost as much as on demand".to_owned(),
            });
        }
        lines.push(format!(
            "prices of {} as read on {}, without tax and traffic, from",
            self.prices.region, self.prices.date
        ));
        lines.push(format!("  {}", self.prices.source));
        let left_out = self.fleets.len() - self.shown().len();
        if left_out > 0 {
            lines.push(format!("{} more with -o json", number::of(left_out as u64, "type")));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {}", sanitise::line(note))));
        lines.extend(self.warnings().into_iter().map(|warning| format!("warning: {warning}")));
        lines
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let question = &self.question;
        let risk = question.trial_hours.map_or(0.0, |hours| hours * question.interruptions);
        if question.spot && risk > cost::RISKY {
            warnings.push(match question.trial_hours.and_then(|hours| question.waste(hours)) {
                Some(waste) => format!(
                    "trials are so long that interruptions cost {:.2} times their time: write checkpoints",
                    waste
                ),
                None => "trials are so long that hardly any ends before its machine is taken away: write \
                             checkpoints, or run them on demand"
                    .to_owned(),
            });
        }
        let today = jiff::ZonedDateTime::now().date();
        warnings.extend(age_days(&self.prices.date, today).filter(|days| *days > OLD_DAYS).map(|days| {
            format!(
                "the prices are {days} days old: --spot-price says today's, a newer gridctl has newer ones"
            )
        }));
        let Some(first) = self.fleets.first() else { return warnings };
        if let Some(budget) = self.wishes.budget_usd.filter(|budget| *budget < first.per_hour) {
            warnings.push(format!("`budget`, ${budget}, pays for less than the first hour"));
        }
        if let (Some(deadline), Some(hours)) = (self.wishes.deadline_ms, first.hours) {
            let deadline = std::time::Duration::from_millis(deadline).as_secs_f64();
            if hours * 3_600.0 > deadline {
                let deadline = number::seconds(deadline);
                warnings.push(format!("on {} it takes longer than `deadline: {deadline}`", first.instance));
            }
        }
        if let (Some(budget), Some(cost)) = (self.wishes.budget_usd, first.cost)
            && cost > budget
        {
            warnings.push(format!("on {} it costs more than `budget`, ${budget}", first.instance));
        }
        warnings
    }

    /// Why a launch is refused: not even machines that nobody takes away keep the deadline.
    #[cfg(feature = "ec2")]
    fn unmeetable(&self) -> Option<Failure> {
        let (first, deadline) = (self.fleets.first()?, self.wishes.deadline_ms?);
        let (needs, deadline) =
            (first.on_demand_hours? * 3_600.0, std::time::Duration::from_millis(deadline).as_secs_f64());
        let message = format!(
            "`deadline: {}` cannot be kept: on {} of {} it takes {} without one interruption",
            number::seconds(deadline),
            number::of(first.machines, "machine"),
            first.instance,
            number::seconds(needs),
        );
        let help = "allow more time with `deadline`, or more machines with --max-machines or `workers.count`";
        (needs > deadline).then(|| Failure::usage("launch::deadline", message).help(help))
    }

    fn json(&self) -> serde_json::Value {
        let question = &self.question;
        json!({
            "sweep": self.spec.name,
            "trials": question.trials,
            "exact": matches!(self.count, Count::Exact(_)),
            "resources": self.spec.resources,
            "trial_seconds": self.time.as_ref().map(|time| time.hours * 3_600.0),
            "trial_seconds_from": self.time.as_ref().map(|time| &time.from),
            "kept_hours": question.kept_hours,
            "spot": question.spot,
            "interruptions_per_hour": question.interruptions,
            "master": {"instance": self.args.master_type, "per_hour": question.master},
            "disk_gib": question.disk_gib,
            "prices": {"region": self.prices.region, "date": self.prices.date, "source": self.prices.source},
            "fleets": self.fleets,
            "notes": self.notes,
            "warnings": self.warnings(),
        })
    }
}

/// How many days ago that day was.
fn age_days(day: &str, today: jiff::civil::Date) -> Option<i32> {
    let day: jiff::civil::Date = day.parse().ok()?;
    today.since(day).ok().map(|span| span.get_days())
}

/// An amount in dollars: cents, and more digits where it is small.
fn dollars(amount: f64) -> String {
    if amount >= 10.0 { format!("{amount:.2}") } else { format!("{amount:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_prices_has_an_age_in_days() {
        let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
        assert_eq!(age_days("2026-11-27", day("2026-11-27")), Some(0));
        assert_eq!(age_days("2026-11-27", day("2027-11-27")), Some(365));
        assert_eq!(age_days("some day", day("2027-11-27")), None);
        assert!(age_days(&PriceTable::shipped().date, day("2126-01-01")).is_some_and(|days| days > OLD_DAYS));
    }
}
