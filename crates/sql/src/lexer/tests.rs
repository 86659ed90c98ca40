//! Where tokens end, by example.

use expect_test::{Expect, expect};

use super::{Lexer, TokenKind};

fn check(text: &str, expected: &Expect) {
    let lexer = Lexer::new(text);
    let told: Vec<String> = lexer
        .map(|token| {
            let kind = match token.kind {
                TokenKind::Word => "w",
                TokenKind::Quoted => "q",
                TokenKind::String => "s",
                TokenKind::Number => "n",
                TokenKind::Parameter => "p",
                TokenKind::Operator => "o",
                TokenKind::Punctuation => ".",
                TokenKind::Cast => "::",
            };
            format!("{kind}⟨{}⟩", String::from_utf8_lossy(lexer.bytes(token)))
        })
        .collect();
    expected.assert_eq(&told.join("\n"));
}

#[test]
fn strings() {
    check(
        r"'it''s' E'a\'b' e'\\' b'01' X'ff' N'n' U&'\0041'",
        &expect![[r#"
            s⟨'it''s'⟩
            s⟨E'a\'b'⟩
            s⟨e'\\'⟩
            s⟨b'01'⟩
            s⟨X'ff'⟩
            s⟨N'n'⟩
            s⟨U&'\0041'⟩"#]],
    );
    check(
        "'a'\n  'b' 'c'",
        &expect![[r#"
            s⟨'a'
              'b'⟩
            s⟨'c'⟩"#]],
    );
    check(
        "$$a'b$$ $t$ $$ $x$ $t$ $t$open",
        &expect![[r#"
        s⟨$$a'b$$⟩
        s⟨$t$ $$ $x$ $t$⟩
        s⟨$t$open⟩"#]],
    );
    check("'open", &expect!["s⟨'open⟩"]);
    check(r"E'open\", &expect![[r#"s⟨E'open\⟩"#]]);
}

#[test]
fn identifiers() {
    check(
        r#"Foo "Ba""r" U&"x" a$1 größe _x1"#,
        &expect![[r#"
            w⟨Foo⟩
            q⟨"Ba""r"⟩
            q⟨U&"x"⟩
            w⟨a$1⟩
            w⟨größe⟩
            w⟨_x1⟩"#]],
    );
}

#[test]
fn numbers() {
    check(
        "1 1.5 .5 1. 1e5 1E-5 1_000 0x1F 1..2 1e 12from",
        &expect![[r#"
            n⟨1⟩
            n⟨1.5⟩
            n⟨.5⟩
            n⟨1.⟩
            n⟨1e5⟩
            n⟨1E-5⟩
            n⟨1_000⟩
            n⟨0x1F⟩
            n⟨1⟩
            .⟨.⟩
            n⟨.2⟩
            n⟨1⟩
            w⟨e⟩
            n⟨12⟩
            w⟨from⟩"#]],
    );
}

#[test]
fn operators() {
    check(
        "a=-1 a<>b a||b a->>'k' a@-b a*-1 a-- c\n- b x::int a:b ?| /*+*/ +",
        &expect![[r#"
            w⟨a⟩
            o⟨=⟩
            o⟨-⟩
            n⟨1⟩
            w⟨a⟩
            o⟨<>⟩
            w⟨b⟩
            w⟨a⟩
            o⟨||⟩
            w⟨b⟩
            w⟨a⟩
            o⟨->>⟩
            s⟨'k'⟩
            w⟨a⟩
            o⟨@-⟩
            w⟨b⟩
            w⟨a⟩
            o⟨*⟩
            o⟨-⟩
            n⟨1⟩
            w⟨a⟩
            o⟨-⟩
            w⟨b⟩
            w⟨x⟩
            ::⟨::⟩
            w⟨int⟩
            w⟨a⟩
            .⟨:⟩
            w⟨b⟩
            o⟨?|⟩
            o⟨+⟩"#]],
    );
}

#[test]
fn comments_nest() {
    check(
        "a /* x /* y */ z */ b -- to the end\nc /* open",
        &expect![[r#"
        w⟨a⟩
        w⟨b⟩
        w⟨c⟩"#]],
    );
}

#[test]
fn parameters() {
    check(
        "$1 $23::int $ $a",
        &expect![[r#"
        p⟨$1⟩
        p⟨$23⟩
        ::⟨::⟩
        w⟨int⟩
        .⟨$⟩
        .⟨$⟩
        w⟨a⟩"#]],
    );
}
