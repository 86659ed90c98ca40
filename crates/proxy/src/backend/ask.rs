//! Questions of our own, on a connection that serves nobody else at the moment.

use wire::backend::{self, Report, tag};
use wire::cursor::Cursor;
use wire::frame::body;
use wire::frontend;

use super::{Backend, OpenError};
use crate::settings::Registry;
use crate::statements::UnnamedOnServer;

impl Backend {
    /// Runs statements and gives the last row, its nulls as nothing. What the server says of its
    /// settings meanwhile is noted: it says it once, and the next session has to know.
    ///
    /// # Errors
    /// [`OpenError::Impossible`] if the server did not understand, which leaves the connection as
    /// it was; else it cannot be used any more.
    pub(crate) async fn ask(
        &mut self,
        settings: &Registry,
        text: &[u8],
    ) -> Result<Vec<String>, OpenError> {
        let row = self.ask_all(settings, text).await?.pop().unwrap_or_default();
        Ok(row.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Runs statements and gives all rows.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub(crate) async fn ask_all(
        &mut self,
        settings: &Registry,
        text: &[u8],
    ) -> Result<Vec<Vec<Option<String>>>, OpenError> {
        let mut messages = Vec::new();
        frontend::put_query(&mut messages, text);
        // "A simple Query message also destroys the unnamed statement."
        self.state.statements.unnamed = UnnamedOnServer::Free;
        self.send(&messages).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let message = self.receive().await?;
            match message.first() {
                Some(&tag::DATA_ROW) => rows.extend(columns(body(&message))),
                Some(&tag::PARAMETER_STATUS) => {
                    if let Ok((name, value)) = backend::parameter(body(&message)) {
                        let reported = &mut self.state.reported;
                        *reported = settings.reported_with(reported, name, value);
                    }
                }
                Some(&tag::ERROR_RESPONSE) => {
                    let report = Report::read(body(&message));
                    let words = String::from_utf8_lossy(report.message).into_owned();
                    if report.is_fatal() {
                        return Err(OpenError::Unreachable(words));
                    }
                    refused = Some(OpenError::Impossible(words));
                }
                Some(&tag::READY_FOR_QUERY) => return refused.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }
}

fn columns(row: &[u8]) -> Option<Vec<Option<String>>> {
    let mut cursor = Cursor::new(row);
    (0..cursor.i16()?)
        .map(|_| match usize::try_from(cursor.i32()?) {
            Ok(length) => Some(Some(String::from_utf8_lossy(cursor.bytes(length)?).into_owned())),
            Err(_) => Some(None),
        })
        .collect()
}
