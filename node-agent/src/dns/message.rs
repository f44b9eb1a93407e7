//! Messages on the wire: reading a question, and fitting an answer into what the client takes. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};

/// Bytes of a UDP answer without EDNS.
const UDP_BYTES_PLAIN: u16 = 512;
/// Bytes of a UDP answer that any path carries in one piece: what we offer and the most we send.
pub(super) const UDP_BYTES_MAX: u16 = 1232;
/// Bytes of a TCP answer.
pub(super) const TCP_BYTES_MAX: u16 = u16::MAX;
/// Bytes of a message's header.
const HEADER_BYTES: usize = 12;

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A question that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) query: Query,
    /// The client wants signatures.
    pub(super) signed: bool,
    request: Message,
}

/// What came instead of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing that deserves an answer.
    Silence,
    /// The answer is ready.
    Reply(Vec<u8>),
}

/// What goes into an answer.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

impl Content {
    /// An answer without records.
    pub(super) fn code(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

/// Reads a question.
pub(super) fn read(bytes: &[u8], transport: Transport) -> Result<Question, Refusal> {
    let Ok(request) = Message::from_vec(bytes) else { return Err(malformed(bytes)) };
    if request.metadata.message_type != MessageType::Query {
        return Err(Refusal::Silence);
    }
    let refuse = |code| {
        let question = Question { query: Query::new(), signed: false, request: request.clone() };
        Refusal::Reply(question.reply(Content::code(code), transport))
    };
    if request.metadata.op_code != OpCode::Query {
        return Err(refuse(ResponseCode::NotImp));
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(refuse(ResponseCode::BADVERS));
    }
    let [query] = request.queries.as_slice() else { return Err(refuse(ResponseCode::FormErr)) };
    if query.query_class != DNSClass::IN {
        return Err(refuse(ResponseCode::Refused));
    }
    let signed = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    Ok(Question { query: query.clone(), signed, request: request.clone() })
}

/// A format error for something that has at least the head of a query.
fn malformed(bytes: &[u8]) -> Refusal {
    let is_query = bytes.len() >= HEADER_BYTES && bytes[2] & 0x80 == 0;
    if !is_query {
        return Refusal::Silence;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    reply.to_vec().map_or(Refusal::Silence, Refusal::Reply)
}

impl Question {
    /// The answer as bytes; what the client cannot take is left out and marked so.
    pub(super) fn reply(&self, content: Content, transport: Transport) -> Vec<u8> {
        let request = &self.request;
        let limit = match transport {
            Transport::Tcp => TCP_BYTES_MAX,
            Transport::Udp => request.edns.as_ref().map_or(UDP_BYTES_PLAIN, |edns| {
                edns.max_payload().clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX)
            }),
        };
        let mut reply =
            Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
        reply.metadata.recursion_desired = request.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.checking_disabled = request.metadata.checking_disabled;
        reply.metadata.authoritative = content.authoritative;
        reply.metadata.response_code = content.code;
        reply.add_queries(request.queries.iter().cloned());
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX);
            edns.set_dnssec_ok(self.signed);
            edns.set_rcode_high(content.code.high());
            reply.set_edns(edns);
        }
        reply.answers = content.answers;
        reply.authorities = content.authorities;
        reply.additionals = content.additionals;
        fit(reply, limit.into())
    }
}

/// Encodes within a limit: first without additional records, then with fewer answers and the mark
/// that tells the client to ask again by TCP.
fn fit(mut reply: Message, limit: usize) -> Vec<u8> {
    loop {
        let encoded = reply.to_vec().ok().filter(|bytes| bytes.len() <= limit);
        if let Some(bytes) = encoded {
            return bytes;
        }
        if !reply.additionals.is_empty() {
            reply.additionals.clear();
        } else if !reply.answers.is_empty() {
            reply.metadata.truncation = true;
            // An eighth at a time: a few encodings in all, and most of the room used.
            let keep = reply.answers.len() * 7 / 8;
            reply.answers.truncate(keep);
        } else if !reply.authorities.is_empty() {
            reply.authorities.clear();
        } else {
            return reply.truncate().to_vec().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, RecordType};

    use super::*;

    fn ask(edns: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii("x.cluster.local.").unwrap();
        message.add_query(Query::query(name, RecordType::A));
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    fn many(count: u32) -> Content {
        let name = Name::from_ascii("x.cluster.local.").unwrap();
        let mut content = Content::code(ResponseCode::NoError);
        content.answers = (0..count)
            .map(|n| Record::from_rdata(name.clone(), 30, RData::A(A(n.into()))))
            .collect();
        content
    }

    #[test]
    fn answers_fit_the_client() {
        for (edns, transport, count, limit, whole) in [
            (None, Transport::Udp, 10, 512, true),
            (None, Transport::Udp, 100, 512, false),
            (Some(4096), Transport::Udp, 100, 1232, false),
            (Some(4096), Transport::Udp, 70, 1232, true),
            (Some(100), Transport::Udp, 100, 512, false),
            (None, Transport::Tcp, 1000, 65_535, true),
            (None, Transport::Tcp, 9000, 65_535, false),
        ] {
            let question = read(&ask(edns), transport).unwrap();
            let bytes = question.reply(many(count), transport);
            assert!(bytes.len() <= limit, "{} > {limit}", bytes.len());
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.metadata.truncation, !whole, "{count} answers in {limit}");
            assert!(reply.answers.len() > limit / 64 || whole, "{} answers", reply.answers.len());
            assert_eq!(reply.edns.is_some(), edns.is_some());
            assert_eq!(reply.metadata.id, 7);
        }
    }

    #[test]
    fn nonsense_gets_what_it_deserves() {
        assert_eq!(read(&[], Transport::Udp).unwrap_err(), Refusal::Silence);
        let mut response = ask(None);
        response[2] |= 0x80;
        assert_eq!(read(&response, Transport::Udp).unwrap_err(), Refusal::Silence);
        let code = |bytes: &[u8]| match read(bytes, Transport::Udp) {
            Err(Refusal::Reply(reply)) => Message::from_vec(&reply).unwrap().metadata.response_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&ask(None)[..20]), ResponseCode::FormErr);
        let mut update = ask(None);
        update[2] = 0x20;
        assert_eq!(code(&update), ResponseCode::NotImp);
    }
}
