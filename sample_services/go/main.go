// Refunds: a small Go service whose sagas Sagascope sees. POST /refunds executes the step refund.pay of the caller's
// saga; POST /sagas/<id> runs a saga of its own. PUT /faults/<stall, refuse or lose> plants a fault in later steps.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"sagascope.dev/sample/refunds/saga"
)

var (
	errRefused = errors.New("the bank refuses the refund")
	errLost    = errors.New("the goods are lost")
	fault      atomic.Value
	headers    = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	steps      = []saga.Planned{
		{Name: "refund.pay", Compensation: "refund.revoke", Timeout: 5 * time.Second},
		{Name: "goods.restock"},
	}
)

func pay(ctx context.Context) error {
	switch fault.Load() {
	case "stall":
		<-ctx.Done()
		return ctx.Err()
	case "refuse":
		return errRefused
	}
	return nil
}

func restock(context.Context) error {
	if fault.Load() == "lose" {
		return errLost
	}
	return nil
}

func handler(sagas *saga.Sagas) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /refunds", func(response http.ResponseWriter, request *http.Request) {
		ctx := headers.Extract(request.Context(), propagation.HeaderCarrier(request.Header))
		key := request.Header.Get("Idempotency-Key")
		answer(response, sagas.Step(ctx, "refund.pay", saga.Attempt{IdempotencyKey: key}, pay))
	})
	mux.HandleFunc("POST /sagas/{id}", func(response http.ResponseWriter, request *http.Request) {
		run := saga.Run{ID: request.PathValue("id"), Plan: steps, Keys: map[string]string{"order_id": "A-17"}}
		answer(response, sagas.Begin(request.Context(), "return", run, func(ctx context.Context) error {
			return refund(ctx, sagas)
		}))
	})
	mux.HandleFunc("PUT /faults/{fault}", func(response http.ResponseWriter, request *http.Request) {
		fault.Store(request.PathValue("fault"))
	})
	return mux
}

// refund pays a refund in at most three attempts, and revokes it if the goods cannot be restocked.
func refund(ctx context.Context, sagas *saga.Sagas) error {
	var err error
	for number := 1; number <= 3; number++ {
		attempt := saga.Attempt{Number: number, MaxAttempts: 3, RetryIn: 100 * time.Millisecond, Amount: "50.00", Currency: "EUR"}
		if err = sagas.Step(ctx, "refund.pay", attempt, pay); err == nil {
			break
		}
		time.Sleep(attempt.RetryIn)
	}
	if err != nil {
		return err
	}
	if err = sagas.Step(ctx, "goods.restock", saga.Attempt{}, restock); err == nil {
		return nil
	}
	revoke := func(context.Context) error { return nil }
	if failed := sagas.Compensation(ctx, "refund.revoke", "refund.pay", saga.Attempt{}, revoke); failed != nil {
		return errors.Join(err, failed)
	}
	saga.SetOutcome(ctx, "compensated")
	return err
}

func answer(response http.ResponseWriter, err error) {
	if err != nil {
		http.Error(response, err.Error(), http.StatusConflict)
	}
}

func main() {
	heartbeat, _ := time.ParseDuration(os.Getenv("SAMPLE_HEARTBEAT"))
	sagas := saga.New(saga.Options{Service: "refunds", Version: "1.0.0", HeartbeatInterval: heartbeat})
	address := os.Getenv("SAMPLE_ADDRESS")
	if address == "" {
		address = "127.0.0.1:8091"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	server := &http.Server{Handler: handler(sagas), BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		<-ctx.Done()
		_ = server.Shutdown(context.Background()) // waits for requests, whose context is done as well
	}()
	fmt.Printf("refunds listens on http://%s\n", listener.Addr())
	_ = server.Serve(listener)
	<-served
	ending, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	sagas.Shutdown(ending)
}
