//! A line of `pg_hba.conf`, read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Addresses, Kind, Method, Name, Named, Rule};

/// A word of a line; what was quoted loses its special meaning.
#[derive(Debug)]
struct Word {
    text: String,
    quoted: bool,
}

/// Reads one line; nothing if it is empty or a comment.
pub(super) fn line(line: &str) -> Result<Option<Rule>, String> {
    let mut fields = fields(line)?.into_iter();
    let Some(first) = fields.next() else { return Ok(None) };
    let kind = kind(&single(first, "type")?)?;
    let mut next = |what: &str| fields.next().ok_or_else(|| format!("the {what} is missing"));
    let databases = names(next("database")?, database)?;
    let users = names(next("user")?, user)?;
    let addresses = match kind {
        Kind::Local => Addresses::All,
        Kind::Host | Kind::HostSsl | Kind::HostNoSsl => {
            let address = single(next("address")?, "address")?;
            match address.parse::<IpAddr>() {
                Ok(ip) => with_mask(ip, &single(next("mask")?, "mask")?)?,
                Err(_) => network(&address)?,
            }
        }
    };
    let method = method(&single(next("method")?, "method")?)?;
    if method == Method::Peer && kind != Kind::Local {
        return Err("the method peer is for local lines".to_owned());
    }
    let mut certificate = (method == Method::Cert).then_some(Named::AsUser);
    for option in fields {
        certificate = match (single(option, "option")?.as_str(), method) {
            ("clientcert=verify-full", _) => Some(Named::AsUser),
            ("clientcert=verify-ca", Method::Cert) => {
                return Err("the method cert always compares the name".to_owned());
            }
            ("clientcert=verify-ca", _) => Some(Named::Anyhow),
            (other, _) => return Err(format!("option {other:?} is not supported")),
        };
    }
    if kind != Kind::HostSsl && certificate.is_some() {
        return Err("certificates are for hostssl lines".to_owned());
    }
    Ok(Some(Rule { kind, databases, users, addresses, method, certificate }))
}

/// Splits a line at white space, each field at commas.
fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut after_comma = false;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '#' => break,
            '"' => {
                let word = word.get_or_insert(Word { text: String::new(), quoted: true });
                word.quoted = true;
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some(inner) => word.text.push(inner),
                        None => return Err("a quote is not closed".to_owned()),
                    }
                }
                after_comma = false;
            }
            ',' => {
                words.extend(word.take());
                after_comma = true;
            }
            char if char.is_whitespace() => {
                words.extend(word.take());
                // White space after a comma does not end the field.
                if !after_comma && !words.is_empty() {
                    fields.push(std::mem::take(&mut words));
                }
            }
            char => {
                word.get_or_insert(Word { text: String::new(), quoted: false }).text.push(char);
                after_comma = false;
            }
        }
    }
    words.extend(word);
    if !words.is_empty() {
        fields.push(words);
    }
    Ok(fields)
}

fn single(words: Vec<Word>, what: &str) -> Result<String, String> {
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (Some(word), None) => Ok(word.text),
        _ => Err(format!("only one {what} can be given")),
    }
}

fn names(
    words: Vec<Word>,
    special: impl Fn(&str) -> Result<Option<Name>, String>,
) -> Result<Vec<Name>, String> {
    let name = |word: Word| {
        let known = if word.quoted { None } else { special(&word.text)? };
        Ok(known.unwrap_or_else(|| Name::Is(word.text.into_bytes().into())))
    };
    words.into_iter().map(name).collect()
}

fn kind(word: &str) -> Result<Kind, String> {
    match word {
        "local" => Ok(Kind::Local),
        // There is no GSSAPI encryption here.
        "host" | "hostnogssenc" => Ok(Kind::Host),
        "hostssl" => Ok(Kind::HostSsl),
        "hostnossl" => Ok(Kind::HostNoSsl),
        other => {
            Err(format!("type {other:?} is not supported; local, host, hostssl and hostnossl are"))
        }
    }
}

fn database(word: &str) -> Result<Option<Name>, String> {
    match word {
        "all" => Ok(Some(Name::All)),
        "sameuser" => Ok(Some(Name::SameUser)),
        "samerole" | "samegroup" | "replication" => {
            Err(format!("database {word} is not supported"))
        }
        _ => plain(word, "database"),
    }
}

fn user(word: &str) -> Result<Option<Name>, String> {
    match word {
        "all" => Ok(Some(Name::All)),
        _ if word.starts_with('+') => Err(format!("members of a role ({word}) are not supported")),
        _ => plain(word, "user"),
    }
}

fn plain(word: &str, what: &str) -> Result<Option<Name>, String> {
    match word.chars().next() {
        Some('@') => Err(format!("{what} {word}: names in another file are not supported")),
        Some('/') => Err(format!("{what} {word}: regular expressions are not supported")),
        _ => Ok(None),
    }
}

fn network(word: &str) -> Result<Addresses, String> {
    if word == "all" {
        return Ok(Addresses::All);
    }
    let Some((ip, bits)) = word.split_once('/') else {
        return Err(format!(
            "address {word:?} is not supported; all, ADDRESS/BITS and ADDRESS MASK are"
        ));
    };
    let wrong = || format!("address {word:?} is not a network");
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    let mask: IpAddr = match ip {
        IpAddr::V4(_) if bits <= 32 => {
            Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()
        }
        IpAddr::V6(_) if bits <= 128 => {
            Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return Err(wrong()),
    };
    Ok(Addresses::Net(ip, mask))
}

fn with_mask(ip: IpAddr, mask: &str) -> Result<Addresses, String> {
    match mask.parse::<IpAddr>() {
        Ok(mask) if mask.is_ipv4() == ip.is_ipv4() => Ok(Addresses::Net(ip, mask)),
        _ => Err(format!("{mask:?} is not a mask for {ip}; write ADDRESS/BITS or ADDRESS MASK")),
    }
}

fn method(word: &str) -> Result<Method, String> {
    match word {
        "trust" => Ok(Method::Trust),
        "reject" => Ok(Method::Reject),
        "md5" => Ok(Method::Md5),
        "scram-sha-256" => Ok(Method::Scram),
        "password" => Ok(Method::Password),
        "cert" => Ok(Method::Cert),
        "peer" => Ok(Method::Peer),
        other => Err(format!(
            "method {other:?} is not supported; trust, reject, md5, scram-sha-256, password, cert \
             and peer are"
        )),
    }
}
