#!/bin/sh
# Follows a prefix over server-sent events: sh watch.sh URL PREFIX
#
# Prints each change as a line of JSON, once and in order, whatever happens to the connection or to the
# store: the id of the last event is where the next request goes on. Needs curl alone.
url=$1 prefix=$2 start=from=oldest
fifo=$(mktemp -u) && mkfifo -m 600 "$fifo" || exit 1
trap 'rm -f "$fifo"; kill $curl 2>/dev/null' EXIT
trap 'exit 1' INT TERM
while :; do
	# Less than a byte a second for 15 seconds, three heartbeats: the member is gone.
	curl -sS -N -G -f --speed-limit 1 --speed-time 15 --data-urlencode "prefix=$prefix" \
		-d heartbeat=5 -d "$start" "$url/v3/watch/sse" >"$fifo" &
	curl=$!
	id= data= event=
	while IFS= read -r line; do
		case $line in
		"id: "*) id=${line#id: } ;;
		"data: "*) data=${line#data: } ;;
		"event: "*) event=${line#event: } ;;
		"") # An empty line ends an event. One that is cut off before is not there.
			if [ "$event" = compacted ]; then
				echo "compacted: $data" >&2
				exit 3
			fi
			if [ -n "$data" ] && [ -z "$event" ]; then printf '%s\n' "$data"; fi
			if [ -n "$id" ]; then start=after=$id; fi
			id= data= event= ;;
		esac
	done <"$fifo"
	# 22: an answer that is no stream, which curl has named; that may take a while to pass.
	wait $curl
	if [ $? = 22 ]; then sleep 2; else sleep 0.2; fi
done
