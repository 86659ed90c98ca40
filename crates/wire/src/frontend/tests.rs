//! Round trips, and that no bytes make a reader panic.

use proptest::prelude::*;

use super::*;
use crate::frame::body;

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1_u8.., 0..20)
}

proptest! {
    #[test]
    fn parse_round_trip(
        name in name(),
        query in name(),
        oids in proptest::collection::vec(any::<i32>(), 0..5),
    ) {
        let mut types = i16::try_from(oids.len()).unwrap().to_be_bytes().to_vec();
        types.extend(oids.iter().flat_map(|oid| oid.to_be_bytes()));
        let parse = Parse { name: &name, query: &query, types: &types };
        let mut out = Vec::new();
        parse.put(&mut out);
        prop_assert_eq!(Parse::read(body(&out)), Ok(parse));
    }

    #[test]
    fn bind_keeps_all_but_the_statement_when_renamed(
        portal in name(), old in name(), new in name(), rest in name(),
    ) {
        let mut bind = Vec::new();
        put(&mut bind, tag::BIND, |out| {
            put_text(out, &portal);
            put_text(out, &old);
            out.extend_from_slice(&rest);
        });
        let head = BindHead::read(body(&bind)).unwrap();
        let mut renamed = Vec::new();
        head.put_renamed(&mut renamed, bind.len(), &new);
        renamed.extend_from_slice(body(&bind).split_at(head.len).1);

        let mut expected = Vec::new();
        put(&mut expected, tag::BIND, |out| {
            put_text(out, &portal);
            put_text(out, &new);
            out.extend_from_slice(&rest);
        });
        prop_assert_eq!(renamed, expected);
    }

    #[test]
    fn small_messages_round_trip(name in name(), rows in any::<i32>(), data in name()) {
        let mut out = Vec::new();
        Execute { portal: &name, max_rows: rows }.put(&mut out);
        prop_assert_eq!(
            Execute::read(body(&out)),
            Ok(Execute { portal: &name, max_rows: rows })
        );
        for target in [Target::Statement(&name), Target::Portal(&name)] {
            let mut out = Vec::new();
            target.put_describe(&mut out);
            prop_assert_eq!(Target::read(body(&out)), Ok(target));
        }
        let mut out = Vec::new();
        put_query(&mut out, &name);
        prop_assert_eq!(text(body(&out)), Ok(name.as_slice()));
        let initial = SaslInitial { mechanism: &name, data: &data };
        let mut out = Vec::new();
        initial.put(&mut out);
        prop_assert_eq!(SaslInitial::read(body(&out)), Ok(initial));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Parse::read(&bytes);
        let _ = BindHead::read(&bytes);
        let _ = Target::read(&bytes);
        let _ = Execute::read(&bytes);
        let _ = SaslInitial::read(&bytes);
        let _ = text(&bytes);
        let _ = text_head(&bytes);
        let _ = function(&bytes);
    }
}

#[test]
fn a_zero_in_a_text_cannot_make_a_second_field() {
    let mut out = Vec::new();
    put_query(&mut out, b"select 1\0drop table t");
    assert_eq!(text(body(&out)), Ok(b"select 1".as_slice()));
}
