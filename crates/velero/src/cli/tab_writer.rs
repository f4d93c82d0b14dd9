//! Columns as Go's `text/tabwriter` lays them out, because Velero's `get` and `describe` are printed with it.
//!
//! A cell ends with a tab. Neighbouring lines that have a cell at the same place form a column, as wide as its widest
//! cell plus padding. Text behind the last tab of a line belongs to no column; a line without a tab ends all of them.

/// Lays out tab-separated lines. `min_width` is the least width of a column, padding included.
pub fn align(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut layout = Layout {
        lines: &lines,
        min_width,
        padding,
        widths: Vec::new(),
        out: String::with_capacity(text.len() * 2),
    };
    layout.block(0, lines.len());
    layout.out.pop();
    layout.out
}

/// `align` with the measures of Velero's describers: tabwriter(0, 8, 2).
pub fn describe(text: &str) -> String {
    align(text, 0, 2)
}

/// `align` with the measures of kubectl's tables: tabwriter(6, 4, 3).
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = header.join("\t");
    for row in rows {
        text.push('\n');
        text.push_str(&row.join("\t"));
    }
    text.push('\n');
    align(&text, 6, 3)
}

struct Layout<'a> {
    lines: &'a [Vec<&'a str>],
    min_width: usize,
    padding: usize,
    /// Widths of the columns that enclose the block at hand.
    widths: Vec<usize>,
    out: String,
}

impl Layout<'_> {
    /// Lays out lines `from..to`, whose columns left of `self.widths.len()` are settled.
    fn block(&mut self, mut from: usize, to: usize) {
        let column = self.widths.len();
        let mut at = from;
        while at < to {
            if column + 1 >= self.lines[at].len() {
                at += 1;
                continue;
            }
            self.write(from, at);
            from = at;
            let mut width = self.min_width;
            while at < to && column + 1 < self.lines[at].len() {
                width = width.max(self.lines[at][column].chars().count() + self.padding);
                at += 1;
            }
            self.widths.push(width);
            self.block(from, at);
            self.widths.pop();
            from = at;
        }
        self.write(from, to);
    }

    fn write(&mut self, from: usize, to: usize) {
        for line in &self.lines[from..to] {
            for (at, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(at) {
                    let pad = width.saturating_sub(cell.chars().count());
                    self.out.extend(std::iter::repeat_n(' ', pad));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_tab_ends_the_column() {
        let text = "Name:\tb1\nNamespace:\tvelero\n\nPhase:\tNew\n";
        assert_eq!(
            describe(text),
            "Name:       b1\nNamespace:  velero\n\nPhase:  New\n"
        );
    }

    #[test]
    fn a_nested_block_has_columns_of_its_own() {
        let text = "  Items to Update:\n\tone\n  Phase:\tCompleted\n  Created:\tnow\n";
        assert_eq!(
            describe(text),
            "  Items to Update:\n            one\n  Phase:    Completed\n  Created:  now\n"
        );
    }

    #[test]
    fn tables_are_kubectls() {
        let rows = vec![vec![
            "b1".into(),
            "Completed".into(),
            String::new(),
            "<none>".into(),
        ]];
        assert_eq!(
            table(&["NAME", "STATUS", "Q", "SELECTOR"], &rows),
            "NAME   STATUS      Q     SELECTOR\nb1     Completed         <none>\n"
        );
    }
}
