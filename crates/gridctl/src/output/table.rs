//! Tables for people: no borders, columns aligned, numbers to the right.
//! Invariant: every cell is one line that moves nothing, and a line is no longer than the terminal that it is shown on. A table of
//! everything (`wide`) is never cut.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{sanitise, terminal_width};

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
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            super::say(format_args!("left out, -o wide shows all: {names}; this terminal is too narrow"));
        }
        text
    }

    /// The table in lines of at most so many columns.
    pub(crate) fn render_in(&self, columns: usize) -> String {
        self.fit(Some(columns)).0
    }

    /// The table in lines of at most so many columns of a terminal, and the headings that this leaves out. Before anything is
    /// cut or left out, columns that say the same in all rows stand once above.
    fn fit(&self, width: Option<usize>) -> (String, Vec<String>) {
        let most = if self.whole { usize::MAX } else { WIDEST };
        let mut shown: Vec<(usize, usize)> = (0..self.right.len()).map(|column| (column, most)).collect();
        let (mut above, mut left_out) = (Vec::new(), Vec::new());
        let Some(width) = width else { return (render(&self.table(&shown)), left_out) };
        loop {
            let table = self.table(&shown);
            let widths: Vec<usize> = table.column_max_content_widths().into_iter().map(usize::from).collect();
            let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            if total <= width {
                break;
            }
            if let Some(equal) = (KEPT..shown.len()).rev().find(|at| self.says_nothing(shown[*at].0)) {
                above.insert(0, shown.remove(equal).0);
                continue;
            }
            let widest =
                (0..shown.len()).filter(|column| shown[*column].1 > CUT).max_by_key(|column| widths[*column]);
            match widest.filter(|column| widths[*column] > CUT) {
                // Always less than before, whatever the width of what was cut.
                Some(column) => {
                    let less = widths[column].saturating_sub(total - width).min(shown[column].1 - 1);
                    shown[column].1 = less.max(CUT);
                }
                None if shown.len() > KEPT => {
                    left_out.extend(shown.pop().map(|(column, _)| self.lines[0][column].clone()));
                }
                None => break,
            }
        }
        left_out.reverse();
        (self.above(&above, width) + &render(&self.table(&shown)), left_out)
    }

    /// Whether a column is the same in all rows; where there is one row, whether it is nothing there.
    fn says_nothing(&self, column: usize) -> bool {
        let mut cells = self.lines.iter().skip(1).map(|line| line[column].as_str());
        let Some(first) = cells.next() else { return false };
        if self.lines.len() > 2 { cells.all(|cell| cell == first) } else { ["0", "-", ""].contains(&first) }
    }

    /// The columns that are the same in all rows, in lines above the table.
    fn above(&self, columns: &[usize], width: usize) -> String {
        let mut lines: Vec<String> = Vec::new();
        let row = self.lines.get(1);
        let pairs =
            columns.iter().filter_map(|column| Some(format!("{} {}", self.lines[0][*column], row?[*column])));
        for pair in pairs {
            let pair = sanitise::short(&pair, width.max(1));
            match lines.last_mut() {
                Some(line) if sanitise::width(line) + 2 + sanitise::width(&pair) <= width => {
                    line.push_str("  ");
                    line.push_str(&pair);
                }
                _ => lines.push(pair),
            }
        }
        lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// These columns, each with the longest length of its cells.
    fn table(&self, shown: &[(usize, usize)]) -> Table {
        let cells = |line: &Vec<String>| {
            let cells = shown.iter().map(|(column, limit)| {
                let alignment = if self.right[*column] { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(sanitise::short(&line[*column], *limit)).set_alignment(alignment)
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
        assert!(left_out.is_empty());
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
            assert!(left_out.is_empty());
        }
    }

    #[test]
    fn lines_fit_the_terminal_and_everything_is_never_cut() {
        for width in [60, 45, 39, 30, 26, 8, 1] {
            let (text, left_out) = some().fit(Some(width));
            let longest = text.lines().map(str::len).max().unwrap();
            assert!(longest <= width.max(CUT + 2 + "accuracy".len()), "{width}: {longest}\n{text}");
            assert_eq!(left_out, if width < 39 { vec!["note"] } else { vec![] }, "{width}\n{text}");
            assert!(text.contains("0.25"), "{width}\n{text}");
        }
        let (text, left_out) = some().whole(true).fit(None);
        assert!(text.contains(&"x".repeat(100)) && left_out.is_empty(), "{text}");
    }

    #[test]
    fn what_is_the_same_in_all_rows_stands_once_above_where_a_terminal_is_narrow() {
        let mut columns = TableColumns::new(["trial", ">accuracy", ">max_depth", ">folds", "host", ">lr"]);
        for (trial, accuracy, lr) in [("aaaaaaaa", "0.75", "0.1"), ("bbbbbbbb", "0.5", "0.01")] {
            let cells = [trial, accuracy, "8", "5", "a-machine-of-mine", lr];
            columns.row(cells.map(str::to_owned).to_vec());
        }
        let (text, left_out) = columns.fit(Some(40));
        assert_eq!(
            text,
            "folds 5  host a-machine-of-mine\ntrial     accuracy  max_depth    lr\naaaaaaaa      0.75          8   0.1\nbbbbbbbb       0.5          8  0.01\n"
        );
        assert!(left_out.is_empty());
        let (text, _) = columns.fit(Some(140));
        assert!(text.starts_with("trial") && text.contains("folds"), "{text}");
        let mut single = TableColumns::new(["sweep", "state", ">lost", ">done"]);
        single.row(["a-sweep", "running", "0", "7"].map(str::to_owned).to_vec());
        assert_eq!(single.fit(Some(24)).0, "lost 0\nsweep    state    done\na-sweep  running     7\n");
    }
}
