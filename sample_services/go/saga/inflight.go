package saga

import (
	"sort"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// idleInterval is the time between heartbeats while no announced span is open.
	idleInterval = 60 * time.Second
	// maxSpansPerRecord is the number of span ids in one heartbeat record; a longer list is split.
	maxSpansPerRecord = 1_000
)

// inFlight follows saga spans from start to end, and reports the open ones: start records and heartbeats.
type inFlight struct {
	queue         *queue
	dropped       func() int
	announceAfter time.Duration
	interval      time.Duration
	wake          chan struct{}
	stopping      chan struct{}
	stopped       chan struct{}
	once          sync.Once

	mu       sync.Mutex
	open     map[trace.SpanID]*openSpan
	sequence int
	promised time.Duration
	next     time.Time
}

type openSpan struct {
	span      sdk.ReadOnlySpan
	announced bool
}

func newInFlight(options Options, queue *queue, dropped func() int) *inFlight {
	f := &inFlight{
		queue: queue, dropped: dropped, announceAfter: options.AnnounceAfter, interval: options.HeartbeatInterval,
		wake: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{}),
		open: map[trace.SpanID]*openSpan{},
	}
	go f.run()
	return f
}

func (f *inFlight) add(span sdk.ReadOnlySpan) {
	f.mu.Lock()
	f.open[span.SpanContext().SpanID()] = &openSpan{span: span}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *inFlight) remove(span sdk.ReadOnlySpan) {
	f.mu.Lock()
	delete(f.open, span.SpanContext().SpanID())
	f.mu.Unlock()
}

// stop sends the final heartbeat.
func (f *inFlight) stop() {
	f.once.Do(func() { close(f.stopping) })
	<-f.stopped
}

func (f *inFlight) run() {
	defer close(f.stopped)
	for {
		timer := time.NewTimer(time.Until(f.work(time.Now())))
		select {
		case <-f.wake:
		case <-timer.C:
		case <-f.stopping:
			f.mu.Lock()
			f.heartbeat(time.Now(), true)
			f.mu.Unlock()
			return
		}
		timer.Stop()
	}
}

// work announces spans that are open long enough, sends a heartbeat that is due, and returns when to work again.
func (f *inFlight) work(now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := now.Add(idleInterval)
	announced := 0
	for _, each := range f.open {
		at := each.span.StartTime().Add(f.announceAfter)
		if !each.announced && !at.After(now) {
			each.announced = true
			f.queue.add(startRecord(each.span, now))
		} else if !each.announced && at.Before(due) {
			due = at
		}
		if each.announced {
			announced++
		}
	}
	// a process that announced its next heartbeat in a minute and now has open spans announces an earlier one
	if !f.next.After(now) || (announced > 0 && f.promised > f.interval) {
		f.heartbeat(now, false)
	}
	if f.next.Before(due) {
		return f.next
	}
	return due
}

func (f *inFlight) heartbeat(now time.Time, final bool) {
	var spans []sdk.ReadOnlySpan
	for _, each := range f.open {
		if each.announced {
			spans = append(spans, each.span)
		}
	}
	sort.Slice(spans, func(one, other int) bool { return spans[one].StartTime().Before(spans[other].StartTime()) })
	f.promised = max(idleInterval, f.interval)
	if len(spans) > 0 {
		f.promised = f.interval
	}
	f.next = now.Add(f.promised)
	f.sequence++
	parts := max(1, (len(spans)+maxSpansPerRecord-1)/maxSpansPerRecord)
	for part := 1; part <= parts; part++ {
		ids := []string{}
		for _, span := range spans[(part-1)*maxSpansPerRecord : min(len(spans), part*maxSpansPerRecord)] {
			ids = append(ids, span.SpanContext().SpanID().String())
		}
		f.queue.add(logRecord("sagascope.heartbeat", now, now, trace.SpanContext{}, []attribute.KeyValue{
			attribute.Float64("sagascope.heartbeat.interval", f.promised.Seconds()),
			attribute.Int("sagascope.heartbeat.sequence", f.sequence),
			attribute.StringSlice("sagascope.heartbeat.open_spans", ids),
			attribute.Int("sagascope.heartbeat.part", part),
			attribute.Int("sagascope.heartbeat.parts", parts),
			attribute.Int("sagascope.heartbeat.open_count", len(spans)),
			attribute.Int("sagascope.heartbeat.dropped", f.dropped()),
			attribute.Bool("sagascope.heartbeat.final", final),
		}))
	}
}

// startRecord announces a span that is still open.
func startRecord(span sdk.ReadOnlySpan, now time.Time) any {
	var attributes []attribute.KeyValue
	for _, each := range span.Attributes() {
		if strings.HasPrefix(string(each.Key), "saga.") {
			attributes = append(attributes, each)
		}
	}
	parent := ""
	if span.Parent().SpanID().IsValid() {
		parent = span.Parent().SpanID().String()
	}
	attributes = append(attributes,
		attribute.String("sagascope.span.name", span.Name()),
		attribute.String("sagascope.span.kind", span.SpanKind().String()),
		attribute.String("sagascope.span.parent_id", parent),
	)
	return logRecord("sagascope.span.start", span.StartTime(), now, span.SpanContext(), attributes)
}
