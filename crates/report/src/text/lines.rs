//! Wrapping and columns.

use crate::words;

/// The text in lines of at most `width` characters; the first begins with `first`, the others with
/// as many blanks. A word longer than a line is cut.
pub(super) fn wrap(text: &str, width: usize, first: &str) -> Vec<String> {
    let indent = first.chars().count();
    let room = width.saturating_sub(indent).max(8);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty())
    {
        let word = words::short(word, room);
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    let blank = " ".repeat(indent);
    let heads = std::iter::once(first).chain(std::iter::repeat(blank.as_str()));
    heads.zip(lines).map(|(head, line)| format!("{head}{line}").trim_end().to_owned()).collect()
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows in columns two blanks apart, each row cut to `width`; without boxes, so that `grep` and
/// `awk` can read it.
pub(super) fn columns(rows: &[Vec<String>], sides: &[Side], width: usize) -> Vec<String> {
    // A name from outside may hold anything; here it may neither steer nor fill the terminal.
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| words::short(cell, 40)).collect()).collect();
    let wide: Vec<usize> = (0..sides.len())
        .map(|n| rows.iter().filter_map(|row| row.get(n)).map(|c| c.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(sides).zip(&wide).map(|((cell, side), wide)| match side {
                Side::Left => format!("{cell:<wide$}"),
                Side::Right => format!("{cell:>wide$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            if line.trim_end().chars().count() <= width {
                return line.trim_end().to_owned();
            }
            let kept: String = line.chars().take(width.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        })
        .collect()
}
