//! `gridctl doctor`: what this machine can do, and what it lacks.
//! Invariant: only looks; its exit code says whether there is a problem.

use std::fmt::Write as _;
use std::path::Path;

use gridctl_storage::journal::fs_check::{self, FsKind};
use gridctl_storage::journal::{HEAD_FILE, JOURNAL_FILE, Reader};
use gridctl_storage::results::ResultsDamage;
use gridctl_worker::cgroup::CgroupSupport;
use gridctl_worker::resources;
use serde_json::{Value as Json, json};

use crate::cli::DoctorArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{self, TextOrJson, number};
use crate::settings::Settings;
use crate::{address, datadir, source};

/// So much damage is named, and the rest counted.
const DAMAGE_SHOWN: usize = 10;

/// One finding.
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    /// `ok`, `note` or `problem`.
    pub(crate) how: &'static str,
    pub(crate) text: String,
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs, settings: &Settings) -> Outcome {
    let findings = if args.aws { super::cloud::look(args.region.clone())? } else { look(settings) };
    let has_problem = findings.iter().any(|finding| finding.how == "problem");
    let exit = if has_problem { Exit::Error } else { Exit::Ok };
    if args.output == TextOrJson::Json {
        let list: Vec<Json> = findings
            .iter()
            .map(|finding| json!({"what": finding.what, "verdict": finding.how, "text": finding.text}))
            .collect();
        output::json(&list)?;
        return Ok(exit);
    }
    let mut out = String::new();
    for Finding { what, how, text } in &findings {
        let _ = writeln!(out, "{how:<8} {what:<14} {}", output::sanitise::line(text));
    }
    output::text(&out)?;
    Ok(exit)
}

fn look(settings: &Settings) -> Vec<Finding> {
    let ok = |what, text: String| Finding { what, how: "ok", text };
    let note = |what, text: String| Finding { what, how: "note", text };
    let cgroups = CgroupSupport::detect();
    let mut findings = vec![
        ok("gridctl", env!("CARGO_PKG_VERSION").to_owned()),
        ok(
            "processors",
            format!("{}: as many trials at once, unless --slots says otherwise", resources::cpus()),
        ),
        ok("memory", format!("{} MiB", resources::memory_mib(cgroups.limit()))),
    ];
    let gpus = resources::gpus();
    findings.push(match gpus.len() {
        0 => note("gpus", "none that NVIDIA's driver shows; --gpus LIST states others".to_owned()),
        count => ok("gpus", format!("{count}: {}", gpus.join(","))),
    });
    findings.push(match &cgroups {
        CgroupSupport::Memory(_) => {
            ok("out of memory", "told from other kills, and `mem` is enforced, by cgroups".to_owned())
        }
        CgroupSupport::None { why } => note("out of memory", format!("not told from other kills: {why}")),
    });
    findings.extend(
        settings.shown().into_iter().map(|(key, value, by)| ok("set", format!("{key} = {value}, by {by}"))),
    );
    findings.extend(data_dir(settings));
    findings
}

fn data_dir(settings: &Settings) -> Vec<Finding> {
    let dir = settings.data_dir.find(&settings.cwd).unwrap_or_else(|_| {
        let stated = settings.data_dir.stated.as_ref().map(|set| set.value.as_path());
        settings.cwd.join(stated.unwrap_or(Path::new(datadir::NAME)))
    });
    let there = if dir.is_dir() { "" } else { " (not there yet)" };
    let mut findings = vec![match fs_check::kind_of(&dir) {
        FsKind::Local => Finding {
            what: "data directory",
            how: "ok",
            text: format!("{}{there}, on a local disk", dir.display()),
        },
        FsKind::Memory => Finding {
            what: "data directory",
            how: "note",
            text: format!("{}{there}, in memory: gone when the machine restarts", dir.display()),
        },
        FsKind::Network(kind) => Finding {
            what: "data directory",
            how: "problem",
            text: format!(
                "{}{there}, on {kind}: no place for a journal, name another with --data-dir",
                dir.display()
            ),
        },
    }];
    let master = match address::advertised(&dir) {
        Ok(Some(place)) => {
            Finding { what: "master", how: "ok", text: format!("was last seen at {}", place.address) }
        }
        Ok(None) => Finding { what: "master", how: "note", text: "none is running here".to_owned() },
        Err(failure) => {
            let text = failure.problems.first().map_or_else(String::new, |problem| problem.message.clone());
            Finding { what: "master", how: "problem", text }
        }
    };
    findings.push(master);
    if dir.join(JOURNAL_FILE).exists() || dir.join(HEAD_FILE).exists() {
        findings.push(journal(&dir));
        findings.extend(head(&dir));
        findings.push(records(&dir));
        findings.extend(results(&dir));
    }
    findings
}

/// Whether the journal is whole: everything in it is read.
fn journal(dir: &Path) -> Finding {
    let (how, text) = match Reader::open(dir).and_then(|reader| reader.check()) {
        Ok(outcomes) => {
            let outcomes = number::of(outcomes.unwrap_or_default(), "outcome");
            ("ok", format!("{outcomes}, every one whole, and every index fits"))
        }
        Err(error) => {
            let help = error.help().map_or_else(String::new, |help| format!(": {help}"));
            ("problem", format!("{}{help}", source::chain(&error)))
        }
    };
    Finding { what: "journal", how, text }
}

/// Whether the results have what the journal has.
fn records(dir: &Path) -> Finding {
    let (how, text) = match gridctl_master::waiting(dir, None) {
        Ok(left) if left.is_empty() => ("ok", "the results have every record".to_owned()),
        Ok(left) => {
            let one = |left: &gridctl_master::Unshipped| {
                let lack = output::sentence::lack(left);
                format!("{lack} of {} are not in {}: {}", left.sweep, left.volume, left.why)
            };
            ("note", left.iter().map(one).collect::<Vec<_>>().join("; "))
        }
        Err(error) => ("problem", source::chain(&error)),
    };
    Finding { what: "records", how, text }
}

/// Whether it can be told that the journal is as long as it was.
fn head(dir: &Path) -> Option<Finding> {
    let doubt = Reader::doubt(dir).filter(|_| Reader::open(dir).is_ok())?;
    let text = format!("{doubt}; the next master writes it again");
    Some(Finding { what: "journal.head", how: "problem", text })
}

/// What of the results is not what the journal says.
fn results(dir: &Path) -> Vec<Finding> {
    let problem = |text| Finding { what: "results", how: "problem", text };
    let (mut findings, mut more) = (Vec::new(), 0_u64);
    let looked = gridctl_master::damaged(dir, &mut |volume, damage| {
        if findings.len() < DAMAGE_SHOWN {
            findings.push(problem(damaged(volume, &damage)));
        } else {
            more += 1;
        }
    });
    if more > 0 {
        findings.push(problem(format!("{more} more")));
    }
    // A journal that cannot be read was named above.
    if looked.is_ok() && findings.is_empty() {
        let text = "every record, version and standing is what the journal says".to_owned();
        findings.push(Finding { what: "results", how: "ok", text });
    }
    findings
}

fn damaged(volume: &str, damage: &ResultsDamage) -> String {
    let ResultsDamage { file, what, remove } = damage;
    let files: Vec<String> = remove.iter().map(|file| format!("{volume}/{file}")).collect();
    let help = match files.join(" and ") {
        none if none.is_empty() => String::new(),
        files => format!(": remove {files}, and the next `gridctl run` writes it again from the journal"),
    };
    format!("{volume}/{file}: {what}{help}")
}
