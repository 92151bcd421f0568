//! A sweep file drafted for a program: which of its options become axes, and which values they take.
//! Invariant: what is drafted can be read back as a sweep file, whatever the program calls its options.

use std::fmt::Write as _;

use super::help::{ProgramHelp, ProgramOption};

/// Axes that a draft begins with; the others are there to be taken in.
const AXES: usize = 3;
/// Values among which one chooses, for an axis from the beginning.
const FEW: usize = 8;
/// Options that are rarely searched over, by parts of their names.
const FIXED: [&str; 18] = [
    "seed", "epoch", "step", "iter", "worker", "thread", "gpu", "device", "port", "verb", "log", "interval",
    "fold", "patience", "every", "freq", "max", "num",
];
/// Metrics that programs print, the likeliest first, and whether more is better.
const METRICS: [(&str, bool); 20] = [
    ("val_accuracy", true),
    ("val_acc", true),
    ("val_f1", true),
    ("val_auc", true),
    ("val_loss", false),
    ("test_accuracy", true),
    ("test_acc", true),
    ("test_loss", false),
    ("eval_loss", false),
    ("accuracy", true),
    ("acc", true),
    ("auc", true),
    ("f1", true),
    ("r2", true),
    ("rmse", false),
    ("mse", false),
    ("mae", false),
    ("perplexity", false),
    ("score", true),
    ("loss", false),
];

/// Values that people begin with, by parts of names: for options of which no default is known, or none that one can go out from.
const USUAL: [(&str, &str); 12] = [
    ("lr", "{min: 0.0001, max: 0.1, steps: 4, scale: log}"),
    ("learning", "{min: 0.0001, max: 0.1, steps: 4, scale: log}"),
    ("momentum", "{values: [0.0, 0.9]}"),
    ("dropout", "{values: [0.0, 0.2, 0.5]}"),
    ("decay", "{min: 0.00001, max: 0.01, steps: 4, scale: log}"),
    ("alpha", "{min: 0.001, max: 1.0, steps: 4, scale: log}"),
    ("gamma", "{min: 0.001, max: 1.0, steps: 4, scale: log}"),
    ("batch", "{values: [16, 32, 64]}"),
    ("hidden", "{values: [64, 128, 256]}"),
    ("width", "{values: [64, 128, 256]}"),
    ("layers", "{values: [2, 3, 4]}"),
    ("depth", "{values: [4, 8, 16]}"),
];

/// What is known of a program.
pub(super) struct Program<'a> {
    /// The command that starts it, a word each.
    pub(super) command: &'a [String],
    /// Its options.
    pub(super) help: ProgramHelp,
    /// The texts of its files, as far as the command names them.
    pub(super) texts: &'a [String],
}

/// A draft.
pub(super) struct Draft {
    /// The sweep file.
    pub(super) text: String,
    /// The names of its axes.
    pub(super) axes: Vec<String>,
    /// The metric was not found in the program, and is a guess.
    pub(super) guessed: bool,
    /// The program seems to print the metric in a form that a pattern has to read.
    pub(super) in_other_form: Option<String>,
}

