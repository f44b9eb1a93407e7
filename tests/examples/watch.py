#!/usr/bin/env python3
"""Follows a prefix over server-sent events: python3 watch.py URL PREFIX

Prints each change as a line of JSON, once and in order, whatever happens to the connection or to the
store: the id of the last event is where the next request goes on. Needs nothing but Python 3.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


class Compacted(Exception):
    """What comes next is no longer kept: list the keys anew, and watch from there."""


def follow(url, prefix, last=None):
    """Yields (id, change) for ever."""
    while True:
        try:
            for last, change in stream(url, prefix, last):
                if change is not None:
                    yield last, change
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise SystemExit(f"{url}: {error.code}: {error.read().decode()}")
        except (OSError, http.client.HTTPException) as error:
            print(f"{url}: {error}", file=sys.stderr)
        time.sleep(0.2)


def stream(url, prefix, last):
    """One connection: yields (id, change), and (id, None) where only the position moves."""
    query = {"prefix": prefix, "heartbeat": "5"}
    query.update({"after": last} if last else {"from": "oldest"})
    address = f"{url}/v3/watch/sse?{urllib.parse.urlencode(query)}"
    # Three heartbeats without a sign of life: the member is gone.
    with urllib.request.urlopen(address, timeout=15) as answer:
        fields = {}
        for line in answer:
            line = line.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            # An empty line ends an event. One that is cut off before is not there.
            if fields.get("event") == "compacted":
                raise Compacted(fields["data"])
            last = fields.get("id", last)
            if "data" in fields and "event" not in fields:
                yield last, json.loads(fields["data"])
            elif "id" in fields:
                yield last, None
            fields = {}


if __name__ == "__main__":
    for _, change in follow(*sys.argv[1:3]):
        print(json.dumps(change), flush=True)
