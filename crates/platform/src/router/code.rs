//! Heroku's error codes, as far as this router can produce them (Dev Center, "Error codes").

/// Why a request had no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    H10,
    H12,
    H13,
    H14,
    H15,
    H17,
    H18,
    H19,
    H20,
    H21,
    H24,
    H26,
    H27,
    H28,
    H99,
}

impl Code {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H10 => "H10",
            Self::H12 => "H12",
            Self::H13 => "H13",
            Self::H14 => "H14",
            Self::H15 => "H15",
            Self::H17 => "H17",
            Self::H18 => "H18",
            Self::H19 => "H19",
            Self::H20 => "H20",
            Self::H21 => "H21",
            Self::H24 => "H24",
            Self::H26 => "H26",
            Self::H27 => "H27",
            Self::H28 => "H28",
            Self::H99 => "H99",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::H10 => "App crashed",
            Self::H12 => "Request timeout",
            Self::H13 => "Connection closed without response",
            Self::H14 => "No web dynos running",
            Self::H15 => "Idle connection",
            Self::H17 => "Poorly formatted HTTP response",
            Self::H18 => "Server Request Interrupted",
            Self::H19 => "Backend connection timeout",
            Self::H20 => "App boot timeout",
            Self::H21 => "Backend connection refused",
            Self::H24 => "Forced close",
            Self::H26 => "Request Error",
            Self::H27 => "Client Request Interrupted",
            Self::H28 => "Client Connection Idle",
            Self::H99 => "Platform error",
        }
    }

    pub(super) fn status(self) -> u16 {
        match self {
            Self::H26 => 400,
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
            _ => "at=error",
        }
    }
}
