// Package saga sends the telemetry of sagas from a Go service, with the names of docs/semconv.md. It needs
// OpenTelemetry's API and SDK only; copy the folder into your service.
//
// Saga spans have their own provider and exporter, so the sampler, the exporters and the volume of the service do not
// change. Nothing here panics into its host or blocks it; errors of your own code pass unchanged.
package saga

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const schemaURL = "https://sagascope.dev/schemas/1"

// maxCountedSteps is the number of steps whose attempts are counted.
const maxCountedSteps = 10_000

// members are the members of baggage that become attributes of everything below.
var members = []string{"saga.id", "saga.name", "saga.run.id", "saga.step.name", "saga.step.key", "saga.step.attempt"}

// Options are the settings of New. Only Service is needed.
type Options struct {
	// Service is the service's name.
	Service string
	// Version and Environment of the service, if it has any.
	Version, Environment string
	// Endpoint is the collector's OTLP/HTTP address; else SAGASCOPE_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT, else
	// http://127.0.0.1:4318.
	Endpoint string
	// Headers of each request, for example for authentication.
	Headers map[string]string
	// AnnounceAfter is the time after which an open saga span is announced; 250 ms if zero.
	AnnounceAfter time.Duration
	// HeartbeatInterval is the time between heartbeats while an announced span is open; 5 s if zero.
	HeartbeatInterval time.Duration
	// QueueSize is the number of ended spans held in memory; 8192 if zero.
	QueueSize int
}

// Planned is one step of a plan.
type Planned struct {
	Name, Compensation string
	Timeout            time.Duration
}

// Run describes a saga that Begin starts. All fields are optional.
type Run struct {
	ID, RunID, Amount, Currency string
	Plan                        []Planned
	Timeout                     time.Duration
	Keys                        map[string]string
}

// Attempt describes an attempt of a step. All fields are optional; Number 0 is counted.
type Attempt struct {
	Key, IdempotencyKey, Amount, Currency string
	Number, MaxAttempts                   int
	RetryIn, Timeout                      time.Duration
}

// Sagas are the sagas of this process.
type Sagas struct {
	tracer   trace.Tracer
	provider *sdk.TracerProvider
	inFlight *inFlight
	spans    *queue
	urgent   *queue

	mu       sync.Mutex
	attempts map[string]int
}

type localKey struct{}

type outcomeKey struct{}

// New starts the sagas of this process. Call Shutdown at its end.
func New(options Options) *Sagas {
	options = withDefaults(options)
	host, _ := os.Hostname()
	resource := keyValues(resourceAttributes(options, fmt.Sprintf("%s:%d", host, os.Getpid())))
	s := &Sagas{attempts: map[string]int{}}
	s.spans = newQueue(options, "/v1/traces", batchDelay, maxBackoff, func(records []any) any {
		scope := map[string]any{"scope": map[string]any{"name": "sagascope-go"}, "schemaUrl": schemaURL, "spans": records}
		return map[string]any{"resourceSpans": []any{map[string]any{"resource": resource, "scopeSpans": []any{scope}}}}
	})
	s.urgent = newQueue(options, "/v1/logs", urgentDelay, maxUrgentBackoff, func(records []any) any {
		scope := map[string]any{"scope": map[string]any{"name": "sagascope-go"}, "schemaUrl": schemaURL, "logRecords": records}
		return map[string]any{"resourceLogs": []any{map[string]any{"resource": resource, "scopeLogs": []any{scope}}}}
	})
	s.inFlight = newInFlight(options, s.urgent, func() int { return s.spans.dropped() + s.urgent.dropped() })
	s.provider = sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(s.Processor()))
	s.tracer = s.provider.Tracer("sagascope-go", trace.WithSchemaURL(schemaURL))
	return s
}

// Processor adds saga attributes to the spans of the service's own tracer provider, and sends a copy of those inside a
// saga: sdk.NewTracerProvider(sdk.WithSpanProcessor(sagas.Processor()), ...).
func (s *Sagas) Processor() sdk.SpanProcessor { return processor{s} }

// Shutdown sends the final heartbeat and all queued records, until ctx is done.
func (s *Sagas) Shutdown(ctx context.Context) {
	s.inFlight.stop()
	s.spans.stop(ctx)
	s.urgent.stop(ctx)
}

