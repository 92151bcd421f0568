//! What a program's `--help` tells of its options: argparse's, click's, typer's, clap's, absl's, and Hydra's configuration.
//! Invariant: only what is surely an option comes out; names are of letters, digits, `.`, `_` and `-`.

use serde_json::Value as Json;

/// Options that are taken.
const MOST: usize = 200;
/// Characters of a name, a default or a choice.
const LONGEST: usize = 80;
/// Values of an option among which one chooses.
const MOST_CHOICES: usize = 20;
/// Options that are no parameters.
const NOT_OURS: [&str; 5] = ["help", "version", "install-completion", "show-completion", "helpfull"];

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramOption {
    /// Its name, without the dashes.
    pub(super) name: String,
    /// It is there or left out, and takes no value.
    pub(super) is_flag: bool,
    /// A flag that another one switches off: `--scale`, `--no-scale`.
    pub(super) has_opposite: bool,
    /// The values among which one chooses; empty if any will do.
    pub(super) choices: Vec<String>,
    /// What it is where it is not given.
    pub(super) default: Option<String>,
    /// The help says that it is a number with a fraction.
    pub(super) is_float: bool,
    /// It takes several values.
    pub(super) is_list: bool,
    /// It is argparse's `type=bool`, which takes every text but the empty one for true.
    pub(super) any_text_is_true: bool,
}

/// What a program takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramHelp {
    /// Its options, in their order.
    pub(super) options: Vec<ProgramOption>,
    /// It is an application of Hydra's, which takes `name=value`.
    pub(super) is_hydra: bool,
}

/// Reads what a program printed for `--help`.
pub(super) fn read(text: &str) -> ProgramHelp {
    if let Some(options) = of_hydra(text) {
        return ProgramHelp { options, is_hydra: true };
    }
    let text = text.replace(['│', '╭', '╮', '╰', '╯', '─', '┃', '*'], " ").replace('\t', "    ");
    let lines: Vec<&str> = text.lines().collect();
    let mut options: Vec<ProgramOption> = Vec::new();
    let mut at = end_of_usage(&lines);
    while at < lines.len() && options.len() < MOST {
        let Some(indent) = option_indent(lines[at]) else {
            at += 1;
            continue;
        };
        let belongs = |line: &&&str| {
            line.trim().is_empty() || (indentation(line) > indent && option_indent(line).is_none())
        };
        let more = lines[at + 1..].iter().take_while(belongs).count();
        if let Some(option) = option(&lines[at..=at + more])
            && !options.iter().any(|known| known.name == option.name)
        {
            options.push(option);
        }
        at += 1 + more;
    }
    join_opposites(&mut options);
    ProgramHelp { options, is_hydra: false }
}

