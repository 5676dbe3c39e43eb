package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// urgentDelay: start records and heartbeats leave within 0.2 s.
	urgentDelay = 20 * time.Millisecond
	// batchDelay: ended saga spans leave within 1 s.
	batchDelay        = 200 * time.Millisecond
	requestTimeout    = 5 * time.Second
	initialBackoff    = 500 * time.Millisecond
	maxBackoff        = 30 * time.Second
	maxUrgentBackoff  = 2 * time.Second
	recordsPerRequest = 512
)

// queue is a bounded queue of records, sent by one goroutine as OTLP/JSON. Beyond its size the newest are dropped.
type queue struct {
	url        string
	headers    map[string]string
	size       int
	delay      time.Duration
	maxBackoff time.Duration
	envelope   func([]any) any
	client     http.Client
	wake       chan struct{}
	stopping   chan struct{}
	stopped    chan struct{}
	once       sync.Once

	mu      sync.Mutex
	records []any
	lost    int
}

func newQueue(options Options, path string, delay, maxBackoff time.Duration, envelope func([]any) any) *queue {
	q := &queue{
		url: strings.TrimRight(options.Endpoint, "/") + path, headers: options.Headers, size: options.QueueSize,
		delay: delay, maxBackoff: maxBackoff, envelope: envelope, client: http.Client{Timeout: requestTimeout},
		wake: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	go q.run()
	return q
}

func (q *queue) add(record any) {
	q.mu.Lock()
	if len(q.records) >= q.size {
		q.lost++
	} else {
		q.records = append(q.records, record)
	}
	q.mu.Unlock()
	q.notify()
}

// dropped returns the number of records that were never sent.
func (q *queue) dropped() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// stop sends what is queued, until ctx is done.
func (q *queue) stop(ctx context.Context) {
	q.once.Do(func() { close(q.stopping) })
	select {
	case <-q.stopped:
	case <-ctx.Done():
	}
}

func (q *queue) run() {
	defer close(q.stopped)
	backoff := time.Duration(0)
	for {
		select {
		case <-q.wake:
			q.pause(q.delay + backoff)
		case <-q.stopping:
		}
		if q.drain() {
			backoff = 0
		} else {
			backoff = min(q.maxBackoff, max(initialBackoff, 2*backoff))
		}
		select {
		case <-q.stopping:
			if backoff == 0 {
				return
			}
			time.Sleep(initialBackoff) // until the context of Shutdown is done
		default:
			if backoff > 0 {
				q.notify()
			}
		}
	}
}

func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) pause(duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.stopping:
	}
}

// drain sends what is queued; it returns false if the collector asks to try again later, or cannot be reached.
func (q *queue) drain() bool {
	for {
		q.mu.Lock()
		batch := q.records[:min(len(q.records), recordsPerRequest)]
		q.mu.Unlock()
		if len(batch) == 0 {
			return true
		}
		accepted, retryable := q.post(batch)
		if retryable {
			return false
		}
		q.mu.Lock()
		q.records = q.records[len(batch):]
		if !accepted {
			q.lost += len(batch)
		}
		q.mu.Unlock()
	}
}

func (q *queue) post(batch []any) (accepted, retryable bool) {
	body, err := json.Marshal(q.envelope(batch))
	if err != nil {
		return false, false
	}
	request, err := http.NewRequest(http.MethodPost, q.url, bytes.NewReader(body))
	if err != nil {
		return false, false
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range q.headers {
		request.Header.Set(name, value)
	}
	response, err := q.client.Do(request)
	if err != nil {
		return false, true
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false, true
	}
	return response.StatusCode >= 200 && response.StatusCode < 300, false
}

// spanRecord returns an ended span in OTLP's JSON form.
func spanRecord(span sdk.ReadOnlySpan) any {
	record := map[string]any{
		"traceId": span.SpanContext().TraceID().String(), "spanId": span.SpanContext().SpanID().String(),
		"name": span.Name(), "kind": int(span.SpanKind()),
		"startTimeUnixNano": nanoseconds(span.StartTime()), "endTimeUnixNano": nanoseconds(span.EndTime()),
		"attributes": pairs(span.Attributes()), "status": status(span.Status()),
	}
	if span.Parent().SpanID().IsValid() {
		record["parentSpanId"] = span.Parent().SpanID().String()
	}
	var events []any
	for _, event := range span.Events() {
		events = append(events, map[string]any{
			"name": event.Name, "timeUnixNano": nanoseconds(event.Time), "attributes": pairs(event.Attributes),
		})
	}
	if events != nil {
		record["events"] = events
	}
	return record
}

// logRecord returns a log record with an event name in OTLP's JSON form.
func logRecord(event string, at, observed time.Time, span trace.SpanContext, attributes []attribute.KeyValue) any {
	record := map[string]any{
		"timeUnixNano": nanoseconds(at), "observedTimeUnixNano": nanoseconds(observed), "eventName": event,
		"severityNumber": 9, "severityText": "INFO", "body": map[string]any{"stringValue": event},
		"attributes": pairs(attributes),
	}
	if span.IsValid() {
		record["traceId"], record["spanId"] = span.TraceID().String(), span.SpanID().String()
	}
	return record
}

func status(status sdk.Status) any {
	code := map[codes.Code]int{codes.Ok: 1, codes.Error: 2}[status.Code]
	return map[string]any{"code": code, "message": status.Description}
}

func nanoseconds(at time.Time) string { return strconv.FormatInt(at.UnixNano(), 10) }
