//! Which settings a string of statements may change, by name.
//!
//! Only names: whether the change lasted, and what the value is, PostgreSQL alone can tell once the
//! transaction is over. So it does no harm to name too many.

use crate::classify::{ends_in_true, is_call};
use crate::lexer::{Lexer, Token, TokenKind};

/// What a text may put back to its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restored {
    /// Nothing.
    #[default]
    Nothing,
    /// Some of the settings that it names.
    Some,
    /// All settings (`RESET ALL`, `DISCARD ALL`).
    Everything,
}

/// The settings that a text may change; names in lower case, as `current_setting` takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Those whose change may outlast the transaction.
    pub names: Vec<String>,
    /// Those changed for the transaction only.
    pub local: Vec<String>,
    /// What may go back to its default.
    pub restored: Restored,
    /// Whether a setting is changed for the session whose name cannot be known.
    pub unknown: bool,
    /// Whether that is so because its name is computed (`set_config(a || b, …)`), and not because
    /// SQL is run that cannot be read.
    pub computed: bool,
}

impl Touched {
    fn restore(&mut self, restored: Restored) {
        self.restored = self.restored.max(restored);
    }

    fn add(&mut self, lasting: bool, names: &[&str]) {
        let place = if lasting { &mut self.names } else { &mut self.local };
        for name in names {
            if !place.iter().any(|known| known == name) {
                place.push((*name).to_owned());
            }
        }
    }
}

/// Reads a text for which [`crate::read`] says `Set` or `SetLocal`.
#[must_use]
pub fn settings(text: &str) -> Touched {
    let mut touched = Touched::default();
    read(text, Place::Statements, &mut touched);
    touched
}

/// Reads the body of a function or of a `DO` block: SQL, or a language in which it is embedded.
#[must_use]
pub fn body_settings(body: &str) -> Touched {
    let mut touched = Touched::default();
    read(body, Place::Body, &mut touched);
    touched
}

/// Where a text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Statements, separated by `;`.
    Statements,
    /// A body, in which a statement may begin anywhere, and be made of strings.
    Body,
}

fn read(text: &str, place: Place, touched: &mut Touched) {
    let mut lexer = Lexer::new(text);
    let mut at_start = true;
    let mut is_do = false;
    while let Some(token) = lexer.next() {
        is_do = lexer.is_word(token, "do") && at_start || is_do && !at_start;
        let is_body = place == Place::Body || is_do;
        if is_body {
            read_in_body(lexer, token, touched);
        }
        if at_start || place == Place::Body {
            if lexer.is_word(token, "set") {
                set(lexer, touched);
            } else if lexer.is_word(token, "reset") {
                reset(lexer, touched);
            } else if lexer.is_word(token, "discard") {
                let all = lexer.clone().next();
                if all.is_some_and(|all| lexer.is_word(all, "all")) {
                    touched.restore(Restored::Everything);
                }
            }
        }
        if is_name(lexer, token, "set_config") && is_call(lexer) {
            set_config(lexer, touched);
        }
        if lexer.is_word(token, "default") {
            touched.restore(Restored::Some);
        }
        at_start = token.is_byte(b';');
    }
}

/// What stands in a body only: strings that may be statements, and `EXECUTE` of what cannot be
/// read.
fn read_in_body(lexer: Lexer<'_>, token: Token, touched: &mut Touched) {
    if token.kind == TokenKind::String {
        read(&content_of(lexer.text(token)), Place::Body, touched);
    }
    if lexer.is_word(token, "execute") {
        let mut behind = lexer;
        let next = behind.next();
        let is_format = next.is_some_and(|next| lexer.is_word(next, "format"));
        let what = if is_format { behind.nth(1) } else { next };
        let is_read = what.is_some_and(|what| {
            // `EXECUTE FUNCTION`, of a trigger.
            what.kind == TokenKind::String
                || ["function", "procedure", "on"].iter().any(|word| lexer.is_word(what, word))
        });
        touched.unknown |= !is_read;
    }
}

/// What stands between the quotes of a string.
fn content_of(string: &str) -> String {
    if let Some((tag, rest)) = string.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
        let end = format!("${tag}$");
        return rest.strip_suffix(end.as_str()).unwrap_or(rest).to_owned();
    }
    let inner = string.find('\'').map_or(string, |open| &string[open + 1..]);
    inner.strip_suffix('\'').unwrap_or(inner).replace("''", "'")
}