/// Drafts a sweep; `None` if no option could be an axis.
pub(super) fn of(program: &Program<'_>) -> Option<Draft> {
    let options = &program.help.options;
    // With dashes in all of them the macro makes them, and expressions can name the parameters.
    let has_both = options.iter().any(|option| option.name.contains('_'));
    let dashed = !has_both && options.iter().any(|option| option.name.contains('-'));
    let name =
        |option: &ProgramOption| if dashed { option.name.replace('-', "_") } else { option.name.clone() };
    let lines: Vec<(String, Option<Values>)> =
        options.iter().map(|option| (name(option), values(option, program.help.is_hydra))).collect();
    let rank = |at: &usize| lines[*at].1.as_ref().map_or(u8::MAX, |values| values.rank);
    let mut order: Vec<usize> = (0..lines.len()).filter(|at| rank(at) < u8::MAX).collect();
    order.sort_by_key(rank);
    let searched = order.iter().filter(|at| rank(at) < LATER).count();
    order.truncate(searched.clamp(1, AXES));
    order.sort_unstable();
    let axes: Vec<String> = order.iter().map(|at| lines[*at].0.clone()).collect();
    if axes.is_empty() {
        return None;
    }
    let found = printed(program.texts);
    let in_other_form = if found.is_none() { in_other_form(program.texts) } else { None };
    let guessed = found.is_none() && in_other_form.is_none();
    let (metric, more_is_better) =
        found.or(in_other_form.clone()).unwrap_or_else(|| ("loss".to_owned(), false));
    let in_other_form = in_other_form.map(|(name, _)| name);
    let words: Vec<String> = program.command.iter().map(|word| quoted(word)).collect();
    let flags = options.iter().any(|option| option.is_flag);
    let arguments = match (program.help.is_hydra, dashed, flags) {
        (true, ..) => "${args_hydra}",
        (_, false, false) => "${args}",
        (_, false, true) => "${args_no_boolean_flags}",
        (_, true, false) => "${args_dashes}",
        (_, true, true) => "${args_dashes_no_boolean_flags}",
    };
    let mut text = String::from(
        "# Drafted from the program's --help: look at the axes and the metric, then\n#   gridctl check FILE        what this \
         file means, before anything starts\n#   gridctl run FILE          tries every combination; the same command goes \
         on after Ctrl-C\n",
    );
    let _ = writeln!(text, "command: [{}, \"{arguments}\"]", words.join(", "));
    metric_lines(&mut text, (&metric, more_is_better), guessed, in_other_form.is_some());
    text.push_str("parameters:\n");
    for at in &order {
        if let (name, Some(values)) = &lines[*at] {
            let _ = writeln!(text, "  {}: {}", quoted(name), values.line);
        }
    }
    if order.len() < lines.len() {
        text.push_str("  # Further options: take away the `#` to search over one, or to fix it.\n");
    }
    for (at, (name, values)) in lines.iter().enumerate().filter(|(at, _)| !order.contains(at)) {
        let unknown = || {
            let why = match &options[at] {
                option if option.is_list => {
                    "it takes several words, which no macro gives: write them into `command`"
                }
                option if option.is_flag => "no default is known: a flag",
                _ => "no default is known",
            };
            format!("{{values: []}}   # {why}")
        };
        let line = values.as_ref().map_or_else(unknown, |values| values.line.clone());
        let _ = writeln!(text, "  # {}: {line}", quoted(name));
    }
    Some(Draft { text, axes, guessed, in_other_form })
}

/// What a draft says of its metric.
fn metric_lines(
    text: &mut String,
    (metric, more_is_better): (&str, bool),
    guessed: bool,
    in_other_form: bool,
) {
    let goal = if more_is_better { "maximize" } else { "minimize" };
    let why = if guessed {
        "a guess: write what the program prints, as in loss=0.1"
    } else if in_other_form {
        "named by the program, printed in another form: see below"
    } else {
        "printed by the program"
    };
    let _ = writeln!(text, "metric: {{name: {}, goal: {goal}}}   # {why}", quoted(metric));
    if in_other_form {
        text.push_str(
            "# Save what the program prints, and `gridctl check FILE --log OUTPUT.txt` says the `regex` that reads it.\n",
        );
    }
}

/// The values of an option, and how soon one searches over it.
struct Values {
    line: String,
    rank: u8,
}

/// Options of this rank and above are no axes from the beginning, unless there is no other.
const LATER: u8 = 10;
/// Options of this rank are no axes: they have one value.
const ONE_VALUE: u8 = u8::MAX;

/// What is drafted for an option; `None` where nothing is known of its values.
fn values(option: &ProgramOption, is_hydra: bool) -> Option<Values> {
    if option.is_flag {
        return Some(flag(option));
    }
    if option.is_list {
        let default = option.default.as_deref().filter(|_| is_hydra)?;
        return some(format!("{{value: {default}}}"), ONE_VALUE);
    }
    if !option.choices.is_empty() {
        return list(&option.choices, if option.choices.len() <= FEW { 2 } else { LATER });
    }
    let is_nothing = |default: &str| default.parse::<f64>() == Ok(0.0);
    let name = option.name.to_ascii_lowercase();
    let default = option.default.as_deref();
    let Some(default) = default.filter(|default| !is_nothing(default) || usual(&name).is_none()) else {
        return usual(&name);
    };
    if ["true", "false"].contains(&default.to_ascii_lowercase().as_str()) {
        return truth(option, is_hydra);
    }
    match default.parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => around(option, default, number),
        None => some(format!("{{value: {}}}", scalar(default)), ONE_VALUE),
    }
}

fn some(line: String, rank: u8) -> Option<Values> {
    Some(Values { line, rank })
}

