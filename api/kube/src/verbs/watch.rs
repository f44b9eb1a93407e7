//! watch: events of a collection as they happen, one JSON object a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::cache::{Change, Cursor, Event, Object, event_line};
use crate::call::Call;
use crate::conversion;
use crate::negotiate::{Encoding, View};
use crate::protobuf;
use crate::respond::{self, api_version};
use crate::server::Body;
use crate::status::Status;
use crate::validation::FieldError;
use crate::verbs::list::{Filter, LIST_OPTIONS, collection_prefix, number, parse_revision};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after between this and twice this.
const TIMEOUT_MIN_SECONDS: u64 = 1800;
/// Events that are read from the cache at once.
const EVENTS_AT_ONCE: usize = 256;
/// Lines are sent together up to about this size.
const CHUNK_BYTES: usize = 64 << 10;

/// GET of a collection with `watch`.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    validate(&call)?;
    let accepted = call.accepted()?;
    if accepted.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable(&["application/json", protobuf::MEDIA_TYPE]));
    }
    let encoding = match accepted.encoding {
        Encoding::Protobuf if !respond::has_message(call.kind.schema) => Encoding::Json,
        encoding => encoding,
    };
    let filter = Filter::of(&call)?;
    let seconds = number(&call, "timeoutSeconds")?.and_then(|s| u64::try_from(s).ok());
    let seconds = seconds
        .filter(|s| *s > 0)
        .unwrap_or_else(|| rand::rng().random_range(TIMEOUT_MIN_SECONDS..TIMEOUT_MIN_SECONDS * 2));
    let revision = call.query.get("resourceVersion").map(parse_revision).transpose()?;
    let cache = call.cx.caches.of(call.kind.storage_prefix).await?;
    match revision {
        None => call.cx.caches.freshen(&cache).await?,
        Some(0) => {}
        Some(n) => call.cx.caches.wait_for(&cache, n).await?,
    }
    let prefix = collection_prefix(&call);
    let explicit = call.query.has("sendInitialEvents");
    let initial = if explicit {
        call.query.flag("sendInitialEvents")
    } else {
        revision.is_none_or(|n| n == 0)
    };
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let mut lines = Lines::new(call, prefix, filter, accepted.view, encoding)?;
    let start = if initial || revision.is_none_or(|n| n == 0) {
        let (snapshot, cursor) = cache.snapshot_and_watch(&lines.prefix);
        if initial {
            let call = &lines.call;
            let objects =
                conversion::fetched_objects(&call.cx, call.kind, snapshot.objects).await?;
            for object in &objects {
                if lines.filter.matches(object) {
                    lines.push(Change::Added.name(), object, None);
                }
            }
        }
        if explicit && initial && bookmarks {
            lines.bookmark(snapshot.revision, true);
        }
        Ok((cursor, snapshot.revision))
    } else {
        let from = revision.unwrap_or_default();
        cache.watch_from(from).map(|cursor| (cursor, from))
    };
    let (cursor, upto) = match start {
        Ok(start) => start,
        Err(status) => {
            // Accepted watches tell errors as events.
            let line = encoded(encoding, "ERROR", &status.to_value());
            return Ok(stream_response(encoding, Body::full(line)));
        }
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + Duration::from_secs(seconds);
    let watching =
        Watching { lines, cursor, bookmarks, ticks, bookmark_due: false, end, upto, over: false };
    Ok(stream_response(
        encoding,
        Body::stream(futures::stream::unfold(watching, |mut watching| async {
            let chunk = watching.next().await?;
            Some((Ok(chunk), watching))
        })),
    ))
}

/// One event as a watch in that encoding tells it.
fn encoded(encoding: Encoding, name: &str, object: &Value) -> Bytes {
    let message = match encoding {
        Encoding::Protobuf => respond::message(object),
        Encoding::Json | Encoding::Yaml => None,
    };
    match message {
        Some(message) => Bytes::from(protobuf::event_frame(name, &message)),
        None => event_line(name, object.to_string().as_bytes()),
    }
}

