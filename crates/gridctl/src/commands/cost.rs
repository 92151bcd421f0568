//! `gridctl cost`: what the machines of a launch have cost so far, and what they will come to.
//! Invariant: the numbers are the master's; what is rounded is rounded up.

use gridctl_core::fleet::machines::Hold;
use gridctl_core::view::CostView;

use crate::cli::CostArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{self, TextOrJson, number, sanitise};
use crate::settings::Settings;
use crate::source::DataSource;

/// Runs the command.
pub(crate) fn run(args: &CostArgs, settings: &Settings) -> Outcome {
    let cost = DataSource::master(settings, &settings.cwd)?.cost()?;
    match args.output {
        TextOrJson::Json => output::json(&cost)?,
        TextOrJson::Text => output::text(&text(&cost))?,
    }
    Ok(Exit::Ok)
}

/// A line for each thing that is known.
fn text(cost: &CostView) -> String {
    let mut lines = vec![
        ("spent", format!("${:.2}, the master's machine included", up(cost.spent))),
        ("on demand", format!("${:.2} for the same machines; saved ${:.2}", cost.on_demand, cost.saved)),
    ];
    if cost.wasted > 0.0 {
        lines.push(("wasted", format!("${:.2} on attempts that ended with their machines", up(cost.wasted))));
    }
    if let Some(one) = cost.per_trial {
        let trials = number::of(cost.succeeded, "trial");
        lines.push(("a trial", format!("${:.4} each, for {trials} that succeeded", one)));
    }
    let machines = number::of(cost.machines, "machine");
    lines.push((
        "now",
        format!(
            "${:.3} an hour: {machines}, {} of them at work, {} at most",
            cost.per_hour, cost.working, cost.most
        ),
    ));
    lines.push(("so far", format!("{:.2} hours of workers' machines", cost.machine_hours)));
    if let Some(at_end) = cost.at_end {
        lines.push(("at the end", format!("about ${:.2}, as the last trials suggest", up(at_end))));
    }
    if let Some(budget) = cost.budget {
        lines.push(("budget", format!("${budget:.2}")));
    }
    if let Some(hold) = cost.hold.filter(|hold| *hold != Hold::Machines) {
        lines.push(("held", output::sentence::no_machines(hold, cost.trouble.as_deref())));
    }
    let lines = lines.iter().map(|(what, text)| format!("{what:<11}{}\n", sanitise::line(text)));
    lines.collect()
}

/// To the next cent.
fn up(dollars: f64) -> f64 {
    (dollars * 100.0).ceil() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said_and_what_is_not_is_left_out() {
        let cost = CostView {
            spent: 1.171,
            on_demand: 3.06,
            saved: 1.889,
            wasted: 0.0,
            per_hour: 1.19,
            machine_hours: 17.0,
            machines: 17,
            working: 16,
            most: 17,
            budget: None,
            succeeded: 100,
            per_trial: Some(0.01171),
            at_end: Some(2.0),
            hold: None,
            trouble: None,
        };
        let shown = text(&cost);
        assert_eq!(
            shown,
            "spent      $1.18, the master's machine included\n\
             on demand  $3.06 for the same machines; saved $1.89\n\
             a trial    $0.0117 each, for 100 trials that succeeded\n\
             now        $1.190 an hour: 17 machines, 16 of them at work, 17 at most\n\
             so far     17.00 hours of workers' machines\n\
             at the end about $2.00, as the last trials suggest\n"
        );
        let held = CostView { hold: Some(Hold::Budget), budget: Some(2.0), wasted: 0.001, ..cost };
        let shown = text(&held);
        for line in [
            "wasted     $0.01 on",
            "budget     $2.00\n",
            "held       no more machines are started: the budget",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
    }
}
