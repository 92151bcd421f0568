//! `gridctl init`: a sweep to begin with, from a template or drafted from a program's `--help`.
//! Invariant: no file that is there is changed; a program is started once, and ended if it does not end.

mod draft;
mod help;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gridctl_core::spec::{self, Context};

use crate::cli::{InitArgs, Template};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::{self, reason};
use crate::output::{self, sanitise};
use crate::settings::Settings;
use crate::submit::declarations;

/// A program has so long to print its help: what imports torch takes its time.
const HELP_WITHIN: Duration = Duration::from_secs(60);
/// Bytes that are read of a program's help, and of its text.
const HELP_BYTES: u64 = 256 << 10;
const TEXT_BYTES: u64 = 4 << 20;

/// Runs the command.
pub(crate) fn run(args: &InitArgs, settings: &Settings) -> Outcome {
    let dir = settings.cwd.join(args.dir.clone().unwrap_or_default());
    let name =
        args.file.file_name().filter(|name| Path::new(name) == args.file).and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err(Failure::usage("init::file", "--file is a file's name, without a directory")
            .help("name the directory first: `gridctl init DIR --file NAME`"));
    };
    let files = if args.command.is_empty() {
        template(args.template.unwrap_or(Template::Python), name)
    } else {
        vec![(name.to_owned(), drafted(args, &dir, name)?)]
    };
    if let Some((there, _)) = files.iter().find(|(name, _)| dir.join(name).symlink_metadata().is_ok()) {
        let shown = sanitise::line(there).into_owned();
        let failure = Failure::usage("init::there", format!("{shown} is there already, and stays as it is"));
        return Err(failure.help(match there.as_str() {
            "train.py" => "to draft a sweep for it: `gridctl init -- python3 train.py`",
            "train.sh" => "name a new directory: `gridctl init DIR --template shell`",
            _ => "name another file with --file NAME, or a new directory: `gridctl init DIR`",
        }));
    }
    fs::create_dir_all(&dir).map_err(|error| unwritten(&dir, &error))?;
    for (name, text) in &files {
        let path = dir.join(name);
        let new = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        new.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| unwritten(&path, &error))?;
        output::say(format_args!("wrote {}", sanitise::line(&shown(&path, settings))));
    }
    let file = sanitise::shell(&shown(&dir.join(name), settings));
    output::say(format_args!("look at it with: gridctl check {file}\nthen:            gridctl run {file}"));
    Ok(Exit::Ok)
}

/// A path as it is typed here.
fn shown(path: &Path, settings: &Settings) -> String {
    path.strip_prefix(&settings.cwd).unwrap_or(path).display().to_string()
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    let shown = sanitise::line(&path.display().to_string()).into_owned();
    Failure::error("init::write", format!("cannot write {shown}: {}", reason(error)))
}

/// The files of a template.
fn template(template: Template, name: &str) -> Vec<(String, String)> {
    let sweep = |text: &str| (name.to_owned(), text.replace("FILE", name));
    let beside = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    match template {
        Template::Python => vec![
            sweep(include_str!("templates/python.yaml")),
            beside("train.py", include_str!("templates/train.py")),
        ],
        Template::Linfa => vec![sweep(include_str!("templates/linfa.yaml"))],
        Template::Shell => {
            vec![
                sweep(include_str!("templates/shell.yaml")),
                beside("train.sh", include_str!("templates/train.sh")),
            ]
        }
    }
}

