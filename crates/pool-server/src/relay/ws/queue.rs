//! What a client has said while it was not yet its turn.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Message;

/// OpenAI's sockets take 16 turns at a time from those who ask for lanes
/// (<https://developers.openai.com/api/docs/guides/websocket-mode>). Here they run one after the other.
const MESSAGES: usize = 32;
const BYTES: usize = 4 << 20;

/// Messages that wait for the turn under way. When it is full, the client has to wait itself.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Queue {
    /// Whatever its size, one more message fits.
    pub fn has_room(&self) -> bool {
        self.messages.len() < MESSAGES && self.bytes < BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_messages_and_in_bytes() {
        for (size, fits) in [(1, MESSAGES), (BYTES / 2, 2), (3 * BYTES, 1)] {
            let mut queue = Queue::default();
            let mut count = 0;
            while queue.has_room() {
                queue.push(Message::text("x".repeat(size)));
                count += 1;
            }
            assert_eq!(count, fits, "{size}");
            assert_eq!(queue.pop().map(|message| message.len()), Some(size));
            assert!(queue.has_room());
        }
    }
}
