//! What commands print: data on stdout, everything else on stderr.
//! Invariant: nothing here panics when a reader has gone away; texts that others wrote are made fit to be shown, not when they are data.

pub(crate) mod causes;
pub(crate) mod csv;
pub(crate) mod curve;
pub(crate) mod number;
pub(crate) mod page;
pub(crate) mod rows;
pub(crate) mod sanitise;
pub(crate) mod sentence;
pub(crate) mod table;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::exit::Failure;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table, as much as a person reads
    Table,
    /// A table, everything
    Wide,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values, flat columns
    Csv,
    /// YAML
    Yaml,
}

/// How one thing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people
    Text,
    /// For scripts
    Json,
}

/// Stdout, buffered, without styles where they are not wanted.
pub(crate) fn stdout() -> io::BufWriter<anstream::AutoStream<io::StdoutLock<'static>>> {
    io::BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()))
}

/// Prints `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Prints each value as JSON on a line of its own.
pub(crate) fn jsonl<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut out = stdout();
    for value in values {
        serde_json::to_writer(&mut out, &value).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Prints `value` as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_saphyr::to_string(value)
        .map_err(|error| Failure::error("output", format!("cannot write this as YAML: {error}")))?;
    let mut out = stdout();
    write!(out, "{text}")?;
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Prints a list in any of the formats: `columns` and `cells` make a table of it, and `empty` is said instead
/// of an empty one.
pub(crate) fn list<T: Serialize, const COLUMNS: usize>(
    items: &[T],
    format: Format,
    (columns, cells): ([&str; COLUMNS], impl Fn(&T) -> Vec<String>),
    empty: &str,
) -> Result<(), Failure> {
    match format {
        Format::Json => json(&items),
        Format::Jsonl => jsonl(items),
        Format::Yaml => yaml(&items),
        Format::Csv => {
            let header = columns.map(|column| column.trim_start_matches('>').to_owned());
            csv::print(&header, items.iter().map(cells))
        }
        Format::Table | Format::Wide if items.is_empty() => {
            say(empty);
            Ok(())
        }
        Format::Table | Format::Wide => {
            let mut table = table::TableColumns::new(columns);
            items.iter().for_each(|item| table.row(cells(item)));
            text(&table.render())
        }
    }
}

/// Prints text that was made fit to be shown.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The width of the terminal that this is, if it is one and says how wide it is.
pub(crate) fn terminal_width(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Nothing is said any more: what is printed is for a program that asks for it between two keys.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

/// Says something on stderr; nobody is left to be told if that is gone.
pub(crate) fn say(text: impl std::fmt::Display) {
    if HUSHED.load(Ordering::Relaxed) {
        return;
    }
    let _ = writeln!(anstream::stderr(), "{text}");
}
