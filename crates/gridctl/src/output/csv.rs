//! CSV that a spreadsheet does not run: texts that look like formulas are marked as text.
//! Invariant: numbers stay numbers; what was changed begins with an apostrophe, as spreadsheets themselves write it.

use std::io::Write as _;

use crate::exit::Failure;

/// Prints rows under a header.
pub(crate) fn print(header: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut writer = ::csv::Writer::from_writer(super::stdout());
    let io = |error: ::csv::Error| match error.into_kind() {
        ::csv::ErrorKind::Io(error) => Failure::from(error),
        other => Failure::error("output", format!("cannot write this as CSV: {other:?}")),
    };
    writer.write_record(header.iter().map(|name| safe(name))).map_err(io)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| safe(cell))).map_err(io)?;
    }
    let mut out = writer.into_inner().map_err(|error| Failure::from(error.into_error()))?;
    Ok(out.flush()?)
}

/// The cell, marked as text if a spreadsheet would take it for a formula.
fn safe(cell: &str) -> String {
    let dangerous = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if dangerous && cell.parse::<f64>().is_err() { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_texts_and_numbers_stay() {
        for (cell, expected) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1+2", "'+1+2"),
            ("-0.5", "-0.5"),
            ("-1e-3", "-1e-3"),
            ("-x", "'-x"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("plain", "plain"),
        ] {
            assert_eq!(safe(cell), expected);
        }
    }
}
