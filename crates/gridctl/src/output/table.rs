//! Tables for people: no borders, columns aligned, numbers to the right.
//! Invariant: every cell is one line that moves nothing, and a line is no longer than the terminal that it is shown on. A table of
//! everything (`wide`) is never cut.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{number, sanitise, terminal_width};

/// Longest cell.
const WIDEST: usize = 60;
/// Cells are cut down to this, no further, before columns are left out.
const CUT: usize = 16;
/// Columns that are shown whatever the terminal.
const KEPT: usize = 2;

/// Builds one table.
#[derive(Debug)]
pub(crate) struct TableColumns {
    /// Headings, then rows; nothing in them moves the cursor.
    lines: Vec<Vec<String>>,
    right: Vec<bool>,
    whole: bool,
}

impl TableColumns {
    /// A table with these headings; `>` before one aligns its column to the right.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let headings: Vec<&str> = headings.into_iter().collect();
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let shown = headings.iter().map(|heading| tame(heading.trim_start_matches('>')));
        Self { lines: vec![shown.collect()], right, whole: false }
    }

    /// The same, with every cell as long as it is.
    pub(crate) fn whole(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.lines.push(cells.iter().map(|cell| tame(cell)).collect());
    }

    /// The table as lines without trailing blanks; as wide as a terminal on stdout allows, and what is left out is said on stderr.
    pub(crate) fn render(&self) -> String {
        let (text, left_out) = self.fit(terminal_width(std::io::stdout()).filter(|_| !self.whole));
        if left_out > 0 {
            let columns = number::of(left_out as u64, "column");
            super::say(format_args!("{columns} left out: this terminal is too narrow"));
        }
        text
    }

    /// The table in lines of at most so many columns of a terminal, and how many columns that
    /// leaves out.
    fn fit(&self, width: Option<usize>) -> (String, usize) {
        let most = if self.whole { usize::MAX } else { WIDEST };
        let mut limits = vec![most; self.right.len()];
        let Some(width) = width else { return (render(&self.table(&limits)), 0) };
        loop {
            let table = self.table(&limits);
            let widths: Vec<usize> = table.column_max_content_widths().into_iter().map(usize::from).collect();
            let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            if total <= width {
                return (render(&table), self.right.len() - limits.len());
            }
            let widest =
                (0..limits.len()).filter(|column| limits[*column] > CUT).max_by_key(|column| widths[*column]);
            match widest.filter(|column| widths[*column] > CUT) {
                // Always less than before, whatever the width of what was cut.
                Some(column) => {
                    let less = widths[column].saturating_sub(total - width).min(limits[column] - 1);
                    limits[column] = less.max(CUT);
                }
                None if limits.len() > KEPT => drop(limits.pop()),
                None => return (render(&table), self.right.len() - limits.len()),
            }
        }
    }

    /// The first columns, as many as there are limits to the length of their cells.
    fn table(&self, limits: &[usize]) -> Table {
        let cells = |line: &Vec<String>| {
            let cells = line.iter().zip(limits).zip(&self.right).map(|((text, limit), right)| {
                let alignment = if *right { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(sanitise::short(text, *limit)).set_alignment(alignment)
            });
            cells.collect::<Vec<_>>()
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let mut lines = self.lines.iter();
        table.set_header(lines.next().map(cells).unwrap_or_default());
        table.add_rows(lines.map(cells));
        table
    }
}

fn tame(text: &str) -> String {
    sanitise::line(text).into_owned()
}

fn render(table: &Table) -> String {
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> TableColumns {
        let mut columns = TableColumns::new(["trial", ">accuracy", "note"]);
        columns.row(vec!["abc".to_owned(), "0.5".to_owned(), "a\u{1b}[2Jb".to_owned()]);
        columns.row(vec!["abcdef".to_owned(), "0.25".to_owned(), "漢字".to_owned()]);
        columns.row(vec!["x".repeat(100), String::new(), String::new()]);
        columns
    }

    #[test]
    fn columns_are_aligned_and_hostile_cells_are_tamed() {
        let (text, left_out) = some().fit(None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("trial  "));
        assert!(lines[1].contains("a\\u{1b}[2Jb"));
        assert!(lines[3].starts_with(&"x".repeat(57)) && lines[3].ends_with("..."));
        let end = lines[0].find("accuracy").unwrap() + "accuracy".len();
        assert_eq!(&lines[1][end - 3..end], "0.5");
        assert_eq!(&lines[2][end - 4..end], "0.25");
        assert_eq!(left_out, 0);
    }

    #[test]
    fn h64_text_of_any_width_is_aligned_and_fits_the_terminal() {
        let texts =
            ["\u{1b}[2J".repeat(20), "漢字".repeat(40), "e\u{301}".repeat(90), "\u{301}".repeat(1_000)];
        let more = ["❤\u{fe0f}".repeat(50), "\u{202e}x".to_owned(), "שלום".to_owned(), "x".repeat(10_000)];
        let mut columns = TableColumns::new(["trial", ">text"]);
        for text in texts.into_iter().chain(more) {
            columns.row(vec!["abc".to_owned(), text]);
        }
        for width in [None, Some(100), Some(61), Some(40), Some(23)] {
            let (text, left_out) = columns.fit(width);
            let widths: Vec<usize> = text.lines().map(sanitise::width).collect();
            assert!(widths.iter().all(|it| *it == widths[0]), "{width:?}: {widths:?}\n{text}");
            assert!(width.is_none_or(|width| widths[0] <= width), "{width:?}: {widths:?}\n{text}");
            assert!(!text.chars().any(|c| c != '\n' && sanitise::is_hostile(c)), "{text:?}");
            assert_eq!(left_out, 0);
        }
    }

    #[test]
    fn lines_fit_the_terminal_and_everything_is_never_cut() {
        for width in [60, 45, 39, 30, 26, 8, 1] {
            let (text, left_out) = some().fit(Some(width));
            let longest = text.lines().map(str::len).max().unwrap();
            assert!(longest <= width.max(CUT + 2 + "accuracy".len()), "{width}: {longest}\n{text}");
            assert_eq!(left_out, usize::from(width < 39), "{width}\n{text}");
            assert!(text.contains("0.25"), "{width}\n{text}");
        }
        let (text, left_out) = some().whole(true).fit(None);
        assert!(text.contains(&"x".repeat(100)) && left_out == 0, "{text}");
    }
}
