//! Whether two results have the same columns to a client.

use wire::cursor::Cursor;

/// One column of a `RowDescription` (manual §55.7), as far as PostgreSQL compares it when it checks
/// that a prepared statement still has the result that it had (`equalTupleDescs`).
type Column<'a> = (&'a [u8], i32, i32);

/// Whether the bodies of two `RowDescription`s have columns of the same names and types: else
/// PostgreSQL says "cached plan must not change result type".
pub(crate) fn same_result(one: &[u8], other: &[u8]) -> bool {
    one == other
        || columns(one).is_some_and(|columns_of_one| columns(other) == Some(columns_of_one))
}

fn columns(body: &[u8]) -> Option<Vec<Column<'_>>> {
    let mut cursor = Cursor::new(body);
    (0..cursor.i16()?).map(|_| column(&mut cursor)).collect()
}

fn column<'a>(cursor: &mut Cursor<'a>) -> Option<Column<'a>> {
    let name = cursor.text()?;
    let (_table, _number) = (cursor.i32()?, cursor.i16()?);
    let (type_id, _size, modifier) = (cursor.i32()?, cursor.i16()?, cursor.i32()?);
    let _format = cursor.i16()?;
    Some((name, type_id, modifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(name: &str, table: i32, type_id: i32, modifier: i32) -> Vec<u8> {
        let mut body = vec![0, 1];
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&table.to_be_bytes());
        body.extend_from_slice(&[0, 1]);
        body.extend_from_slice(&type_id.to_be_bytes());
        body.extend_from_slice(&[0, 4]);
        body.extend_from_slice(&modifier.to_be_bytes());
        body.extend_from_slice(&[0, 0]);
        body
    }

    #[test]
    fn only_names_and_types_count() {
        let first = description("i", 10, 23, -1);
        assert!(same_result(&first, &description("i", 11, 23, -1)), "the table was made anew");
        assert!(!same_result(&first, &description("j", 10, 23, -1)));
        assert!(!same_result(&first, &description("i", 10, 20, -1)));
        assert!(!same_result(&first, &description("i", 10, 23, 5)));
        assert!(!same_result(&first, b"\0\0"));
        assert!(!same_result(&first[..5], &first));
    }
}