fn stream_response(encoding: Encoding, body: Body) -> Response<Body> {
    let media = match encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Json | Encoding::Yaml => "application/json",
    };
    let mut response = respond::bytes(200, media, Bytes::new());
    *response.body_mut() = body;
    response
}

fn validate(call: &Call) -> Result<(), Status> {
    let query = &call.query;
    let wanted = query.get("resourceVersionMatch");
    let initial = query.has("sendInitialEvents");
    let mut errors = Vec::new();
    let forbidden = |why: &str| FieldError {
        reason: "FieldValueForbidden",
        field: "resourceVersionMatch".to_owned(),
        message: format!("Forbidden: {why}"),
    };
    if initial && wanted != Some("NotOlderThan") {
        errors.push(forbidden(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if let Some(wanted) = wanted {
        if !initial {
            errors.push(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if wanted != "NotOlderThan" {
            errors.push(FieldError {
                reason: "FieldValueNotSupported",
                field: "resourceVersionMatch".to_owned(),
                message: format!(
                    "Unsupported value: {wanted:?}: supported values: \"NotOlderThan\""
                ),
            });
        }
        if query.get("continue").is_some() {
            errors.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(LIST_OPTIONS, "", &errors)) }
}

/// Encodes events as lines of one watch.
struct Lines {
    call: Call,
    prefix: String,
    filter: Filter,
    view: View,
    encoding: Encoding,
    /// Columns were told already.
    columns_told: bool,
    queue: VecDeque<Bytes>,
}

impl Lines {
    fn new(
        call: Call,
        prefix: String,
        filter: Filter,
        view: View,
        encoding: Encoding,
    ) -> Result<Self, Status> {
        if let View::Table(version) = view {
            // Fails now, with a status, rather than in the stream.
            respond::table(&call, version, &[], Value::Null)?;
        }
        Ok(Lines {
            call,
            prefix,
            filter,
            view,
            encoding,
            columns_told: false,
            queue: VecDeque::new(),
        })
    }

    /// The event as a webhook converts it. None: as it is.
    async fn fetched(&self, event: &Event) -> Result<Option<Event>, Status> {
        let kind = self.call.kind;
        if !conversion::has_webhook(kind) || !event.object.key.starts_with(&self.prefix) {
            return Ok(None);
        }
        let both = [Some(event.object.clone()), event.previous.clone()];
        let both = both.into_iter().flatten().collect();
        let mut both = conversion::fetched_objects(&self.call.cx, kind, both).await?.into_iter();
        let made = both.next().map(|object| Event::new(event.change, object, both.next()));
        Ok(made)
    }

    /// Queues an event as this watch sees it.
    fn event(&mut self, event: &Event) {
        if !event.object.key.starts_with(&self.prefix) {
            return;
        }
        let is = event.change != Change::Deleted && self.filter.matches(&event.object);
        let was = event.previous.as_ref().is_some_and(|p| self.filter.matches(p));
        match (was, is) {
            (false, false) => {}
            (false, true) => {
                let shared = event.change == Change::Added;
                self.push("ADDED", &event.object, shared.then_some(event));
            }
            (true, true) => self.push("MODIFIED", &event.object, Some(event)),
            (true, false) if event.change == Change::Deleted => {
                self.push("DELETED", &event.object, Some(event));
            }
            (true, false) => {
                // It stopped matching: its last matching content, as of now.
                let Some(previous) = &event.previous else { return };
                let gone = previous.at_revision(event.object.revision);
                self.push("DELETED", &gone, None);
            }
        }
    }

    /// Queues one line; `shared` is the event whose own encoding is the same.
    fn push(&mut self, name: &str, object: &Object, shared: Option<&Event>) {
        let kind = self.call.kind;
        let as_is = |event: &&Event| match kind.custom {
            Some(_) => Arc::ptr_eq(&conversion::shown(kind, &event.object), &event.object),
            None => !conversion::is_converted(kind),
        };
        let shared = shared.filter(as_is);
        let line = match (self.view, shared) {
            (View::Whole, Some(event)) if self.encoding == Encoding::Protobuf => {
                event.frame(|object| self.frame(name, object))
            }
            (View::Whole, None) if self.encoding == Encoding::Protobuf => self.frame(name, object),
            (View::Whole, Some(event)) => event.line(),
            (View::Whole, None) => event_line(name, &conversion::wire(kind, object.wire.clone())),
            (View::Partial(version), _) => {
                let seen = respond::partial(&object.value(), version);
                encoded(self.encoding, name, &seen)
            }
            (View::Table(version), _) => {
                match self.table(version, &conversion::from_stored(kind, object.value())) {
                    Ok(table) => event_line(name, table.to_string().as_bytes()),
                    Err(status) => event_line("ERROR", &status.to_bytes()),
                }
            }
        };
        self.queue.push_back(line);
    }

    /// One frame from the message that is kept with the object.
    fn frame(&self, name: &str, object: &Object) -> Bytes {
        let kind = self.call.kind;
        let message =
            if conversion::is_converted(kind) { None } else { object.message(kind.schema) };
        match message {
            Some(message) => {
                let whole = protobuf::envelope(&api_version(kind), kind.kind, &message);
                Bytes::from(protobuf::event_frame(name, &whole))
            }
            None => {
                let object = conversion::from_stored(kind, object.value());
                encoded(self.encoding, name, &object)
            }
        }
    }

    fn table(&mut self, version: &str, object: &Value) -> Result<Value, Status> {
        let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
        let mut table = respond::table(&self.call, version, &[object], meta)?;
        if std::mem::replace(&mut self.columns_told, true) {
            table["columnDefinitions"] = Value::Null;
        }
        Ok(table)
    }

    fn bookmark(&mut self, revision: i64, initial_end: bool) {
        let mut object = json!({
            "kind": self.call.kind.kind, "apiVersion": api_version(self.call.kind),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let wire = Bytes::from(object.to_string());
        self.push("BOOKMARK", &Object::new("".into(), revision, wire), None);
    }

    /// What is queued, in chunks.
    fn take(&mut self) -> Option<Bytes> {
        let first = self.queue.pop_front()?;
        if self.queue.is_empty() {
            return Some(first);
        }
        let mut chunk = BytesMut::from(&first[..]);
        while chunk.len() < CHUNK_BYTES {
            let Some(line) = self.queue.pop_front() else { break };
            chunk.extend_from_slice(&line);
        }
        Some(chunk.freeze())
    }
}

/// A running watch.
struct Watching {
    lines: Lines,
    cursor: Cursor,
    bookmarks: bool,
    ticks: Interval,
    /// A bookmark is told once what happened before it is.
    bookmark_due: bool,
    end: Instant,
    /// Everything up to here was told.
    upto: i64,
    over: bool,
}

impl Watching {
    /// The next bytes to send; None ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.lines.take() {
                return Some(chunk);
            }
            if self.over {
                return None;
            }
            let Some(batch) = self.cursor.read(EVENTS_AT_ONCE) else {
                let status = Status::too_old(self.upto, self.lines.call.cx.caches.revision());
                self.over = true;
                return Some(encoded(self.lines.encoding, "ERROR", &status.to_value()));
            };
            self.upto = self.upto.max(batch.upto);
            for event in &batch.events {
                match self.lines.fetched(event).await {
                    Ok(None) => self.lines.event(event),
                    Ok(Some(event)) => self.lines.event(&event),
                    Err(status) => {
                        self.over = true;
                        return Some(encoded(self.lines.encoding, "ERROR", &status.to_value()));
                    }
                }
            }
            if std::mem::take(&mut self.bookmark_due) {
                self.lines.bookmark(batch.upto, false);
                continue;
            }
            if !batch.events.is_empty() {
                continue;
            }
            let stop = self.lines.call.cx.stop.clone();
            tokio::select! {
                () = self.cursor.changed() => {}
                _ = self.ticks.tick(), if self.bookmarks => self.bookmark_due = true,
                () = tokio::time::sleep_until(self.end) => {
                    if self.bookmarks {
                        self.lines.bookmark(self.upto, false);
                    }
                    self.over = true;
                }
                () = stop.cancelled() => self.over = true,
            }
        }
    }
}
