//! `pgbouncer.ini`, read: sections, keys, included files, connection strings. Pure, and without
//! dependencies; what the keys mean is another file's affair.
//!
//! The rules are `PgBouncer`'s: a comment is a line that begins with `;` or `#`; there are none at
//! the end of a line; a key is a word or stands in double quotes; a value is the rest of its line;
//! `%include FILE` puts another file in the place of its line.

/// How deep files may include each other, as in `PgBouncer`.
const INCLUDES_MAX: usize = 10;

/// Most lines over all files: an include that includes its neighbours must come to an end.
const LINES_MAX: usize = 1_000_000;

/// Longest line.
const LINE_MAX: usize = 256 * 1024;

/// One `key = value`, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The section: `databases`, `pgbouncer`, `users`, …
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, without blanks around it.
    pub value: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Reads a file's text. `open` gives the text of an included file.
///
/// # Errors
/// The first line that is not understood.
pub(super) fn read(
    file: &str,
    text: &str,
    open: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Vec<Entry>, Wrong> {
    let mut reader = Reader { entries: Vec::new(), section: None, lines: 0, open };
    reader.file(file, text, 0)?;
    Ok(reader.entries)
}

struct Reader<'a> {
    entries: Vec<Entry>,
    section: Option<String>,
    lines: usize,
    open: &'a mut dyn FnMut(&str) -> Result<String, String>,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, text: &str, depth: usize) -> Result<(), Wrong> {
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: String| Wrong { file: file.to_owned(), line: index + 1, what };
            self.lines += 1;
            if self.lines > LINES_MAX || line.len() > LINE_MAX {
                return Err(wrong("too long".to_owned()));
            }
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("%include") {
                let name = rest.trim();
                if !rest.starts_with([' ', '\t']) || name.is_empty() {
                    return Err(wrong("write: %include FILE".to_owned()));
                }
                if depth >= INCLUDES_MAX {
                    return Err(wrong(format!("files include each other: {name}")));
                }
                let text = (self.open)(name).map_err(|why| wrong(format!("{name}: {why}")))?;
                self.file(name, &text, depth + 1)?;
            } else if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').map(str::trim).filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| wrong("write: [section]".to_owned()))?;
                self.section = Some(name.to_owned());
            } else if !line.is_empty() && !line.starts_with([';', '#']) {
                let (key, value) = key_and_value(line).map_err(wrong)?;
                let section = self.section.clone();
                let section = section.ok_or_else(|| wrong("before any [section]".to_owned()))?;
                let (file, line) = (file.to_owned(), index + 1);
                self.entries.push(Entry { section, key, value, file, line });
            }
        }
        Ok(())
    }
}

fn key_and_value(line: &str) -> Result<(String, String), String> {
    let (key, rest) = if line.starts_with('"') {
        quoted(line, '"').ok_or("a quoted name does not end")?
    } else {
        let is_part = |c: char| c.is_alphanumeric() || "_.-*$".contains(c);
        let end = line.find(|c| !is_part(c)).unwrap_or(line.len());
        (line[..end].to_owned(), &line[end..])
    };
    let value = rest.trim_start().strip_prefix('=').ok_or("write: key = value")?;
    if key.is_empty() {
        return Err("there is no key before the =".to_owned());
    }
    Ok((key, value.trim().to_owned()))
}

/// A text in quotes, in which a double quote stands for one; and what follows it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut word = String::new();
    loop {
        let end = rest.find(quote)?;
        word.push_str(&rest[..end]);
        rest = &rest[end + quote.len_utf8()..];
        match rest.strip_prefix(quote) {
            Some(more) => {
                word.push(quote);
                rest = more;
            }
            None => return Some((word, rest)),
        }
    }
}

/// The parts of a connection string, `host=… port=…`: values with blanks stand in single quotes, in
/// which two stand for one.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn connection_string(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("write: key=value key='value' …")?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("{key:?} is not a key"));
        }
        let after = after.trim_start();
        let (value, after) = if after.starts_with('\'') {
            quoted(after, '\'').ok_or_else(|| format!("the value of {key} does not end"))?
        } else {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!("there is something behind the quoted value of {key}"));
        }
        parts.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    #[test]
    fn sections_keys_comments_and_quotes() {
        let text = "; a comment\n[databases]\n\"my \"\"db\"\"\" = host=h\n* = port=1\n\n\
                    [pgbouncer]\n  # another\n  listen_addr=*  \nauth_query = SELECT a ; b\n";
        let entries = read("x.ini", text, &mut nothing).unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (&*entry.section, &*entry.key, &*entry.value, entry.line))
            .collect();
        let expected = [
            ("databases", "my \"db\"", "host=h", 3),
            ("databases", "*", "port=1", 4),
            ("pgbouncer", "listen_addr", "*", 8),
            ("pgbouncer", "auth_query", "SELECT a ; b", 9),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_included_file_stands_where_it_is_named() {
        let mut open = |name: &str| match name {
            "/etc/more.ini" => Ok("a = 1\n[users]\nb = 2".to_owned()),
            "/etc/loop.ini" => Ok("%include /etc/loop.ini".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        let text = "[pgbouncer]\n%include /etc/more.ini\nc = 3";
        let entries = read("x.ini", text, &mut open).unwrap();
        let seen: Vec<_> =
            entries.iter().map(|e| (&*e.section, &*e.key, &*e.file, e.line)).collect();
        let expected = [
            ("pgbouncer", "a", "/etc/more.ini", 1),
            ("users", "b", "/etc/more.ini", 3),
            ("users", "c", "x.ini", 3),
        ];
        assert_eq!(seen, expected);
        let wrong = read("x.ini", "[a]\n%include none", &mut open).unwrap_err();
        assert_eq!(wrong.to_string(), "x.ini:2: none: no such file");
        let wrong = read("x.ini", "%include /etc/loop.ini", &mut open).unwrap_err();
        assert!(wrong.what.starts_with("files include each other"), "{wrong}");
    }

    #[test]
    fn what_is_not_understood_says_where() {
        let cases = [
            ("a = 1", "x.ini:1: before any [section]"),
            ("[a\nb = 1", "x.ini:1: write: [section]"),
            ("[ ]\nb = 1", "x.ini:1: write: [section]"),
            ("[a]\nb", "x.ini:2: write: key = value"),
            ("[a]\nb c = 1", "x.ini:2: write: key = value"),
            ("[a]\n= 1", "x.ini:2: there is no key before the ="),
            ("[a]\n\"b = 1", "x.ini:2: a quoted name does not end"),
        ];
        for (text, expected) in cases {
            assert_eq!(read("x.ini", text, &mut nothing).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn connection_strings() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let cases: [(&str, &[(&str, &str)]); 5] = [
            ("", &[]),
            ("host=h port=1", &[("host", "h"), ("port", "1")]),
            (
                "host = h  password='a ''b'' c' x=",
                &[("host", "h"), ("password", "a 'b' c"), ("x", "")],
            ),
            ("a=b=c", &[("a", "b=c")]),
            ("connect_query='SELECT 1'", &[("connect_query", "SELECT 1")]),
        ];
        for (text, expected) in cases {
            assert_eq!(connection_string(text), Ok(own(expected)), "{text}");
        }
        for text in ["host", "a b=c", "=x", "a='b", "a='b'c=d"] {
            assert!(connection_string(text).is_err(), "{text}");
        }
    }
}
