//! Answers of other resolvers, for as long as they may be kept. Pure; bounded by count, oldest out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// Bytes of an answer that is worth keeping.
const ANSWER_BYTES_MAX: usize = 4096;
/// How long a "no" without a start of authority is kept.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);

/// What was asked: the name in lower case, the type, and whether signatures were wanted.
type Question = (Name, RecordType, bool);

/// The answers.
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
    order: VecDeque<(Question, Instant)>,
    entries_max: usize,
    ttl_max: Duration,
}

struct Entry {
    answer: Message,
    stored: Instant,
    expires: Instant,
}

impl Cache {
    pub(super) fn new(entries_max: usize, ttl_max: Duration) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), entries_max, ttl_max }
    }

    /// An answer that may still be given, its times reduced by its age.
    pub(super) fn get(&self, query: &Query, signed: bool, now: Instant) -> Option<Message> {
        let entry = self.entries.get(&question(query, signed))?;
        if now >= entry.expires {
            return None;
        }
        let age = u32::try_from((now - entry.stored).as_secs()).unwrap_or(u32::MAX);
        let mut answer = entry.answer.clone();
        for record in answer.answers.iter_mut().chain(&mut answer.authorities) {
            record.decrement_ttl(age);
        }
        Some(answer)
    }

    /// Keeps an answer, if it may be kept.
    pub(super) fn put(
        &mut self,
        query: &Query,
        signed: bool,
        answer: &Message,
        bytes: usize,
        now: Instant,
    ) {
        let Some(ttl) = lifetime(answer).map(|ttl| ttl.min(self.ttl_max)) else { return };
        if bytes > ANSWER_BYTES_MAX || ttl.is_zero() || self.entries_max == 0 {
            return;
        }
        let key = question(query, signed);
        while self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            let Some((oldest, stored)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.stored == stored) {
                self.entries.remove(&oldest);
            }
        }
        // Names asked for again and again leave stale places in the queue.
        if self.order.len() > 2 * self.entries_max {
            self.order.retain(|(key, at)| self.entries.get(key).is_some_and(|e| e.stored == *at));
        }
        self.order.push_back((key.clone(), now));
        let entry = Entry { answer: answer.clone(), stored: now, expires: now + ttl };
        self.entries.insert(key, entry);
    }
}

fn question(query: &Query, signed: bool) -> Question {
    (query.name.to_lowercase(), query.query_type, signed)
}

/// How long an answer may be kept; `None` when it may not.
fn lifetime(answer: &Message) -> Option<Duration> {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    match answer.metadata.response_code {
        ResponseCode::NoError if !answer.answers.is_empty() => {
            answer.answers.iter().map(|record| seconds(record.ttl)).min()
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let soa = answer.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(seconds(record.ttl.min(soa.minimum))),
                _ => None,
            });
            Some(soa.unwrap_or(NEGATIVE_TTL))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("x.").unwrap();
        message.add_answer(Record::from_rdata(name, ttl, RData::A(A::new(1, 2, 3, 4))));
        message
    }

    #[test]
    fn answers_age_and_expire() {
        let now = Instant::now();
        let mut cache = Cache::new(10, Duration::from_secs(30));
        cache.put(&query("X.org."), false, &answer(20), 100, now);
        let later = now + Duration::from_secs(15);
        assert_eq!(cache.get(&query("x.org."), false, later).unwrap().answers[0].ttl, 5);
        assert!(cache.get(&query("x.org."), true, later).is_none());
        assert!(cache.get(&query("x.org."), false, now + Duration::from_secs(20)).is_none());
        cache.put(&query("y.org."), false, &answer(300), 100, now);
        assert!(cache.get(&query("y.org."), false, now + Duration::from_secs(30)).is_none());
    }

    #[test]
    fn the_oldest_makes_room_and_failures_are_not_kept() {
        let now = Instant::now();
        let mut cache = Cache::new(2, Duration::from_secs(30));
        for (n, name) in ["a.", "b.", "a.", "c."].iter().enumerate() {
            cache.put(&query(name), false, &answer(20), 100, now + Duration::from_millis(n as u64));
        }
        let kept = |name| cache.get(&query(name), false, now + Duration::from_secs(1)).is_some();
        assert_eq!([kept("a."), kept("b."), kept("c.")], [true, false, true]);
        let mut failure = answer(20);
        failure.metadata.response_code = ResponseCode::ServFail;
        cache.put(&query("d."), false, &failure, 100, now);
        assert!(cache.get(&query("d."), false, now).is_none());
    }
}
