// Follows a prefix over server-sent events: node watch.mjs URL PREFIX
//
// Prints each change as a line of JSON, once and in order, whatever happens to the connection or to
// the store: the id of the last event is where the next request goes on. Needs Node 18 or later and no
// package. In a page, `new EventSource(url)` does the same by itself where no token is needed.

const [url, prefix] = process.argv.slice(2);

/** Yields [id, change] for ever. */
async function* follow(url, prefix, last) {
  for (;;) {
    try {
      for await (const [id, change] of stream(url, prefix, last)) {
        last = id;
        if (change) yield [id, change];
      }
    } catch (error) {
      if (error.final) throw error;
      console.error(`${url}: ${error.cause?.message ?? error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** One connection: yields [id, change], and [id] where only the position moves. */
async function* stream(url, prefix, last) {
  const query = new URLSearchParams({ prefix, heartbeat: "5" });
  last ? query.set("after", last) : query.set("from", "oldest");
  const abort = new AbortController();
  const gone = () => abort.abort(new Error("no sign of life"));
  let alive = setTimeout(gone, 15000);
  try {
    const answer = await fetch(`${url}/v3/watch/sse?${query}`, { signal: abort.signal });
    if (!answer.ok) {
      const error = new Error(`${answer.status}: ${await answer.text()}`);
      throw Object.assign(error, { final: answer.status < 500 });
    }
    let waiting = "";
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(alive);
      alive = setTimeout(gone, 15000);
      // An empty line ends an event. One that is cut off before is not there.
      const events = (waiting + piece).split("\n\n");
      waiting = events.pop();
      for (const event of events) {
        const fields = Object.fromEntries(
          event.split("\n").map((line) => {
            const colon = line.indexOf(": ");
            return [line.slice(0, colon), line.slice(colon + 2)];
          }),
        );
        if (fields.event === "compacted") {
          throw Object.assign(new Error(`compacted: ${fields.data}`), { final: true });
        }
        if (fields.data && !fields.event) yield [fields.id, JSON.parse(fields.data)];
        else if (fields.id) yield [fields.id];
      }
    }
  } finally {
    clearTimeout(alive);
    abort.abort();
  }
}

for await (const [, change] of follow(url, prefix)) {
  console.log(JSON.stringify(change));
}
