//! Tables as PostgreSQL's messages. Pure.

use wire::backend::tag;

/// The type of a column, as `PgBouncer` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int4,
    Int8,
    Numeric,
    Bytea,
}

impl Kind {
    /// Its oid in `pg_type`, and its size there.
    fn oid(self) -> (i32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
            Self::Bytea => (17, -1),
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Text(Box<str>),
    Count(u64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Cell {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Count(flag.into())
    }
}

/// How values are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// Columns and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Vec<(&'static str, Kind)>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. Columns are written `name` (text), `name:4` (int4), `name:8` (int8),
    /// `name:n` (numeric), `name:b` (bytea).
    pub(super) fn new(columns: &'static str) -> Self {
        let columns = columns.split_ascii_whitespace().map(|column| match column.split_once(':') {
            Some((name, "4")) => (name, Kind::Int4),
            Some((name, "8")) => (name, Kind::Int8),
            Some((name, "n")) => (name, Kind::Numeric),
            Some((name, _)) => (name, Kind::Bytea),
            None => (column, Kind::Text),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{:?}", self.columns);
        self.rows.push(cells);
    }

    /// The `RowDescription`.
    pub(super) fn put_description(&self, out: &mut Vec<u8>, formats: &Formats) {
        message(out, tag::ROW_DESCRIPTION, |out| {
            out.extend_from_slice(&small(self.columns.len()));
            for (index, (name, kind)) in self.columns.iter().enumerate() {
                let (oid, size) = kind.oid();
                out.extend_from_slice(name.as_bytes());
                // No table, no column of it.
                out.extend_from_slice(&[0; 7]);
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                let is_binary = formats.of(index) == Format::Binary;
                out.extend_from_slice(&i16::from(is_binary).to_be_bytes());
            }
        });
    }

    /// The rows.
    pub(super) fn put_rows(&self, out: &mut Vec<u8>, formats: &Formats) {
        for row in &self.rows {
            message(out, tag::DATA_ROW, |out| {
                out.extend_from_slice(&small(row.len()));
                for (index, (cell, (_, kind))) in row.iter().zip(&self.columns).enumerate() {
                    put_cell(out, cell, *kind, formats.of(index));
                }
            });
        }
    }
}

/// The formats that a client asked for in its `Bind`: none, one for all, or one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<Format>);

impl Formats {
    fn of(&self, column: usize) -> Format {
        let one = match self.0.as_slice() {
            [all] => Some(all),
            each => each.get(column),
        };
        one.copied().unwrap_or(Format::Text)
    }
}

fn small(count: usize) -> [u8; 2] {
    u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
}

/// Appends a message whose body `write` appends.
pub(super) fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_cell(out: &mut Vec<u8>, cell: &Cell, kind: Kind, format: Format) {
    let text: Box<[u8]> = match (cell, format, kind) {
        (Cell::Null, ..) => {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return;
        }
        (Cell::Text(text), ..) => text.as_bytes().into(),
        (Cell::Count(count), Format::Binary, Kind::Int4) => {
            i32::try_from(*count).unwrap_or(i32::MAX).to_be_bytes().as_slice().into()
        }
        (Cell::Count(count), Format::Binary, Kind::Int8) => {
            i64::try_from(*count).unwrap_or(i64::MAX).to_be_bytes().as_slice().into()
        }
        (Cell::Count(count), Format::Binary, Kind::Numeric) => numeric(*count).into(),
        (Cell::Count(count), _, Kind::Int4) => {
            i32::try_from(*count).unwrap_or(i32::MAX).to_string().into_bytes().into()
        }
        (Cell::Count(count), ..) => count.to_string().into_bytes().into(),
    };
    let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text);
}

/// PostgreSQL's binary `numeric` of a whole number: digits to the base 10,000, the highest first
/// (`numeric_send` in its sources).
fn numeric(mut count: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while count > 0 {
        digits.push(u16::try_from(count % 10_000).unwrap_or_default());
        count /= 10_000;
    }
    let mut out = small(digits.len()).to_vec();
    out.extend_from_slice(&small(digits.len().saturating_sub(1)));
    // No sign, no digits after the point.
    out.extend_from_slice(&[0; 4]);
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_as_messages() {
        let mut table = Table::new("a b:4");
        table.row(vec!["x".into(), 7_u32.into()]);
        table.row(vec![Cell::Null, Cell::Count(u64::MAX)]);
        let mut out = Vec::new();
        table.put_description(&mut out, &Formats::default());
        let description = b"T\0\0\0\x2e\0\x02a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0\
                            b\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
        assert_eq!(out, description);
        out.clear();
        table.put_rows(&mut out, &Formats(vec![Format::Binary]));
        let rows = b"D\0\0\0\x13\0\x02\0\0\0\x01x\0\0\0\x04\0\0\0\x07\
                     D\0\0\0\x12\0\x02\xff\xff\xff\xff\0\0\0\x04\x7f\xff\xff\xff";
        assert_eq!(out, rows);
    }

    #[test]
    fn numbers_to_the_base_of_ten_thousand() {
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric(7), [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(numeric(20_003), [0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 0, 3]);
    }
}
