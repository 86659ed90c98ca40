//! Rules read and matched as PostgreSQL does.

use super::*;

const FILE: &str = r#"
# TYPE    DATABASE        USER          ADDRESS                METHOD
local     all             all                                  trust
hostssl   all             carl          all                    cert
host      sameuser        all           127.0.0.1/32           md5     # own database
hostnossl all             all           10.0.0.0/8             reject
host      shop, "all"     ann,"b ob"    10.1.0.0 255.255.0.0   scram-sha-256
hostssl   all             all           ::1/128                password clientcert=verify-ca
"#;

fn find(address: Option<&str>, tls: bool, database: &str, user: &str) -> Option<Method> {
    let rules = Rules::read(FILE).unwrap();
    let caller = Caller {
        address: address.map(|text| text.parse().unwrap()),
        tls,
        database: database.as_bytes(),
        user: user.as_bytes(),
    };
    rules.find(&caller).map(|(method, _)| method)
}

#[test]
fn the_first_rule_that_matches_counts() {
    let cases = [
        (None, false, "shop", "zoe", Some(Method::Trust)),
        (Some("8.8.8.8"), true, "x", "carl", Some(Method::Cert)),
        (Some("8.8.8.8"), false, "x", "carl", None),
        (Some("127.0.0.1"), false, "zoe", "zoe", Some(Method::Md5)),
        (Some("127.0.0.1"), false, "shop", "zoe", None),
        (Some("10.1.2.3"), false, "shop", "ann", Some(Method::Reject)),
        (Some("10.1.2.3"), true, "shop", "ann", Some(Method::Scram)),
        (Some("::ffff:10.1.2.3"), true, "shop", "ann", Some(Method::Scram)),
        (Some("10.1.2.3"), true, "shop", "b ob", Some(Method::Scram)),
        (Some("10.1.2.3"), true, "all", "ann", Some(Method::Scram)),
        (Some("10.1.2.3"), true, "other", "ann", None),
        (Some("10.2.2.3"), true, "shop", "ann", None),
        (Some("::1"), true, "shop", "ann", Some(Method::Password)),
        (Some("::1"), false, "shop", "ann", None),
    ];
    for (address, tls, database, user, method) in cases {
        let found = find(address, tls, database, user);
        assert_eq!(found, method, "{address:?} {tls} {database} {user}");
    }
    assert!(Rules::read(FILE).unwrap().ask_for_certificates());
    let all = Rules::all(Method::Md5);
    for address in [None, Some(IpAddr::from([9, 9, 9, 9]))] {
        let caller = Caller { address, tls: true, database: b"x", user: b"y" };
        assert_eq!(all.find(&caller), Some((Method::Md5, None)));
    }
    assert!(Rules::read("# nothing\n\n").unwrap().is_empty());
    let peer = Rules::read("local all all peer").unwrap();
    let caller = Caller { address: None, tls: false, database: b"x", user: b"y" };
    assert_eq!(peer.find(&caller), Some((Method::Peer, None)));
}

#[test]
fn what_is_not_understood_is_an_error_with_its_line() {
    let cases = [
        ("local all all trust\nhostgssenc all all all gss", "line 2: type \"hostgssenc\""),
        ("host all all 10.0.0.0/8 gss", "line 1: method \"gss\""),
        ("host all all 10.0.0.0/33 md5", "is not a network"),
        ("host all all db.example md5", "address \"db.example\""),
        ("host all all samenet md5", "address \"samenet\""),
        ("host all all 10.0.0.1 md5", "\"md5\" is not a mask"),
        ("host all all 10.0.0.1 ::1 md5", "\"::1\" is not a mask"),
        ("host all +staff all md5", "members of a role"),
        ("host all @staff all md5", "names in another file"),
        ("host /^a all all md5", "regular expressions"),
        ("host replication all all md5", "database replication"),
        ("host all all all", "the method is missing"),
        ("host all", "the user is missing"),
        ("host all all all md5,trust", "only one method"),
        ("host all \"ann all md5", "a quote is not closed"),
        ("hostssl all all all cert map=x", "option \"map=x\""),
        ("host all all all cert", "certificates are for hostssl"),
        ("host all all all peer", "the method peer is for local lines"),
        ("include other.conf", "type \"include\""),
    ];
    for (text, says) in cases {
        let error = Rules::read(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}