fn list(values: &[String], rank: u8) -> Option<Values> {
    let values: Vec<String> = values.iter().map(|value| scalar(value)).collect();
    some(format!("{{values: [{}]}}", values.join(", ")), rank)
}

/// Of an option without a value.
fn flag(option: &ProgramOption) -> Values {
    let is_off = |default: &str| default.eq_ignore_ascii_case("false") || default.starts_with("no-");
    if option.has_opposite && !option.default.as_deref().is_some_and(is_off) {
        // To leave it out does not switch it off.
        let line = format!("{{value: true}}   # no macro says --no-{}, which alone is false", option.name);
        return Values { line, rank: ONE_VALUE };
    }
    Values { line: "{values: [false, true]}".to_owned(), rank: LATER + 1 }
}

/// Of an option whose default is true or false.
fn truth(option: &ProgramOption, is_hydra: bool) -> Option<Values> {
    if is_hydra {
        // A text would be true, whatever it says.
        return some("{values: [false, true]}".to_owned(), LATER + 1);
    }
    if option.any_text_is_true {
        let line =
            "{values: [\"\", \"True\"]}   # argparse's type=bool: every text but the empty one is true";
        return some(line.to_owned(), LATER + 1);
    }
    list(&["False".to_owned(), "True".to_owned()], LATER + 1)
}

/// What options of this name usually are, whatever their default is.
fn usual(name: &str) -> Option<Values> {
    let named = |part: &str| {
        if part == "lr" { name.split(['-', '_', '.']).any(|it| it == part) } else { name.contains(part) }
    };
    let (at, (_, line)) = USUAL.iter().enumerate().find(|(_, (part, _))| named(part))?;
    some((*line).to_owned(), if at < 2 { 0 } else { 3 })
}

/// Of an option whose default is a number: some that are less and more.
fn around(option: &ProgramOption, default: &str, number: f64) -> Option<Values> {
    let name = option.name.to_ascii_lowercase();
    let rarely = FIXED.iter().any(|part| name.contains(part));
    let whole = default.parse::<i64>().ok().filter(|_| !option.is_float);
    match whole {
        Some(n @ 2..=1_000_000) if !rarely => {
            let values = [(n / 2).max(1), n, n * 2].map(|n| n.to_string());
            list(&values, 3)
        }
        Some(n) => some(format!("{{value: {n}}}"), ONE_VALUE),
        None if rarely || !(1e-12..1e12).contains(&number) => {
            some(format!("{{value: {}}}", float(number)), ONE_VALUE)
        }
        None if ["drop", "moment", "ratio", "frac", "prob", "beta", "split"]
            .iter()
            .any(|part| name.contains(part)) =>
        {
            list(&[float(number / 2.0), float(number)], 4)
        }
        None => {
            let (min, max) = (float(number / 10.0), float(number * 10.0));
            let line = format!("{{min: {min}, max: {max}, steps: 3, scale: log}}");
            some(line, u8::from(!(name == "lr" || name.contains("learning"))))
        }
    }
}

/// A number with a fraction, as short as it is read back; what `0.1 * 10` leaves behind is rounded away.
fn float(number: f64) -> String {
    let rounded: f64 = format!("{number:.11e}").parse().unwrap_or(number);
    if (1e-4..1e6).contains(&rounded) { format!("{rounded:?}") } else { format!("{rounded:e}") }
}

