//! Messages that a server has said nothing about yet, in the order in which they left.

use std::collections::VecDeque;

/// Serials that wait for a server's word. Servers without a word for each message are asked, after each batch, for one
/// that covers everything before it (a ping, in most protocols): [`Fence::cover`] notes how far a question reaches,
/// [`Fence::answer`] lets go of what it covered.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    waiting: VecDeque<u64>,
    uncovered: usize,
    questions: VecDeque<usize>,
    free: usize,
}

impl Fence {
    /// Notes a message.
    pub(crate) fn push(&mut self, serial: u64) {
        self.waiting.push_back(serial);
        self.uncovered += 1;
    }

    /// Whether there is something that no question covers; from now on one does, if so.
    pub(crate) fn cover(&mut self) -> bool {
        let covers = std::mem::take(&mut self.uncovered);
        if covers > 0 {
            self.questions.push_back(covers);
        }
        covers > 0
    }

    /// Whether there is something that no question covers.
    pub(crate) fn is_uncovered(&self) -> bool {
        self.uncovered > 0
    }

    /// The oldest question is answered: what it covers is safe.
    pub(crate) fn answer(&mut self) {
        self.free += self.questions.pop_front().unwrap_or_default();
    }

    /// The next message that is safe.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        self.free = self.free.checked_sub(1)?;
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_lets_go_of_what_stood_before_its_question() {
        let mut fence = Fence::default();
        assert!(!fence.cover());
        fence.push(1);
        fence.push(2);
        assert!(fence.cover() && !fence.cover());
        fence.push(3);
        assert_eq!(fence.pop(), None);
        fence.answer();
        assert_eq!([fence.pop(), fence.pop(), fence.pop()], [Some(1), Some(2), None]);
        assert!(fence.cover());
        fence.answer();
        fence.answer();
        assert_eq!([fence.pop(), fence.pop()], [Some(3), None]);
    }
}
