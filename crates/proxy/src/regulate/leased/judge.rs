//! What becomes of the bytes that pass, in both directions.

use trace::Micros;
use wire::backend::tag as reply;
use wire::frame::body;
use wire::frontend::tag;

use super::copies::DESCRIPTION_MAX;
use super::{AsksAlong, Fate, FirstRequest, Leased, Repeat, Replies, client_want, malformed};
use crate::buffer::{Inbox, Outbox};
use crate::conversation::Shown;
use crate::observe::server_want;
use crate::pump::{ClientEnd, End, Judge};
use crate::regulate::question::ROW_MAX;

/// The message with which a client leaves.
const TERMINATE: [u8; 5] = [tag::TERMINATE, 0, 0, 0, 4];

impl Judge for Leased<'_> {
    fn hear_client(
        &mut self,
        client: &mut Inbox,
        to_server: &mut Outbox,
        (from_server, to_client): (&mut Inbox, &mut Outbox),
        now: Micros,
    ) -> Result<(), End> {
        self.first_request = FirstRequest::Heard;
        self.open_block(to_server.bytes());
        let mut replies = Replies(from_server, to_client);
        let leaves = client.ends_with(&TERMINATE);
        self.waits.paced = false;
        while self.hears_client() && !to_server.is_full() && !replies.1.is_full() {
            let Some(piece) = client.step(client_want).map_err(|error| malformed(&error))? else {
                break;
            };
            self.talk.residue.resume();
            let fate = if piece.part.begins() {
                let content = body(client.peek(piece.len));
                let fate = self.message(piece, content, &mut replies, now)?;
                match fate {
                    Fate::Hold => {
                        self.hold(client, to_server);
                        break;
                    }
                    Fate::End => {
                        client.end_here(to_server);
                        break;
                    }
                    Fate::Pass | Fate::Drop | Fate::Behead(_) => {}
                }
                self.note_changes();
                self.rest = if fate == Fate::Drop { Fate::Drop } else { Fate::Pass };
                fate
            } else {
                self.rest
            };
            self.is_within = !piece.part.ends();
            self.talk.conversation.bytes_in(piece.len);
            self.send(fate, piece.len, client, to_server);
            if self.asks_along != AsksAlong::Nothing
                && matches!(piece.tag, tag::QUERY | tag::SYNC | tag::FUNCTION_CALL)
                && !self.is_within
            {
                self.ask_along(client, to_server);
            }
            // One that leaves may be gone before the first answer: then the others are not run.
            self.waits.paced = leaves && matches!(piece.tag, tag::QUERY | tag::SYNC);
        }
        self.notify(&mut replies);
        self.note_work(now);
        Ok(())
    }

    fn hear_server(
        &mut self,
        server: &mut Inbox,
        to_client: &mut Outbox,
        now: Micros,
    ) -> Result<(), End> {
        self.last.at = now;
        self.take_turns(&mut Replies(server, to_client));
        self.waits.held = false;
        loop {
            let passed = self.pass_bulk(server);
            self.talk.conversation.passed(passed, now);
            let is_aside = self.talk.conversation.hears_aside();
            let is_description = self.talk.conversation.hears_description();
            let want = |message: u8, total: usize| match (is_aside, is_description) {
                (true, _) => total.min(ROW_MAX),
                (false, true) => total.min(DESCRIPTION_MAX),
                (false, false) => server_want(message, total),
            };
            let Some(piece) = server.step(want).map_err(End::ServerBroken)? else { break };
            if piece.part.begins() {
                self.shown = if piece.tag == reply::ERROR_RESPONSE {
                    self.error(piece, server, to_client, now)?
                } else {
                    self.reply(piece, server.peek(piece.len), now)?
                };
                if piece.tag == reply::READY_FOR_QUERY
                    && self.shown == Shown::Client
                    && self.withholds_ready()
                {
                    self.shown = Shown::Nobody;
                }
            } else if self.shown == Shown::Client {
                self.talk.conversation.bytes_out(piece.len);
            }
            match self.shown {
                Shown::Client => server.pass(piece.len),
                Shown::Nobody => server.skip(piece.len, to_client),
            }
            let mut replies = Replies(server, to_client);
            if is_aside {
                self.settle(&mut replies);
                self.deliver_late(&mut replies);
                self.notify(&mut replies);
            }
            if piece.part.begins() {
                self.take_turns(&mut replies);
            }
            if self.waits.ready_withheld {
                break;
            }
        }
        Ok(())
    }

    #[inline]
    fn hears_client(&self) -> bool {
        let is_whole = !self.is_within;
        let conversation = &self.talk.conversation;
        let is_paced =
            self.waits.paced && conversation.is_anything_due() && !conversation.takes_copy_data();
        let waits =
            (!self.asides.is_empty() && self.holds_back()) || conversation.holds_back() || is_paced;
        let is_fit = self.unfit.is_none() && self.needs.is_none();
        let is_free = is_fit && !self.waits.held && !self.waits.ready_withheld;
        is_free && !(is_whole && waits)
    }

    fn is_done(&mut self, to_server: &mut Outbox) -> bool {
        // Given back before the request that waited for the session's settings, the server
        // connection would get the settings of the next session that waits, and so on for ever.
        let is_first_due = self.first_request == FirstRequest::Due && self.unfit.is_none();
        if self.waits.ready_withheld || is_first_due {
            return false;
        }
        let is_done = self.wind_up(to_server);
        if !is_done {
            self.note_rest();
        }
        is_done
    }

    fn may_repeat(&self) -> bool {
        self.repeat != Repeat::No
    }

    fn awaits_client(&self) -> bool {
        self.talk.conversation.takes_copy_data()
    }

    fn needs_news(&self) -> bool {
        self.waits.ready_withheld
    }

    /// "A complete request that has arrived is executed": PostgreSQL looks for the client's end
    /// only when it reads the next one.
    fn client_ended(&self) -> ClientEnd {
        let conversation = &self.talk.conversation;
        let is_owed = conversation.is_behind() || !self.asides.is_empty();
        if is_owed && !self.is_within && !conversation.takes_copy_data() {
            ClientEnd::Waits
        } else {
            ClientEnd::Over
        }
    }
}
