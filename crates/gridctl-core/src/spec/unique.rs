//! Parameters that would meet under one name, or in one variable.
//! Invariant: what passes can be told apart in the environment and in JSON.

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

/// Every parameter has a variable of its own, which means nothing else.
pub(super) fn variables(check: &mut Checker<'_>, drafts: &[Draft<'_>]) {
    let mut first: HashMap<&str, &Draft<'_>> = HashMap::new();
    for draft in drafts {
        let variable = draft.variable.as_str();
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
        match first.get(variable) {
            Some(before) if before.name != draft.name => check.push(
                Diagnostic::error(
                    "sweep::variable_collision",
                    format!(
                        "parameters {} and {} would share the variable {}",
                        shown(&before.name),
                        shown(&draft.name),
                        shown(variable)
                    ),
                )
                .at(&draft.span)
                .related(&before.span, format!("also {}", shown(variable)))
                .help("rename one: variables are upper case, and whatever is no letter or digit becomes `_`"),
            ),
            Some(_) => {}
            None => {
                first.insert(variable, draft);
            }
        }
    }
}
