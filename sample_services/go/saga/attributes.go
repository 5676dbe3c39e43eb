package saga

import (
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
)

func plan(steps []Planned) []attribute.KeyValue {
	if len(steps) == 0 {
		return nil
	}
	var names, compensations []string
	var timeouts []float64
	for _, step := range steps {
		names, compensations = append(names, step.Name), append(compensations, step.Compensation)
		timeouts = append(timeouts, step.Timeout.Seconds())
	}
	return []attribute.KeyValue{
		attribute.StringSlice("saga.plan", names),
		attribute.StringSlice("saga.plan.compensations", compensations),
		attribute.Float64Slice("saga.plan.timeouts", timeouts),
	}
}

func attemptNumber(bag baggage.Baggage) int {
	number, err := strconv.Atoi(bag.Member("saga.step.attempt").Value())
	if err != nil || number < 1 {
		return 0
	}
	return number
}

func set(attributes []attribute.KeyValue, key, value string) []attribute.KeyValue {
	if value == "" {
		return attributes
	}
	return append(attributes, attribute.String(key, value))
}

func seconds(attributes []attribute.KeyValue, key string, value time.Duration) []attribute.KeyValue {
	if value <= 0 {
		return attributes
	}
	return append(attributes, attribute.Float64(key, value.Seconds()))
}

func has(attributes []attribute.KeyValue, key attribute.Key) bool {
	for _, each := range attributes {
		if each.Key == key {
			return true
		}
	}
	return false
}

func keyValues(attributes []attribute.KeyValue) any {
	return map[string]any{"attributes": pairs(attributes)}
}

func pairs(attributes []attribute.KeyValue) []any {
	made := []any{}
	for _, each := range attributes {
		made = append(made, map[string]any{"key": string(each.Key), "value": anyValue(each.Value)})
	}
	return made
}

func anyValue(value attribute.Value) map[string]any {
	list := func(length int, item func(int) map[string]any) map[string]any {
		values := []any{}
		for number := range length {
			values = append(values, item(number))
		}
		return map[string]any{"arrayValue": map[string]any{"values": values}}
	}
	switch value.Type() {
	case attribute.BOOL:
		return map[string]any{"boolValue": value.AsBool()}
	case attribute.INT64:
		return map[string]any{"intValue": strconv.FormatInt(value.AsInt64(), 10)}
	case attribute.FLOAT64:
		return map[string]any{"doubleValue": value.AsFloat64()}
	case attribute.STRINGSLICE:
		texts := value.AsStringSlice()
		return list(len(texts), func(at int) map[string]any { return map[string]any{"stringValue": texts[at]} })
	case attribute.FLOAT64SLICE:
		numbers := value.AsFloat64Slice()
		return list(len(numbers), func(at int) map[string]any { return map[string]any{"doubleValue": numbers[at]} })
	default:
		return map[string]any{"stringValue": fmt.Sprint(value.AsInterface())}
	}
}