// Begin runs work as a whole saga, which is completed, or failed if work returns an error, unless SetOutcome was called.
func (s *Sagas) Begin(ctx context.Context, name string, run Run, work func(context.Context) error) error {
	saga := set(nil, "saga.id", run.ID)
	saga = set(set(saga, "saga.name", name), "saga.run.id", run.RunID)
	own := append([]attribute.KeyValue{attribute.String("saga.role", "saga")}, plan(run.Plan)...)
	own = seconds(set(set(own, "saga.amount", run.Amount), "saga.currency", run.Currency), "saga.timeout", run.Timeout)
	for key, value := range run.Keys {
		own = append(own, attribute.String("saga.key."+key, value))
	}
	var given atomic.Value
	ctx = context.WithValue(ctx, outcomeKey{}, &given)
	return s.within(ctx, name, saga, own, func(span trace.Span, err error) {
		outcome, _ := given.Load().(string)
		if outcome == "" && err == nil {
			outcome = "completed"
		} else if outcome == "" {
			outcome = "failed"
		}
		span.SetAttributes(attribute.String("saga.outcome", outcome))
	}, work)
}

// SetOutcome sets how the saga of ctx ends: completed, compensated or failed.
func SetOutcome(ctx context.Context, outcome string) {
	if given, ok := ctx.Value(outcomeKey{}).(*atomic.Value); ok {
		given.Store(outcome)
	}
}

// Step runs work as an attempt of a step of the current saga; outside any saga it only runs work.
func (s *Sagas) Step(ctx context.Context, name string, attempt Attempt, work func(context.Context) error) error {
	return s.attempt(ctx, name, "action", attempt, nil, work)
}

// Compensation runs work as an attempt of a compensation of the step compensates.
func (s *Sagas) Compensation(
	ctx context.Context, name, compensates string, attempt Attempt, work func(context.Context) error,
) error {
	more := []attribute.KeyValue{attribute.String("saga.step.compensates", compensates)}
	return s.attempt(ctx, name, "compensation", attempt, more, work)
}

func (s *Sagas) attempt(
	ctx context.Context, name, kind string, a Attempt, own []attribute.KeyValue, work func(context.Context) error,
) error {
	above := baggage.FromContext(ctx)
	if above.Member("saga.id").Value() == "" {
		return work(ctx)
	}
	key, number := s.resolve(ctx, name, kind, a)
	var saga []attribute.KeyValue
	for _, member := range members[:3] {
		saga = set(saga, member, above.Member(member).Value())
	}
	saga = set(set(saga, "saga.step.name", name), "saga.step.key", key)
	saga = append(saga, attribute.Int("saga.step.attempt", number))
	own = append(own, attribute.String("saga.role", "step"), attribute.String("saga.step.type", kind))
	own = set(set(set(own, "saga.amount", a.Amount), "saga.currency", a.Currency), "saga.step.idempotency_key", a.IdempotencyKey)
	own = seconds(own, "saga.step.timeout", a.Timeout)
	if a.MaxAttempts > 0 {
		own = append(own, attribute.Int("saga.step.max_attempts", a.MaxAttempts))
	}
	return s.within(ctx, name, saga, own, func(span trace.Span, err error) {
		if err != nil {
			span.SetAttributes(seconds(nil, "saga.step.retry_in", a.RetryIn)...)
		}
	}, work)
}