/// A sweep file for the program that `args` name.
fn drafted(args: &InitArgs, dir: &Path, name: &str) -> Result<String, Failure> {
    let words = args.command.iter().map(|word| word.to_str().map(str::to_owned));
    let command: Option<Vec<String>> = words.collect();
    let command = command
        .ok_or_else(|| Failure::usage("init::command", "the command is not UTF-8, as a sweep file is"))?;
    let texts = texts(&command, dir);
    let printed = printed_help(&command, dir)?;
    let mut help = help::read(&String::from_utf8_lossy(&printed));
    for option in &mut help.options {
        let declared = |argument: &str| {
            let dashed = format!("--{}", option.name);
            texts.iter().find_map(|text| declarations::argument_of(text, &dashed, argument))
        };
        option.is_float |= declared("type") == Some("float");
        option.any_text_is_true = declared("type") == Some("bool");
        option.is_list |= declared("nargs").is_some_and(|several| several != "?");
        let default = option.default.take().or_else(|| declared("default").map(str::to_owned));
        option.default = default.filter(|default| default != "None");
    }
    let draft = draft::of(&draft::Program { command: &command, help, texts: &texts });
    let draft = draft.ok_or_else(|| no_options(&command, &printed))?;
    let context = Context { file_stem: "sweep", count: None };
    spec::parse(draft.text.as_bytes(), &context).map_err(|error| {
        Failure::error("init::draft", format!("no sweep can be drafted from this help: {error}"))
            .help(TEMPLATE)
    })?;
    output::say(format_args!("axes: {}", draft.axes.join(", ")));
    if let Some(name) = &draft.in_other_form {
        output::say(format_args!(
            "the program names `{}`, and seems to print it in another form than `{0}=0.5`: save what it prints, and \
             `gridctl check FILE --log OUTPUT.txt` says the `regex` that reads it",
            sanitise::line(name)
        ));
    }
    if draft.guessed {
        output::say("the metric is a guess: write the name of what the program prints");
    }
    Ok(draft.text.replace("FILE", name))
}

const TEMPLATE: &str = "begin with a template: `gridctl init --template python` (or shell)";

fn no_options(command: &[String], printed: &[u8]) -> Failure {
    let shown = sanitise::short(&command.join(" "), 80);
    let failure = if printed.is_empty() {
        Failure::error("init::help", format!("`{shown} --help` printed nothing"))
    } else {
        Failure::error("init::help", format!("`{shown} --help` names no option that could be an axis"))
    };
    let last = String::from_utf8_lossy(printed);
    let last =
        last.lines().rev().find(|line| !line.trim().is_empty()).map(|line| sanitise::short(line.trim(), 100));
    failure.help(match last {
        Some(last) => format!("its last line is `{last}`; {TEMPLATE}"),
        None => TEMPLATE.to_owned(),
    })
}

/// The texts of the files that the command names.
fn texts(command: &[String], dir: &Path) -> Vec<String> {
    let read = |word: &String| input::read(&dir.join(word), TEXT_BYTES).ok();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    command.iter().skip(1).filter_map(read).filter_map(text).collect()
}

/// What the command prints when it is asked for help, on either stream.
fn printed_help(command: &[String], dir: &Path) -> Result<Vec<u8>, Failure> {
    let (program, words) =
        command.split_first().ok_or_else(|| Failure::usage("init::command", "no command"))?;
    let shown = sanitise::short(&command.join(" "), 80);
    let here = if dir.is_dir() { dir.to_owned() } else { PathBuf::from(".") };
    let fail = |error: std::io::Error| {
        Failure::error("init::help", format!("cannot start `{shown} --help`: {}", reason(&error)))
            .help("type it as you would to train: `gridctl init -- python3 train.py`")
    };
    let (mut reader, writer) = std::io::pipe().map_err(fail)?;
    let mut help = Command::new(program);
    help.args(words)
        .arg("--help")
        .current_dir(here)
        .env("COLUMNS", "200")
        .env("NO_COLOR", "1")
        .env("TERM", "dumb");
    help.stdin(Stdio::null()).stdout(writer.try_clone().map_err(fail)?).stderr(writer).process_group(0);
    let mut child = help.spawn().map_err(fail)?;
    // Its ends of the pipe are its own alone from here on.
    drop(help);
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = reader.by_ref().take(HELP_BYTES).read_to_end(&mut bytes);
        let _ = done.send(read.map(|_| bytes));
    });
    let begun = clock::now();
    let read = told.recv_timeout(HELP_WITHIN);
    let is_over = || begun.elapsed() < HELP_WITHIN;
    while read.is_ok() && is_over() && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        // What is left of it, if anything is; an answer that there is nothing is fine.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
    read.map_err(|_| {
        Failure::error(
            "init::help",
            format!("`{shown} --help` did not end within {} s", HELP_WITHIN.as_secs()),
        )
        .help(format!("it may train instead of printing its options; {TEMPLATE}"))
    })?
    .map_err(fail)
}