/// Makes of `--amp` and `--no-amp`, two flags, one that another one switches off.
fn join_opposites(options: &mut Vec<ProgramOption>) {
    let flags: Vec<String> =
        options.iter().filter(|option| option.is_flag).map(|option| option.name.clone()).collect();
    let is_opposite = |of: &str, name: &str| {
        name.strip_prefix("no").is_some_and(|rest| rest.strip_prefix(['-', '_']) == Some(of))
    };
    for option in options.iter_mut().filter(|option| option.is_flag) {
        option.has_opposite |= flags.iter().any(|flag| is_opposite(&option.name, flag));
    }
    options.retain(|option| !flags.iter().any(|flag| option.is_flag && is_opposite(flag, &option.name)));
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// How far an option's line is indented; `None` for other lines.
fn option_indent(line: &str) -> Option<usize> {
    let rest = line.trim_start().trim_start_matches('-');
    let dashes = line.trim_start().len() - rest.len();
    let begins = rest.starts_with(|c: char| c.is_ascii_alphabetic()) || rest.starts_with("[no]");
    ((1..=2).contains(&dashes) && begins).then(|| indentation(line))
}

/// The line behind the usage, which names options in a form of its own.
fn end_of_usage(lines: &[&str]) -> usize {
    let is_usage = |line: &&str| line.trim_start().to_ascii_lowercase().starts_with("usage");
    let Some(begin) = lines.iter().position(is_usage) else { return 0 };
    let end = lines[begin + 1..].iter().position(|line| line.trim().is_empty());
    end.map_or(begin + 1, |end| begin + 1 + end)
}

/// The option that these lines are about.
fn option(lines: &[&str]) -> Option<ProgramOption> {
    let first = lines.first()?.trim();
    // `--lr: the rate`, as absl has it.
    let ends = ["  ", " (", " [default"].iter().filter_map(|end| first.find(end));
    let cut = ends.min().unwrap_or(first.len());
    let (head, mut about) = first.split_at(cut);
    let head = head.replace("[no]", "");
    let mut words = head.split([' ', ',', '=', '/']).filter(|word| !word.is_empty()).peekable();
    let (mut name, mut has_opposite) = (None::<&str>, first.contains("[no]"));
    while let Some(word) = words.next_if(|word| word.starts_with('-') && word.len() > 1) {
        let bare = word.trim_start_matches('-').trim_end_matches(':');
        has_opposite |= word.starts_with("--no-") && name.is_some();
        let is_better = name.is_none_or(|known| known.len() == 1);
        let is_long = word.starts_with("--") || bare.len() > 1;
        if is_better && is_long {
            name = Some(bare);
        }
        // `-b BATCH, --batch BATCH`
        if words.peek().is_some_and(|next| !next.starts_with('-'))
            && let Some((_, rest)) = head.split_once(", -")
            && word.len() == 2
        {
            let rest = rest.trim_start_matches('-');
            name = rest.split([' ', '=']).next().or(name);
        }
    }
    let name = name.filter(|name| is_name(name) && !NOT_OURS.contains(name))?.to_owned();
    let mut meta: String = head
        .split_once(&format!("-{name}"))
        .map_or("", |(_, rest)| rest)
        .trim_start_matches([' ', '=', ':'])
        .to_owned();
    if meta.starts_with(['-', '/', ',']) {
        meta.clear();
    }
    // typer has the type in a column of its own.
    let cell = about.trim_start().split("  ").next().unwrap_or_default();
    let is_type = cell.len() > 1 && cell.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
    if meta.is_empty() && (is_type || (cell.starts_with('[') && cell.contains('|'))) {
        cell.clone_into(&mut meta);
        about = &about.trim_start()[cell.len()..];
    }
    let about = std::iter::once(about).chain(lines[1..].iter().copied().map(str::trim));
    let about = about.collect::<Vec<_>>().join(" ");
    let choices = choices(&meta).or_else(|| listed(&about)).unwrap_or_default();
    let default = default(&about);
    let is_number = default.as_ref().is_some_and(|default| default.parse::<f64>().is_ok());
    // absl's options take values and say so by their default alone.
    let is_flag =
        has_opposite || (meta.is_empty() && choices.is_empty() && !(is_number && head.ends_with(':')));
    let is_float = meta.to_ascii_uppercase().contains("FLOAT");
    // `--hidden HIDDEN [HIDDEN ...]`
    let is_list = meta.contains("...") || default.as_ref().is_some_and(|default| default.starts_with('['));
    let any_text_is_true = false;
    Some(ProgramOption { name, is_flag, has_opposite, choices, default, is_float, is_list, any_text_is_true })
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `{adam,sgd}` or `[adam|sgd]`.
fn choices(meta: &str) -> Option<Vec<String>> {
    let between = |open: char, close: char, comma: char| {
        let (_, rest) = meta.split_once(open)?;
        let (inner, _) = rest.split_once(close)?;
        inner.contains(comma).then(|| several(inner, comma))?
    };
    between('{', '}', ',').or_else(|| between('[', ']', '|')).or_else(|| between('<', '>', '|'))
}

/// `[possible values: adam, sgd]`.
fn listed(about: &str) -> Option<Vec<String>> {
    let lower = about.to_ascii_lowercase();
    let words = ["possible values:", "choices:"];
    let (at, word) = words.iter().find_map(|word| Some((lower.find(word)?, word)))?;
    let rest = &about[at + word.len()..];
    several(rest.split([']', ')']).next()?.trim(), ',')
}

fn several(text: &str, comma: char) -> Option<Vec<String>> {
    let values: Vec<String> = text.split(comma).map(|value| value.trim().to_owned()).collect();
    let is_good = |value: &String| !value.is_empty() && value.len() <= LONGEST && !value.contains("...");
    let is_some = (2..=MOST_CHOICES).contains(&values.len()) && values.iter().all(is_good);
    is_some.then_some(values)
}

/// `(default: 0.1)`, `[default: 0.1]`, `default=0.1`, `default is 0.1`.
fn default(about: &str) -> Option<String> {
    let lower = about.to_ascii_lowercase();
    lower.match_indices("default").find_map(|(at, word)| {
        let is_begun = !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let rest = &about[at + word.len()..];
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let rest = rest.trim_start().trim_start_matches("is ").trim_start_matches([':', '=']).trim_start();
        let end = match about[..at].trim_end().chars().next_back() {
            Some('(') => rest.find(')'),
            Some('[') => rest.find(']'),
            _ => rest.find([' ', ')', ']', ',', ';']),
        };
        // click says more behind a semicolon: `[default: 3; x>=1]`.
        let value = rest[..end.unwrap_or(rest.len())].split(';').next().unwrap_or_default().trim();
        let value = value.trim_end_matches('.').trim_matches(['\'', '"', '`']);
        let is_none = ["", "None", "none", "null", "required"].contains(&value);
        (is_begun && !is_none && value.len() <= LONGEST).then(|| value.to_owned())
    })
}

/// The configuration that Hydra's help shows, flattened, and its groups.
fn of_hydra(text: &str) -> Option<Vec<ProgramOption>> {
    let (before, config) = text.split_once("Override anything in the config")?;
    let config = config.split_once("\n\n")?.1;
    let config = config.split("\n\nPowered by").next()?;
    let tree: Json = serde_saphyr::from_str(config.split("\n\n\n").next()?.trim_end()).ok()?;
    let mut options = Vec::new();
    if let Some((_, groups)) = before.split_once("Configuration groups") {
        for line in groups.lines() {
            let Some((name, values)) = line.split_once(": ") else { continue };
            let choices = several(values, ',');
            if let Some(choices) = choices.filter(|_| is_name(name)) {
                let option = ProgramOption {
                    name: name.to_owned(),
                    is_flag: false,
                    has_opposite: false,
                    choices,
                    default: None,
                    is_float: false,
                    is_list: false,
                    any_text_is_true: false,
                };
                options.push(option);
            }
        }
    }
    flatten("", &tree, &mut options);
    Some(options)
}

fn flatten(prefix: &str, tree: &Json, options: &mut Vec<ProgramOption>) {
    let Json::Object(map) = tree else { return };
    for (key, value) in map {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let default = match value {
            Json::Object(_) => {
                flatten(&name, value, options);
                continue;
            }
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Array(_) => Some(value.to_string()),
            _ => None,
        };
        let default = default.filter(|text| !text.contains("${") && text.len() <= LONGEST);
        let is_known = options.iter().any(|option| option.name == name);
        if is_name(&name) && !is_known && options.len() < MOST {
            options.push(ProgramOption {
                name,
                is_flag: false,
                has_opposite: false,
                choices: Vec::new(),
                default,
                is_float: false,
                is_list: value.is_array(),
                any_text_is_true: false,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, flag, choices, default.
    type Told = (&'static str, bool, &'static str, Option<&'static str>);

    fn same(text: &str, expected: &[Told]) {
        let help = read(text);
        let told: Vec<_> = help
            .options
            .iter()
            .map(|it| (it.name.as_str(), it.is_flag, it.choices.join(" "), it.default.as_deref()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, flag, choices, default)| (*name, *flag, (*choices).to_owned(), *default))
            .collect();
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn the_help_of_argparse_is_read() {
        same(
            "usage: train.py [-h] [--lr LR] [--optimizer {adam,sgd}]\n                --data DATA\n\nTrains.\n\noptions:\n  \
             -h, --help            show this help message and exit\n  --lr LR               the rate (default: 0.001)\n  \
             --optimizer {adam,sgd}\n                        how (default: adam)\n  -b BATCH_SIZE, --batch-size BATCH_SIZE\n  \
             -e, --epochs EPOCHS   (default: 10)\n  --amp                 mixed precision (default: False)\n  \
             --bn, --no-bn         (default: True)\n  --data DATA           where it is\n  --name NAME           (default: None)\n",
            &[
                ("lr", false, "", Some("0.001")),
                ("optimizer", false, "adam sgd", Some("adam")),
                ("batch-size", false, "", None),
                ("epochs", false, "", Some("10")),
                ("amp", true, "", Some("False")),
                ("bn", true, "", Some("True")),
                ("data", false, "", None),
                ("name", false, "", None),
            ],
        );
    }

    #[test]
    fn the_help_of_click_typer_clap_and_absl_is_read() {
        same(
            "Usage: train.py [OPTIONS]\n\nOptions:\n  --lr FLOAT                  Rate  [default: 0.1]\n  \
             --optimizer [adam|sgd]      [default: adam]\n  --layers INTEGER RANGE      [default: 3; x>=1]\n  \
             --shuffle / --no-shuffle\n  --help                      Show this message and exit.\n",
            &[
                ("lr", false, "", Some("0.1")),
                ("optimizer", false, "adam sgd", Some("adam")),
                ("layers", false, "", Some("3")),
                ("shuffle", true, "", None),
            ],
        );
        same(
            "\n Usage: main.py [OPTIONS]\n\n╭─ Options ─────────────────╮\n│ *  --data        PATH   [required]     │\n\
             │ --lr          FLOAT      Rate [default: 0.1]  │\n│ --opt         [adam|sgd]  [default: adam]  │\n\
             │ --fast    --no-fast      [default: no-fast]  │\n│ --help                   Show this message │\n╰──╯\n",
            &[
                ("data", false, "", None),
                ("lr", false, "", Some("0.1")),
                ("opt", false, "adam sgd", Some("adam")),
                ("fast", true, "", Some("no-fast")),
            ],
        );
        same(
            "Usage: train [OPTIONS]\n\nOptions:\n      --lr <LR>\n          The rate\n          \n          [default: 0.1]\n\n  \
             -o, --opt <OPT>    [default: adam] [possible values: adam, sgd]\n      --amp          Half\n  -h, --help  Print\n",
            &[
                ("lr", false, "", Some("0.1")),
                ("opt", false, "adam sgd", Some("adam")),
                ("amp", true, "", None),
            ],
        );
        same(
            "\ntrain.py:\n  --lr: Rate.\n    (default: '0.1')\n    (a number)\n  --[no]amp: Half.\n    (default: 'false')\n",
            &[("lr", false, "", Some("0.1")), ("amp", true, "", Some("false"))],
        );
    }

    #[test]
    fn the_configuration_of_hydra_is_flattened() {
        let text = "app is powered by Hydra.\n\n== Configuration groups ==\nCompose your configuration from those groups \
                    (group=option)\n\ndb: mysql, postgresql\n\n\n== Config ==\nOverride anything in the config (foo.bar=value)\n\n\
                    lr: 0.1\nmodel:\n  width: 64\n  act: relu\n\n\nPowered by Hydra (https://hydra.cc)\n";
        assert!(read(text).is_hydra);
        same(
            text,
            &[
                ("db", false, "mysql postgresql", None),
                ("lr", false, "", Some("0.1")),
                ("model.width", false, "", Some("64")),
                ("model.act", false, "", Some("relu")),
            ],
        );
    }

    #[test]
    fn k92_h64_hostile_help_is_no_option_and_costs_little() {
        for text in [
            "\u{1b}[2J--lr\u{202e}",
            "--",
            "-",
            "  --=x",
            "  -, --",
            "  --\u{1b}]0;x\u{7} X",
            "usage:",
            "== Config ==\nOverride anything in the config\n\n{{{",
            "  --a-- [|||] (default",
            "  --é É (default: é)",
        ] {
            let help = read(text);
            assert!(help.options.iter().all(|it| is_name(&it.name)), "{text:?}: {help:?}");
        }
        let many: String = (0..10_000).map(|i| format!("  --o{i} X  (default: {i})\n")).collect();
        assert_eq!(read(&many).options.len(), MOST);
    }
}
