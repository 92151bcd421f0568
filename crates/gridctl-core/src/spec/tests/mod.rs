//! The sweep file as its author meets it: what is taken, what is refused, where the finger points and what it says.

mod accepts;
mod frozen;
mod hostile;
mod random;
mod refuses;
mod wandb;

use super::{Context, Diagnostic, Parsed, SpecErrors, SweepSpec, parse};

fn read(source: &str) -> Result<Parsed, SpecErrors> {
    parse(source.as_bytes(), &Context { file_stem: "sweep", count: None })
}

/// What this file says; also for the tests of whatever is made of sweeps.
pub(crate) fn spec(source: &str) -> SweepSpec {
    match read(source) {
        Ok(parsed) => parsed.spec,
        Err(SpecErrors(errors)) => panic!("{}\n---\n{source}", render(source, &errors)),
    }
}

/// A file of one axis with these further lines.
fn with(lines: &str) -> String {
    format!("command: [true]\nparameters: {{a: {{values: [1, 2]}}, b: {{values: [3, 4]}}}}\n{lines}\n")
}

/// A file of nothing but this axis.
fn axis(body: &str) -> String {
    format!("command: [true]\nparameters:\n  x: {body}\n")
}

fn errors(source: &str) -> Vec<Diagnostic> {
    match read(source) {
        Ok(parsed) => panic!("taken: {:?}\n---\n{source}", parsed.spec),
        Err(SpecErrors(errors)) => errors,
    }
}

fn render(source: &str, diagnostics: &[Diagnostic]) -> String {
    let place = |span: &std::ops::Range<usize>| format!("{:?}", &source[span.clone()]);
    let one = |d: &Diagnostic| {
        let at = d.span.as_ref().map_or_else(|| "nowhere".to_owned(), place);
        let mut text = format!("{} at {at}: {}", d.code, d.message);
        for (span, label) in &d.related {
            text += &format!("\n  also {}: {label}", place(span));
        }
        d.help.iter().for_each(|help| text += &format!("\n  help: {help}"));
        text
    };
    diagnostics.iter().map(one).collect::<Vec<_>>().join("\n")
}
