//! Questions of our own, on a connection that serves nobody else at the moment.

use wire::backend::{Report, tag};
use wire::cursor::Cursor;
use wire::frame::body;
use wire::frontend;

use super::{Backend, OpenError};
use crate::statements::OnServer;

impl Backend {
    /// Runs statements and gives the last row, its nulls as nothing.
    ///
    /// # Errors
    /// [`OpenError::Impossible`] if the server did not understand, which leaves the connection as
    /// it was; else it cannot be used any more.
    pub(crate) async fn ask(&mut self, text: &[u8]) -> Result<Vec<String>, OpenError> {
        let mut messages = Vec::new();
        frontend::put_query(&mut messages, text);
        // "A simple Query message also destroys the unnamed statement."
        self.state.statements.unnamed = OnServer::Nobodys;
        self.send(&messages).await?;
        let mut last = Vec::new();
        let mut refused = None;
        loop {
            let message = self.receive().await?;
            match message.first() {
                Some(&tag::DATA_ROW) => last = columns(body(&message)).unwrap_or_default(),
                Some(&tag::ERROR_RESPONSE) => {
                    let report = Report::read(body(&message));
                    let words = String::from_utf8_lossy(report.message).into_owned();
                    if report.is_fatal() {
                        return Err(OpenError::Unreachable(words));
                    }
                    refused = Some(OpenError::Impossible(words));
                }
                Some(&tag::READY_FOR_QUERY) => return refused.map_or(Ok(last), Err),
                _ => {}
            }
        }
    }
}

fn columns(row: &[u8]) -> Option<Vec<String>> {
    let mut cursor = Cursor::new(row);
    (0..cursor.i16()?)
        .map(|_| {
            let length = usize::try_from(cursor.i32()?).unwrap_or(0);
            Some(String::from_utf8_lossy(cursor.bytes(length)?).into_owned())
        })
        .collect()
}
