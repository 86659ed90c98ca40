//! What the proxy itself says to a client: the only text of ours that an app may see.

use wire::backend::Report;

use trace::SqlState;

/// An error of the proxy's own, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: SqlState,
    pub(crate) message: String,
    pub(crate) hint: String,
    /// The function of PostgreSQL's source that raises such an error, where drivers look at it.
    routine: &'static str,
}

impl Answer {
    pub(crate) fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new(), routine: "" }
    }

    /// The same, as raised by this function of PostgreSQL's source.
    pub(crate) fn raised_by(self, routine: &'static str) -> Self {
        Self { routine, ..self }
    }

    /// Appends it as an error after which the session lives on.
    pub(crate) fn put_error(&self, out: &mut Vec<u8>) {
        self.put(out, b"ERROR");
    }

    /// Appends it as an error with which the session ends.
    pub(crate) fn put_fatal(&self, out: &mut Vec<u8>) {
        self.put(out, b"FATAL");
    }

    /// Appends it as something that is good to know.
    pub(crate) fn put_notice(&self, out: &mut Vec<u8>) {
        self.report(b"NOTICE").put_notice(out);
    }

    fn put(&self, out: &mut Vec<u8>, severity: &[u8]) {
        self.report(severity).put_error(out);
    }

    fn report<'a>(&'a self, severity: &'a [u8]) -> Report<'a> {
        Report {
            severity,
            code: self.code.as_str().as_bytes(),
            message: self.message.as_bytes(),
            hint: self.hint.as_bytes(),
            routine: self.routine.as_bytes(),
        }
    }

    pub(crate) fn shutting_down() -> Self {
        Self::new(SqlState::ADMIN_SHUTDOWN, "surgetank: the proxy is shutting down")
    }

    pub(crate) fn protocol(error: &wire::Error) -> Self {
        Self::new(SqlState::PROTOCOL_VIOLATION, format!("surgetank: {error}"))
    }

    pub(crate) fn no_database(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        let mut answer = Self::new(
            SqlState(*b"3D000"),
            format!("surgetank: no database \"{name}\" is configured"),
        );
        "name it in the configuration, or add an entry \"*\"".clone_into(&mut answer.hint);
        answer
    }

    pub(crate) fn disabled(name: &str) -> Self {
        let text = format!("surgetank: database \"{name}\" is disabled");
        Self::new(SqlState(*b"3D000"), text)
    }

    pub(crate) fn too_many_clients() -> Self {
        let mut answer = Self::new(
            SqlState::TOO_MANY_CONNECTIONS,
            "surgetank: no more connections allowed (max_client_conn)",
        );
        "SHOW CLIENTS on the admin database says who is here".clone_into(&mut answer.hint);
        answer
    }

    pub(crate) fn server_gone() -> Self {
        Self::new(
            SqlState::CONNECTION_FAILURE,
            "surgetank: the server closed the connection unexpectedly",
        )
    }
}
