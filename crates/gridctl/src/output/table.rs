//! Tables for people: no borders, columns aligned, numbers to the right.
//! Invariant: every cell is one line that moves nothing, and a very long one is cut.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::sanitise;

/// Longest cell.
const WIDEST: usize = 60;

/// Builds one table.
#[derive(Debug)]
pub(crate) struct Columns {
    table: Table,
    right: Vec<bool>,
}

impl Columns {
    /// A table with these headings; `>` before one aligns its column to the right.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let headings: Vec<&str> = headings.into_iter().collect();
        let right: Vec<bool> = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let shown = headings.iter().map(|heading| sanitise::short(heading.trim_start_matches('>'), WIDEST));
        let mut columns = Self { table, right };
        let header = columns.cells(shown.collect());
        columns.table.set_header(header);
        columns
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.into_iter().map(|cell| sanitise::short(&cell, WIDEST)).collect();
        let cells = self.cells(cells);
        self.table.add_row(cells);
    }

    fn cells(&self, texts: Vec<String>) -> Vec<Cell> {
        let aligned = |(text, right): (String, &bool)| {
            let alignment = if *right { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        };
        texts.into_iter().zip(&self.right).map(aligned).collect()
    }

    /// The table as lines without trailing blanks.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        for line in self.table.lines() {
            out.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_cells_are_tamed() {
        let mut columns = Columns::new(["trial", ">accuracy", "note"]);
        columns.row(vec!["abc".to_owned(), "0.5".to_owned(), "a\u{1b}[2Jb".to_owned()]);
        columns.row(vec!["abcdef".to_owned(), "0.25".to_owned(), "漢字".to_owned()]);
        columns.row(vec!["x".repeat(100), String::new(), String::new()]);
        let text = columns.render();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("trial  "));
        assert!(lines[1].contains("a\\u{1b}[2Jb"));
        assert!(lines[3].starts_with(&"x".repeat(57)) && lines[3].ends_with("..."));
        let end = lines[0].find("accuracy").unwrap() + "accuracy".len();
        assert_eq!(&lines[1][end - 3..end], "0.5");
        assert_eq!(&lines[2][end - 4..end], "0.25");
    }
}