fn is_name(lexer: Lexer<'_>, token: Token, name: &str) -> bool {
    lexer.is_word(token, name)
        || (token.kind == TokenKind::Quoted
            && lexer.bytes(token) == format!("\"{name}\"").as_bytes())
}

/// What follows `SET`.
fn set(mut lexer: Lexer<'_>, touched: &mut Touched) {
    let Some(mut token) = lexer.next() else { return };
    let lasting = !lexer.is_word(token, "local");
    if !lasting || lexer.is_word(token, "session") {
        let scope = token;
        match lexer.next() {
            Some(next) => token = next,
            None => return,
        }
        // `SET session = 1` is a setting of that name, and an unknown one.
        if token.is_byte(b'=') || lexer.is_word(token, "to") {
            return touched.add(true, &[&lexer.name(scope)]);
        }
    }
    let word = lexer.name(token);
    let names: &[&str] = match word.as_str() {
        "transaction" | "constraints" if token.kind == TokenKind::Word => &[],
        "time" if lexer.clone().next().is_some_and(|zone| lexer.is_word(zone, "zone")) => {
            &["timezone"]
        }
        "names" => &["client_encoding"],
        "schema" => &["search_path"],
        "role" => &["role"],
        "authorization" => &["session_authorization", "role"],
        "characteristics" => &[
            "default_transaction_isolation",
            "default_transaction_read_only",
            "default_transaction_deferrable",
        ],
        "xml" => &["xmloption"],
        _ => return touched.add(lasting, &[&lexer.dotted(token)]),
    };
    touched.add(lasting, names);
}

/// What follows `RESET`.
fn reset(mut lexer: Lexer<'_>, touched: &mut Touched) {
    let Some(token) = lexer.next() else { return };
    touched.restore(Restored::Some);
    match lexer.name(token).as_str() {
        "all" if token.kind == TokenKind::Word => touched.restore(Restored::Everything),
        "time" => touched.add(true, &["timezone"]),
        "session" => touched.add(true, &["session_authorization", "role"]),
        "transaction" => {}
        _ => touched.add(true, &[&lexer.dotted(token)]),
    }
}

/// What follows `set_config`: a name that is a plain literal is known.
fn set_config(mut lexer: Lexer<'_>, touched: &mut Touched) {
    let lasting = !ends_in_true(lexer);
    let _open = lexer.next();
    let literal = lexer.next();
    let ends = lexer.next().is_some_and(|comma| comma.is_byte(b','));
    // A value of NULL resets it.
    touched.restore(Restored::Some);
    match literal.and_then(|token| lexer.plain_string(token)) {
        Some(name) if ends => touched.add(lasting, &[&name.to_ascii_lowercase()]),
        _ => {
            touched.unknown |= lasting;
            touched.computed |= lasting;
        }
    }
}

