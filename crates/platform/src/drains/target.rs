//! Where a drain's URL leads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

/// How lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A stream of counted syslog messages (RFC 6587, octet counting).
    Syslog,
    /// Such messages in the bodies of POST requests.
    Http,
}

/// A URL, understood.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) way: Way,
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
    /// What stands in `Authorization`, if the URL has a user.
    pub(super) authorization: Option<String>,
    /// The URL as it may be told: without credentials.
    pub(super) shown: String,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected syslog://HOST:PORT, syslog+tls://HOST:PORT or https://HOST/PATH";
        // The URL itself is not told: it may hold credentials.
        let mut url =
            Url::parse(text).map_err(|error| format!("Invalid URL: {error}; {expected}"))?;
        let (way, tls, default_port) = match url.scheme() {
            "syslog" => (Way::Syslog, false, 514),
            "syslog+tls" => (Way::Syslog, true, 6514),
            "https" => (Way::Http, true, 443),
            "http" => (Way::Http, false, 80),
            other => return Err(format!("Invalid URL: `{other}` is no way to send; {expected}")),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(format!("Invalid URL: no host; {expected}"));
        }
        let port = url.port().unwrap_or(default_port);
        let query = url.query().map_or(String::new(), |query| format!("?{query}"));
        let path = if url.path().is_empty() { "/" } else { url.path() };
        let path = format!("{path}{query}");
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let authorization = (!url.username().is_empty()).then(|| {
            let password = url.password().unwrap_or_default();
            let both = format!("{}:{}", plain(url.username()), plain(password));
            format!("Basic {}", STANDARD.encode(both))
        });
        // Both only fail for URLs without a host, which this one has.
        let _has_host = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        let shown = url.to_string();
        Ok(Self { way, tls, host, port, path, authorization, shown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn urls_are_understood() {
        let plain = target("syslog://logs.example.com:1234");
        assert_eq!((plain.way, plain.tls, plain.port), (Way::Syslog, false, 1234));
        assert_eq!(plain.host, "logs.example.com");
        assert_eq!(target("syslog://h").port, 514);
        let tls = target("syslog+tls://[::1]:6514");
        assert_eq!((tls.tls, tls.host.as_str()), (true, "::1"));
        let http = target("https://ann:s%40cret@logs.example.com/in?app=shop&key=s3cret");
        assert_eq!((http.way, http.tls, http.port), (Way::Http, true, 443));
        assert_eq!(http.path, "/in?app=shop&key=s3cret");
        assert_eq!(http.authorization.as_deref(), Some("Basic YW5uOnNAY3JldA=="));
        assert_eq!(http.shown, "https://logs.example.com/in");
        assert_eq!(target("http://127.0.0.1:9").path, "/");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_being_told() {
        for url in ["", "logs.example.com", "ftp://s3cret@h/", "syslog://", "https://s3cret@:1/"] {
            let Err(error) = Target::parse(url) else { panic!("{url}") };
            assert!(error.starts_with("Invalid URL") && !error.contains("s3cret"), "{error}");
        }
    }
}