/// A value as YAML has it: numbers and plain words as they are.
fn scalar(text: &str) -> String {
    if text.parse::<f64>().is_ok_and(f64::is_finite) && !text.starts_with('+') {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text as YAML has it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let word = text.to_ascii_lowercase();
    let means_more =
        ["true", "false", "null", "none", "yes", "no", "on", "off", "nan", "inf"].contains(&word.as_str());
    if begins && text.chars().all(plain) && !means_more {
        text.to_owned()
    } else {
        serde_json::Value::String(text.to_owned()).to_string()
    }
}

/// Parts of lines that print something.
const TELLING: [&str; 6] = ["print", "log", "write", "echo", "puts", "cat("];

/// The likeliest metric that a text of the program prints, in its own letters, and whether more is better.
fn printed(texts: &[String]) -> Option<(String, bool)> {
    let is_label =
        |rest: &str| rest.starts_with([':', '=']) || rest.starts_with(" = ") || rest.starts_with(" {");
    METRICS.into_iter().find_map(|(name, more)| Some((named(texts, name, &is_label, &[""])?, more)))
}

/// The same of one that stands in a text with other words behind it: `print("accuracy is", accuracy)`.
fn in_other_form(texts: &[String]) -> Option<(String, bool)> {
    let is_word =
        |rest: &str| !rest.starts_with(joins) && !rest.starts_with(['"', '\'', '(', '[', ',', '/', '-']);
    let is_last = |rest: &str| rest.starts_with(['"', '\'']) && rest[1..].trim_start().starts_with(',');
    let is_told = |rest: &str| is_word(rest) || is_last(rest);
    METRICS.into_iter().find_map(|(name, more)| Some((named(texts, name, &is_told, &TELLING)?, more)))
}

fn joins(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// The name as a line of a text has it within quotes, in whatever letters, if `fits` says so of what
/// stands behind it, and its line has one of the words `telling`; one of training only if there is no
/// other.
fn named(texts: &[String], name: &str, fits: &dyn Fn(&str) -> bool, telling: &[&str]) -> Option<String> {
    let says = |line: &str| {
        let lower = line.to_ascii_lowercase();
        let is_told = telling.iter().any(|word| lower.contains(word));
        is_told && lower.contains(['"', '\'']) && !lower.trim_start().starts_with('#')
    };
    let in_line = |line: &str| {
        let lower = line.to_ascii_lowercase();
        lower.match_indices(name).find_map(|(at, _)| {
            let (before, behind) = (&line[..at], &line[at + name.len()..]);
            let quoted = before.contains(['"', '\'']);
            // `val/rmse` is a name of its own.
            let from = before.len()
                - before.chars().rev().take_while(|c| joins(*c)).map(char::len_utf8).sum::<usize>();
            let whole = &line[from..at + name.len()];
            let is_whole = from == at || whole.contains('/') && !whole.starts_with('/');
            (quoted && is_whole && fits(behind)).then(|| whole.to_owned())
        })
    };
    let of_training = |name: &String| name.to_ascii_lowercase().contains("train");
    let found = texts.iter().flat_map(|text| text.lines()).filter(|line| says(line)).filter_map(in_line);
    let mut found: Vec<String> = found.collect();
    found.sort_by_key(|found| (of_training(found), !found.to_ascii_lowercase().contains("val")));
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use gridctl_core::spec::{Context, parse};

    use super::super::help;
    use super::*;

    fn draft(help: &str, text: &str) -> Draft {
        let command = ["python3", "my train.py"].map(str::to_owned);
        let texts = [text.to_owned()];
        of(&Program { command: &command, help: help::read(help), texts: &texts }).expect("there are options")
    }

    fn reads_back(draft: &Draft) {
        let context = Context { file_stem: "draft", count: None };
        parse(draft.text.as_bytes(), &context).unwrap_or_else(|error| panic!("{error}\n{}", draft.text));
        // Every option that is not searched over can be taken in by its `#` alone.
        let all = draft.text.replace("\n  # ", "\n  ").replace("values: []", "value: 1");
        let all: String = all
            .lines()
            .filter(|line| !line.contains("Further options"))
            .map(|line| format!("{line}\n"))
            .collect();
        parse(all.as_bytes(), &context).unwrap_or_else(|error| panic!("{error}\n{all}"));
    }

    #[test]
    fn rates_choices_and_sizes_become_axes_and_the_rest_waits() {
        let drafted = draft(
            "options:\n  --data X\n  --epochs N  (default: 10)\n  --batch-size N  (default: 32)\n  --lr LR  (default: 0.001)\n  \
             --optimizer {adam,sgd}\n  --dropout P (default: 0.5)\n  --seed N (default: 0)\n  --amp\n  --out P (default: ./out: x)\n",
            "for e in range(3):\n    print(f'epoch {e} val_loss={l:.4f} val_acc={a}')\n# accuracy: no\n",
        );
        assert_eq!(drafted.axes, ["batch_size", "lr", "optimizer"]);
        assert!(
            drafted.text.contains("command: [python3, \"my train.py\", \"${args_dashes_no_boolean_flags}\"]"),
            "{}",
            drafted.text
        );
        assert!(
            drafted.text.contains("lr: {min: 0.0001, max: 0.01, steps: 3, scale: log}"),
            "{}",
            drafted.text
        );
        assert!(
            drafted.text.contains("name: val_acc, goal: maximize") && !drafted.guessed,
            "{}",
            drafted.text
        );
        assert!(drafted.text.contains("  # epochs: {value: 10}"), "{}", drafted.text);
        assert!(drafted.text.contains("  # amp: {values: [false, true]}"), "{}", drafted.text);
        reads_back(&drafted);
    }

    #[test]
    fn a_flag_that_is_on_unless_it_is_said_is_no_axis() {
        for (scale, line) in [
            ("--scale, --no-scale (default: True)", "  # scale: {value: true}"),
            ("--scale / --no-scale  [default: scale]", "  # scale: {value: true}"),
            ("--scale / --no-scale", "  # scale: {value: true}"),
            ("--scale, --no-scale (default: False)", "  # scale: {values: [false, true]}"),
            ("--scale / --no-scale  [default: no-scale]", "  # scale: {values: [false, true]}"),
            (
                "--scale (default: True)\n  --no-scale",
                "  # scale: {value: true}   # no macro says --no-scale",
            ),
            ("--no_scale\n  --scale (default: False)", "  # scale: {values: [false, true]}"),
        ] {
            let drafted = draft(&format!("  --lr LR (default: 0.1)\n  {scale}\n"), "");
            assert!(drafted.text.contains(line), "{scale}: {}", drafted.text);
            assert_eq!(drafted.text.matches("scale: {").count(), 1, "{scale}: {}", drafted.text);
            reads_back(&drafted);
        }
    }

    #[test]
    fn lists_and_booleans_are_drafted_as_the_program_takes_them() {
        let hydra = "== Config ==\nOverride anything in the config (foo.bar=value)\n\nlr: 0.1\nstop: false\nname: a\n\
                     model:\n  hidden: [4, 4]\n";
        let drafted = draft(hydra, "");
        assert!(drafted.text.contains("# stop: {values: [false, true]}\n"), "{}", drafted.text);
        assert!(drafted.text.contains("# model.hidden: {value: [4,4]}\n"), "{}", drafted.text);
        reads_back(&drafted);
        for list in ["--layers N [N ...]", "--layers N (default: [8, 8])"] {
            let drafted = draft(&format!("  --lr LR (default: 0.1)\n  {list}\n"), "");
            let line = "# layers: {values: []}   # it takes several words, which no macro gives";
            assert!(drafted.text.contains(line), "{list}: {}", drafted.text);
            reads_back(&drafted);
        }
    }

    #[test]
    fn the_metric_is_named_as_the_program_prints_it_and_another_form_is_pointed_out() {
        for (text, name, in_other_form) in [
            ("print(f'Accuracy: {a}')", "Accuracy", false),
            ("print(f'train/rmse: {a}')\nprint(f'val/rmse: {b}')", "val/rmse", false),
            ("print(f'train/rmse: {a}')", "train/rmse", false),
            ("logging.info('Accuracy of the model is %.2f', a)", "Accuracy", true),
            ("print('final accuracy', a)", "accuracy", true),
            ("model = load('accuracy.txt')\nprint('bye')", "loss", false),
        ] {
            let drafted = draft("  --lr LR (default: 0.1)\n", text);
            assert!(drafted.text.contains(&format!("metric: {{name: {name},")), "{text}: {}", drafted.text);
            assert_eq!(drafted.in_other_form.is_some(), in_other_form, "{text}: {}", drafted.text);
            reads_back(&drafted);
        }
    }

    #[test]
    fn whatever_options_are_called_a_draft_reads_back() {
        for text in [
            "  --no X (default: 3.0)\n  --null {true,null}\n  --x {a: b,#c,*d}\n",
            "  --lr X\n  --a.b-c_d X (default: 1e-300)\n  --y X (default: 1e308)\n  --z X (default: 9999999999999999999999)\n",
            "  --amp\n",
            "  --lr X (default: -0.5)\n  --e X (default: {{}})\n  --k {1,2.5,on}\n",
            "  --path P (default: C:\\x \"y\")\n  --w N (default: 2)\n",
        ] {
            reads_back(&draft(text, ""));
        }
        assert!(draft("  --lr X (default: 0.1)", "").guessed);
        let without =
            draft("  --lr X\n  --momentum M  (default: 0.0)\n  --colour C\n  --decay X (default: 0)\n", "");
        assert_eq!(without.axes, ["lr", "momentum", "decay"]);
        reads_back(&without);
        let none = Program { command: &[], help: help::read("nothing"), texts: &[] };
        assert!(of(&none).is_none());
    }
}
