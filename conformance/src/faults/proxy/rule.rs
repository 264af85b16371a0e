//! What a proxy does with the bytes, and when.

/// What a proxy does with the bytes that pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Forwards everything.
    Pass,
    /// Nothing comes through in either direction, without an error. What was sent is *held*:
    /// under the next rule it still arrives, as a network's late packets do. A new connection is
    /// accepted and then silent.
    Blackhole,
    /// Requests reach the server, replies are held: the effect happens and no caller learns of it.
    HoldReplies,
    /// Holds the request that meets the trigger, and every one after it, until the rule is changed:
    /// an attempt that sleeps at a known place.
    HoldFrom(Trigger),
    /// Cuts the connection that meets the trigger.
    Cut(Cut),
}

/// When a connection is cut, and on which side of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Cut {
    trigger: Trigger,
    after: bool,
    times: u32,
}

/// What is done once the trigger is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    CutBefore,
    CutAfter,
    Hold,
}

/// What a cut waits for, counted over all connections since the rule was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// The n-th request, from 1.
    Request(u64),
    /// The n-th byte that clients send, from 1: cuts in the middle of a message.
    Byte(u64),
    /// A request in which these bytes occur, ASCII letters in either case; `COMMIT`, for example.
    Contains(Vec<u8>),
}

impl Rule {
    /// Cuts before the server has seen the request: it is surely not executed.
    pub fn cut_before(trigger: Trigger) -> Self {
        Self::Cut(Cut {
            trigger,
            after: false,
            times: 1,
        })
    }

    /// Cuts when the server has begun to answer and before the client sees any of it: the request
    /// is executed and its answer lost.
    pub fn cut_after(trigger: Trigger) -> Self {
        Self::Cut(Cut {
            trigger,
            after: true,
            times: 1,
        })
    }

    /// Cuts this many times instead of once. For a rule that is no cut, nothing changes.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        match self {
            Self::Cut(cut) => Self::Cut(Cut { times, ..cut }),
            other => other,
        }
    }
}

impl Trigger {
    /// A request in which this text occurs.
    pub fn contains(text: impl AsRef<[u8]>) -> Self {
        Self::Contains(text.as_ref().to_vec())
    }
}

/// A rule that waits for its trigger.
pub(super) struct Armed {
    trigger: Trigger,
    act: Act,
    times: u32,
    requests: u64,
    bytes: u64,
}

/// What is to be done with bytes that a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Forward,
    /// Forward this many bytes, then cut.
    CutAt(usize),
    /// Forward all, then cut when the server answers.
    CutOnReply,
    /// Forward nothing until the rule is changed.
    Hold,
}

/// What a connection remembers for the search: a pattern may lie across two reads.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Armed {
    /// What waits for a trigger in this rule, if anything does.
    pub(super) fn new(rule: Rule) -> Option<Self> {
        let (trigger, act, times) = match rule {
            Rule::Cut(cut) if cut.after => (cut.trigger, Act::CutAfter, cut.times),
            Rule::Cut(cut) => (cut.trigger, Act::CutBefore, cut.times),
            Rule::HoldFrom(trigger) => (trigger, Act::Hold, 1),
            Rule::Pass | Rule::Blackhole | Rule::HoldReplies => return None,
        };
        Some(Self {
            trigger,
            act,
            times,
            requests: 0,
            bytes: 0,
        })
    }

    /// Judges what one client has sent; `begins` where it is the start of a request.
    pub(super) fn judge(&mut self, chunk: &[u8], begins: bool, tail: &mut Tail) -> Verdict {
        self.requests += u64::from(begins);
        let bytes_before = self.bytes;
        self.bytes += chunk.len() as u64;
        let cut_at = match &self.trigger {
            _ if self.times == 0 => None,
            Trigger::Request(n) => (begins && self.requests == *n).then_some(0),
            Trigger::Byte(n) => (bytes_before < *n && *n <= self.bytes)
                .then(|| usize::try_from(n - bytes_before).unwrap_or(chunk.len())),
            Trigger::Contains(pattern) => tail.completes(pattern, chunk, begins).then_some(0),
        };
        match cut_at {
            None => Verdict::Forward,
            Some(at) => {
                self.spend();
                match self.act {
                    Act::CutBefore => Verdict::CutAt(at),
                    Act::CutAfter => Verdict::CutOnReply,
                    Act::Hold => Verdict::Hold,
                }
            }
        }
    }

    /// One cut less to make; where there are more, the count starts again.
    fn spend(&mut self) {
        self.times -= 1;
        self.requests = 0;
        self.bytes = 0;
    }
}

impl Tail {
    /// Whether the pattern ends in this chunk. A pattern never lies across two requests.
    fn completes(&mut self, pattern: &[u8], chunk: &[u8], begins: bool) -> bool {
        if pattern.is_empty() {
            return false;
        }
        if begins {
            self.0.clear();
        }
        self.0.extend_from_slice(chunk);
        let found = self
            .0
            .windows(pattern.len())
            .any(|window| window.eq_ignore_ascii_case(pattern));
        let keep = if found {
            0
        } else {
            self.0.len().min(pattern.len() - 1)
        };
        self.0.drain(..self.0.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(rule: Rule) -> Armed {
        let shown = format!("{rule:?}");
        Armed::new(rule).unwrap_or_else(|| panic!("{shown} waits for nothing"))
    }

    #[test]
    fn a_request_is_counted_once_however_it_is_split() {
        let mut armed = armed(Rule::cut_before(Trigger::Request(2)));
        let mut tail = Tail::default();
        assert_eq!(armed.judge(b"SEL", true, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"ECT", false, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"COMMIT", true, &mut tail), Verdict::CutAt(0));
        assert_eq!(
            armed.judge(b"COMMIT", true, &mut tail),
            Verdict::Forward,
            "once only"
        );
    }

    #[test]
    fn a_hold_begins_with_its_request() {
        let mut armed = armed(Rule::HoldFrom(Trigger::Request(2)));
        let mut tail = Tail::default();
        assert_eq!(armed.judge(b"BEGIN", true, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"INSERT", true, &mut tail), Verdict::Hold);
    }

    #[test]
    fn a_byte_is_met_within_a_chunk() {
        let mut armed = armed(Rule::cut_before(Trigger::Byte(5)));
        let mut tail = Tail::default();
        assert_eq!(armed.judge(b"abc", true, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"defg", false, &mut tail), Verdict::CutAt(2));
    }

    #[test]
    fn a_pattern_is_found_across_reads_but_not_across_requests() {
        let mut armed = armed(Rule::cut_after(Trigger::contains("COMMIT")).times(2));
        let mut tail = Tail::default();
        assert_eq!(
            armed.judge(b"insert; com", true, &mut tail),
            Verdict::Forward
        );
        assert_eq!(armed.judge(b"mit", true, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"x;co", true, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"m", false, &mut tail), Verdict::Forward);
        assert_eq!(armed.judge(b"mit;", false, &mut tail), Verdict::CutOnReply);
        assert_eq!(armed.judge(b"COMMIT", true, &mut tail), Verdict::CutOnReply);
        assert_eq!(
            armed.judge(b"COMMIT", true, &mut tail),
            Verdict::Forward,
            "twice only"
        );
    }
}