impl Lexer<'_> {
    fn text(&self, token: Token) -> &str {
        std::str::from_utf8(self.bytes(token)).unwrap_or_default()
    }

    /// The name that a word or quoted identifier stands for. Names of settings have no case.
    fn name(&self, token: Token) -> String {
        let text = self.text(token);
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        quoted.map_or_else(|| text.to_owned(), |q| q.replace("\"\"", "\"")).to_ascii_lowercase()
    }

    /// A name and what follows it after dots.
    fn dotted(mut self, first: Token) -> String {
        let mut name = self.name(first);
        while self.clone().next().is_some_and(|dot| dot.is_byte(b'.')) {
            self.next();
            let Some(part) = self.next() else { break };
            name.push('.');
            name.push_str(&self.name(part));
        }
        name
    }

    /// The content of `'…'` without continuation or prefix.
    fn plain_string(&self, token: Token) -> Option<String> {
        let inner = self.text(token).strip_prefix('\'')?.strip_suffix('\'')?;
        let text = inner.replace("''", "\u{0}");
        let is_plain = !text.contains('\'') && !text.contains('\\');
        is_plain.then(|| text.replace('\u{0}', "'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, names: &[&str]) -> Touched {
        let touched = settings(text);
        assert_eq!(touched.names, names, "{text}");
        touched
    }

    #[test]
    fn names_of_lasting_changes() {
        let cases: &[(&str, &[&str])] = &[
            ("SET Work_Mem = '1MB'", &["work_mem"]),
            ("set session work_mem to default", &["work_mem"]),
            ("SET TIME ZONE 'UTC'", &["timezone"]),
            ("set session time zone local", &["timezone"]),
            ("SET NAMES 'latin1'", &["client_encoding"]),
            ("SET SCHEMA 'x'", &["search_path"]),
            ("SET ROLE bob", &["role"]),
            ("set session role none", &["role"]),
            ("SET SESSION AUTHORIZATION bob", &["session_authorization", "role"]),
            ("SET XML OPTION DOCUMENT", &["xmloption"]),
            ("SET app.user = '7'", &["app.user"]),
            ("SET \"App\".\"User\" = '7'", &["app.user"]),
            ("SET \"app.user\" TO 7", &["app.user"]),
            ("SELECT 1; SET a = 1; /* x */ RESET b ; set A = 2", &["a", "b"]),
            ("RESET TIME ZONE", &["timezone"]),
            ("RESET SESSION AUTHORIZATION", &["session_authorization", "role"]),
            ("RESET app.user", &["app.user"]),
            ("SELECT set_config('app.User', $1, false)", &["app.user"]),
            ("SELECT pg_catalog.set_config('a', 'b', $2), set_config('c', '', false)", &["a", "c"]),
            ("SET LOCAL a = 1", &[]),
            ("SET LOCAL ROLE bob", &[]),
            ("SET TRANSACTION READ ONLY", &[]),
            ("SET CONSTRAINTS ALL DEFERRED", &[]),
            ("SELECT set_config('a', 'b', true)", &[]),
            ("UPDATE t SET a = 1", &[]),
            ("SET", &[]),
            ("SET SESSION", &[]),
            ("RESET", &[]),
        ];
        for (text, names) in cases {
            let touched = check(text, names);
            assert!(touched.restored != Restored::Everything && !touched.unknown, "{text}");
        }
        let characteristics = settings("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
        assert_eq!(characteristics.names.len(), 3);
    }

    #[test]
    fn changes_for_the_transaction_only() {
        assert_eq!(settings("SET LOCAL TimeZone = 'UTC'").local, ["timezone"]);
        assert_eq!(settings("SELECT set_config('role', $1, true)").local, ["role"]);
        assert!(!settings("SELECT set_config($1, $2, true)").unknown);
    }

    #[test]
    fn what_may_go_back_and_what_cannot_be_known() {
        assert_eq!(check("RESET ALL", &[]).restored, Restored::Everything);
        assert_eq!(check("DISCARD ALL", &[]).restored, Restored::Everything);
        assert_eq!(check("DISCARD PLANS", &[]).restored, Restored::Nothing);
        assert_eq!(check("SET a TO DEFAULT", &["a"]).restored, Restored::Some);
        assert_eq!(check("SET a TO 1", &["a"]).restored, Restored::Nothing);
        assert!(check("SELECT set_config($1, $2, false)", &[]).unknown);
        assert!(check("SELECT set_config(name, 'x', false) FROM t", &[]).unknown);
        assert!(check("SELECT set_config('a' || 'b', 'x', false)", &[]).unknown);
        assert!(check("SELECT set_config(E'a', 'x', false)", &[]).unknown);
    }

    #[test]
    fn names_in_bodies() {
        let cases = [
            ("begin set work_mem = '1MB'; end", "work_mem"),
            ("begin perform set_config('app.x', v, false); end", "app.x"),
            ("begin execute 'set app.y to ' || quote_literal(v); end", "app.y"),
            ("begin execute format('set local app.z to %L', v); end", ""),
            ("begin execute $q$select set_config('app.q', '1', false)$q$; end", "app.q"),
        ];
        for (body, expected) in cases {
            let touched = body_settings(body);
            assert_eq!(touched.names.join(" "), expected, "{body}");
            assert!(!touched.unknown, "{body}");
        }
        assert!(body_settings("begin execute what; end").unknown);
        assert!(!body_settings("create trigger t execute function f()").unknown);
        assert_eq!(settings("do $$begin set a.b = 1; end$$; select 1").names, ["a.b"]);
        assert_eq!(settings("do 'begin execute ''reset role''; end'").names, ["role"]);
    }
}
