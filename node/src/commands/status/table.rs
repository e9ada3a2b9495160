//! Aligned columns for a terminal.

/// How a word is meant; colours it where colours are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As usual.
    Plain,
    /// Headings.
    Faint,
    /// As it should be.
    Good,
    /// On its way, or not known.
    Waiting,
    /// Needs a look.
    Bad,
}

/// One cell.
pub struct Cell(String, Tone);

/// A cell.
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    Cell(text.to_string(), tone)
}

/// An unmarked cell.
pub fn plain(text: impl ToString) -> Cell {
    cell(text, Tone::Plain)
}

/// A line of headings.
pub fn heading<const N: usize>(words: [&str; N]) -> Vec<Cell> {
    words.map(|word| cell(word, Tone::Faint)).into()
}

/// Lays `rows` out in columns two spaces apart, each line indented by two.
pub fn columns(rows: &[Vec<Cell>], colour: bool) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, Cell(text, _)) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, Cell(text, tone)) in widths.iter().zip(row) {
            let gap = width - text.chars().count();
            line.push_str(&format!("  {}{}", paint(text, *tone, colour), " ".repeat(gap)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `text` in the colour of `tone`.
fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.into(),
        Tone::Faint => 2,
        Tone::Good => 32,
        Tone::Waiting => 33,
        Tone::Bad => 31,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let rows = [heading(["NAME", "STATE"]), vec![plain("münchen"), cell("live", Tone::Good)], vec![plain("b")]];
        assert_eq!(columns(&rows, false), "  NAME     STATE\n  münchen  live\n  b\n");
        let coloured = columns(&rows, true);
        assert_eq!(coloured, "  \x1b[2mNAME\x1b[0m     \x1b[2mSTATE\x1b[0m\n  münchen  \x1b[32mlive\x1b[0m\n  b\n");
    }
}