// resolve returns key and number of an attempt: as given, else the caller's if this is its attempt, else counted.
func (s *Sagas) resolve(ctx context.Context, name, kind string, a Attempt) (string, int) {
	above := baggage.FromContext(ctx)
	key, number := a.Key, a.Number
	callers := ctx.Value(localKey{}) == nil && above.Member("saga.step.name").Value() == name
	if callerKey := above.Member("saga.step.key").Value(); callers && (key == "" || key == callerKey) {
		key = callerKey
		if number == 0 {
			number = attemptNumber(above)
		}
	}
	counted := strings.Join([]string{
		above.Member("saga.name").Value(), above.Member("saga.id").Value(), above.Member("saga.run.id").Value(), kind, name, key,
	}, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if number == 0 {
		number = s.attempts[counted] + 1
	}
	if len(s.attempts) >= maxCountedSteps {
		s.attempts = map[string]int{}
	}
	s.attempts[counted] = number
	return key, number
}

// within runs work inside a span with these attributes; what work returns or panics with passes unchanged.
func (s *Sagas) within(
	ctx context.Context, name string, saga, own []attribute.KeyValue, ending func(trace.Span, error),
	work func(context.Context) error,
) (err error) {
	inside := withSaga(ctx, saga)
	_, span := s.tracer.Start(inside, name, trace.WithAttributes(own...))
	defer func() {
		failure := err
		panicked := recover()
		if panicked != nil {
			failure = fmt.Errorf("panic: %v", panicked)
		}
		if failure != nil {
			span.RecordError(failure, trace.WithStackTrace(panicked != nil))
			span.SetStatus(codes.Error, failure.Error())
		}
		ending(span, failure)
		span.End()
		if panicked != nil {
			panic(panicked)
		}
	}()
	return work(withPropagated(inside, span, trace.SpanContextFromContext(ctx)))
}

// withPropagated makes our span current, with the sampled flag that the service's own sampler gave the span above.
func withPropagated(ctx context.Context, span trace.Span, above trace.SpanContext) context.Context {
	own := span.SpanContext()
	if above.TraceID() == own.TraceID() && above.TraceFlags() != own.TraceFlags() {
		return trace.ContextWithSpanContext(ctx, own.WithTraceFlags(above.TraceFlags()))
	}
	return trace.ContextWithSpan(ctx, span)
}

// withSaga returns a context whose baggage has these members of a saga; other baggage is unchanged.
func withSaga(ctx context.Context, saga []attribute.KeyValue) context.Context {
	bag := baggage.FromContext(ctx)
	for _, member := range members {
		bag = bag.DeleteMember(member)
	}
	for _, each := range saga {
		if member, err := baggage.NewMemberRaw(string(each.Key), each.Value.Emit()); err == nil {
			if larger, err := bag.SetMember(member); err == nil {
				bag = larger
			}
		}
	}
	return context.WithValue(baggage.ContextWithBaggage(ctx, bag), localKey{}, true)
}

// processor follows the spans of sagas.
type processor struct{ sagas *Sagas }

func (p processor) OnStart(ctx context.Context, span sdk.ReadWriteSpan) {
	bag := baggage.FromContext(ctx)
	if bag.Member("saga.id").Value() == "" {
		return
	}
	var saga []attribute.KeyValue
	for _, member := range members[:5] {
		saga = set(saga, member, bag.Member(member).Value())
	}
	if number := attemptNumber(bag); number > 0 {
		saga = append(saga, attribute.Int("saga.step.attempt", number))
	}
	span.SetAttributes(saga...)
	if has(span.Attributes(), "saga.role") {
		p.sagas.inFlight.add(span)
	}
}

func (p processor) OnEnd(span sdk.ReadOnlySpan) {
	p.sagas.inFlight.remove(span)
	if has(span.Attributes(), "saga.id") {
		p.sagas.spans.add(spanRecord(span))
	}
}

func (p processor) Shutdown(context.Context) error   { return nil }
func (p processor) ForceFlush(context.Context) error { return nil }

func withDefaults(options Options) Options {
	for _, name := range []string{"SAGASCOPE_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if options.Endpoint == "" {
			options.Endpoint = os.Getenv(name)
		}
	}
	if options.Endpoint == "" {
		options.Endpoint = "http://127.0.0.1:4318"
	}
	if options.AnnounceAfter == 0 {
		options.AnnounceAfter = 250 * time.Millisecond
	}
	if options.HeartbeatInterval == 0 {
		options.HeartbeatInterval = 5 * time.Second
	}
	if options.QueueSize == 0 {
		options.QueueSize = 8192
	}
	return options
}

func resourceAttributes(options Options, instance string) []attribute.KeyValue {
	process := make([]byte, 16)
	_, _ = rand.Read(process)
	attributes := set(nil, "service.name", options.Service)
	attributes = set(set(attributes, "service.version", options.Version), "deployment.environment.name", options.Environment)
	attributes = set(attributes, "service.instance.id", instance)
	return set(attributes, "sagascope.process.id", hex.EncodeToString(process))
}
