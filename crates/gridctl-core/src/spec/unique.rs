//! Parameters that would meet under one name, or in one variable.
//! Invariant: what passes can be told apart in JSON, and no variable holds now one parameter and now another.

use std::collections::HashMap;

use super::axes::Draft;
use super::diagnostic::{Checker, Diagnostic, shown};
use super::names::denied;

/// Every parameter has a name of its own, nested ones joined with dots.
pub(super) fn names(check: &mut Checker<'_>, drafts: &[Draft<'_>]) {
    let mut first: HashMap<&str, &Draft<'_>> = HashMap::new();
    for draft in drafts {
        if let Some(before) = first.get(draft.name.as_str()) {
            check.push(
                Diagnostic::error(
                    "sweep::duplicate_parameter",
                    format!("there are two parameters {}", shown(&draft.name)),
                )
                .at(&draft.span)
                .label("again here")
                .related(&before.span, "first here")
                .help("nested names are joined with dots: rename one of the two"),
            );
        } else {
            first.insert(&draft.name, draft);
        }
    }
}

/// Every parameter has a variable of its own, which means nothing else; those that would share one have none.
pub(super) fn variables(check: &mut Checker<'_>, drafts: &mut [Draft<'_>]) {
    let mut sharers: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        let Some(variable) = &draft.variable else { continue };
        fit(check, draft, variable);
        let known = sharers.entry(variable.clone()).or_default();
        // The same name twice has been reported.
        if known.iter().all(|other| drafts[*other].name != draft.name) {
            known.push(place);
        }
    }
    for (variable, places) in sharers.into_iter().filter(|(_, places)| places.len() > 1) {
        let names: Vec<String> = places.iter().map(|place| shown(&drafts[*place].name)).collect();
        let message = format!(
            "{} would share the variable {}: none is set for them",
            names.join(" and "),
            shown(&variable)
        );
        let mut warning = Diagnostic::warning("sweep::variable_collision", message)
            .at(&drafts[places[1]].span)
            .related(&drafts[places[0]].span, format!("also {}", shown(&variable)))
            .help("arguments and `GRID_PARAMS` tell them apart; for variables of their own rename one");
        warning.label = Some("no variable".to_owned());
        check.push(warning);
        places.iter().for_each(|place| drafts[*place].variable = None);
    }
}

/// The variable of a parameter must be one, and mean nothing else.
fn fit(check: &mut Checker<'_>, draft: &Draft<'_>, variable: &str) {
    if denied(variable) {
        check.push(
            Diagnostic::error(
                "sweep::denied_variable",
                format!(
                    "parameter {} would set the variable {}, which means something else",
                    shown(&draft.name),
                    shown(variable)
                ),
            )
            .at(&draft.span)
            .help("rename it, or choose another `env_prefix` (`HP_` is the default)"),
        );
    } else if variable.starts_with(|c: char| c.is_ascii_digit()) {
        check.push(
            Diagnostic::error(
                "sweep::denied_variable",
                format!("{} cannot be a variable: it begins with a digit", shown(variable)),
            )
            .at(&draft.span)
            .help("rename the parameter, or choose another `env_prefix`"),
        );
    }
}
