//! Heroku's error codes, as far as this router can produce them (Dev Center, "Error codes").

/// Why a request had no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    H10,
    H11,
    H12,
    H13,
    H14,
    H15,
    H17,
    H18,
    H19,
    H20,
    H21,
    H22,
    H24,
    H25(Restriction),
    H26(Mistake),
    H27,
    H28,
    H80,
    H99,
}

/// What of an answer is more than Heroku lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restriction {
    ContentLength,
    Cookie,
    Header,
    StatusLine,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// It cannot be read as HTTP.
    Malformed,
    /// A router to one app is no way to anywhere else.
    Connect,
    /// Only `100-continue` can be expected.
    Expect,
    RequestLine,
    Header,
    HeaderName,
    Headers,
}

impl Mistake {
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::Malformed => "bad request",
            Self::Connect => "unsupported method",
            Self::Expect => "unsupported expect header value",
            Self::RequestLine => "request line too long",
            Self::Header => "header too long",
            Self::HeaderName => "header name too long",
            Self::Headers => "too many headers",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Expect => 417,
            Self::RequestLine => 414,
            Self::Connect => 405,
            Self::Malformed | Self::Header | Self::HeaderName | Self::Headers => 400,
        }
    }
}

impl Code {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H10 => "H10",
            Self::H11 => "H11",
            Self::H12 => "H12",
            Self::H13 => "H13",
            Self::H14 => "H14",
            Self::H15 => "H15",
            Self::H17 => "H17",
            Self::H18 => "H18",
            Self::H19 => "H19",
            Self::H20 => "H20",
            Self::H21 => "H21",
            Self::H22 => "H22",
            Self::H24 => "H24",
            Self::H25(_) => "H25",
            Self::H26(_) => "H26",
            Self::H27 => "H27",
            Self::H28 => "H28",
            Self::H80 => "H80",
            Self::H99 => "H99",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::H10 => "App crashed",
            Self::H11 => "Backlog too deep",
            Self::H12 => "Request timeout",
            Self::H13 => "Connection closed without response",
            Self::H14 => "No web dynos running",
            Self::H15 => "Idle connection",
            Self::H17 => "Poorly formatted HTTP response",
            Self::H18 => "Server Request Interrupted",
            Self::H19 => "Backend connection timeout",
            Self::H20 => "App boot timeout",
            Self::H21 => "Backend connection refused",
            Self::H22 => "Connection limit reached",
            Self::H24 => "Forced close",
            Self::H25(Restriction::ContentLength) => "HTTP restriction: invalid content length",
            Self::H25(Restriction::Cookie) => "HTTP restriction: oversized cookie",
            Self::H25(Restriction::Header) => "HTTP restriction: oversized header",
            Self::H25(Restriction::StatusLine) => "HTTP restriction: oversized status line",
            Self::H26(_) => "Request Error",
            Self::H27 => "Client Request Interrupted",
            Self::H28 => "Client Connection Idle",
            Self::H80 => "Maintenance mode",
            Self::H99 => "Platform error",
        }
    }

    pub(super) fn status(self) -> u16 {
        match self {
            Self::H25(_) => 502,
            Self::H26(mistake) => mistake.status(),
            // The client has gone or is silent: a status for the log only.
            Self::H27 | Self::H28 => 499,
            _ => 503,
        }
    }

    /// What the log line begins with: which side broke off, and how grave it is.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::H18 => "sock=backend at=error",
            Self::H27 => "sock=client at=warning",
            Self::H28 => "sock=client at=error",
            Self::H80 => "at=info",
            _ => "at=error",
        }
    }
}
