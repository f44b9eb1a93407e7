// Follows a prefix over server-sent events: go run watch.go URL PREFIX
//
// Prints each change as a line of JSON, once and in order, whatever happens to the connection or to
// the store: the id of the last event is where the next request goes on. Needs the standard library
// alone.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// silence is three heartbeats: after it the member is gone.
const silence = 15 * time.Second

// final is an error that will not pass.
type final struct{ error }

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: watch URL PREFIX")
		os.Exit(2)
	}
	err := follow(context.Background(), os.Args[1], os.Args[2], "", func(id, change string) error {
		_, err := fmt.Println(change)
		return err
	})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// follow hands on every change until there is no going on, or handing on fails.
func follow(ctx context.Context, base, prefix, last string, each func(id, change string) error) error {
	for {
		err := stream(ctx, base, prefix, &last, each)
		if _, is := err.(final); is {
			return err
		}
		fmt.Fprintln(os.Stderr, base+":", err)
		time.Sleep(200 * time.Millisecond)
	}
}

// stream is one connection; last is how far it came.
func stream(ctx context.Context, base, prefix string, last *string, each func(id, change string) error) error {
	query := url.Values{"prefix": {prefix}, "heartbeat": {"5"}}
	if *last == "" {
		query.Set("from", "oldest")
	} else {
		query.Set("after", *last)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alive := time.AfterFunc(silence, cancel)
	defer alive.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v3/watch/sse?"+query.Encode(), nil)
	if err != nil {
		return final{err}
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		err := fmt.Errorf("%s: %s", answer.Status, text)
		if answer.StatusCode < 500 {
			return final{err}
		}
		return err
	}
	fields := map[string]string{}
	for lines := bufio.NewReader(answer.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		alive.Reset(silence)
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			if name, value, found := strings.Cut(line, ": "); found {
				fields[name] = value
			}
			continue
		}
		// An empty line ends an event. One that is cut off before is not there.
		if fields["event"] == "compacted" {
			return final{fmt.Errorf("compacted: %s", fields["data"])}
		}
		if data, found := fields["data"]; found && fields["event"] == "" {
			if err := each(fields["id"], data); err != nil {
				return final{err}
			}
		}
		// Only now: what was not handed on comes again.
		if id, found := fields["id"]; found {
			*last = id
		}
		fields = map[string]string{}
	}
}
