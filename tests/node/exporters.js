'use strict';

// One of OpenTelemetry's own exporters as a client of a collector: node exporters.js SIGNAL FORM ENDPOINT SAGA [gzip]
// It prints one line of JSON: what became of the export, and what OpenTelemetry had to say about it.

const { diag, DiagLogLevel, SpanKind, SpanStatusCode, trace, ROOT_CONTEXT, TraceFlags } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { LoggerProvider } = require('@opentelemetry/sdk-logs');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { AlwaysOnSampler, BasicTracerProvider } = require('@opentelemetry/sdk-trace-node');

const [signal, form, endpoint, saga, compression = 'none'] = process.argv.slice(2);

const said = [];
const hear = (level) => (...words) => said.push([level, words.map(String).join(' ')]);
const hearing = Object.fromEntries(['error', 'warn', 'info', 'debug', 'verbose'].map((level) => [level, hear(level)]));
diag.setLogger(hearing, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });

const PACKAGES = {
  traces: ['exporter-trace-otlp', 'OTLPTraceExporter'],
  logs: ['exporter-logs-otlp', 'OTLPLogExporter'],
  metrics: ['exporter-metrics-otlp', 'OTLPMetricExporter'],
};
const SUFFIX = { 'http/json': 'http', 'http/protobuf': 'proto', grpc: 'grpc' };

function exporter() {
  const [name, kind] = PACKAGES[signal];
  const { [kind]: Exporter } = require(`@opentelemetry/${name}-${SUFFIX[form]}`);
  return new Exporter({ url: form === 'grpc' ? endpoint : `${endpoint}/v1/${signal}`, compression });
}

const resource = resourceFromAttributes({ 'service.name': 'wallet', 'service.instance.id': 'w1', lists: ['a', 'b'] });
const ofSaga = { 'saga.id': saga, 'saga.name': 'payment' };
const plain = {
  text: 'é 漢 🙂\0', empty: '', yes: true, no: false, int: 42, negative: -7, large: Number.MAX_SAFE_INTEGER,
  double: 2.5, tiny: 5e-324, texts: ['a', ''], ints: [1, 2], doubles: [0.5, 1.5], bools: [true, false], none: [],
};
const odd = { nan: NaN, infinite: Infinity, whole: 1e300 };
const list = [1, 'two', [3.5, { four: false }]];
const nested = { list, map: { inner: { deep: 'x' } }, bytes: new Uint8Array([0, 255]) };

function exported(records) {
  return new Promise((resolve) => exporter().export(records, resolve));
}

/** What a provider makes, kept until all is made. */
function kept() {
  const records = [];
  const keep = (record) => records.push(record);
  const rest = { forceFlush: async () => {}, shutdown: async () => {} };
  return { records, processor: { onStart() {}, onEnd: keep, onEmit: keep, ...rest } };
}

function spans() {
  const { records, processor } = kept();
  const sampler = new AlwaysOnSampler();
  const tracer = new BasicTracerProvider({ resource, sampler, spanProcessors: [processor] }).getTracer('js', '1.2', {
    schemaUrl: 'https://example.com/1',
  });
  const attributes = { ...ofSaga, 'saga.role': 'saga' };
  const root = tracer.startSpan('payment', { kind: SpanKind.SERVER, attributes, startTime: [1_790_000_000, 5] });
  const ctx = trace.setSpan(ROOT_CONTEXT, root);
  const link = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: TraceFlags.SAMPLED };
  const step = { ...ofSaga, 'saga.role': 'step', 'saga.step.name': 'wallet.debit', 'saga.step.attempt': 1 };
  const child = tracer.startSpan('debit', {
    kind: SpanKind.CLIENT, attributes: { ...step, ...plain, ...odd },
    links: [{ context: link, attributes: { why: 'a link' } }],
    startTime: [1_790_000_001, 123_456_789],
  }, ctx);
  child.addEvent('asked', { times: 3, of: ['x'] }, [1_790_000_002, 7]);
  child.recordException(new TypeError('no such account'), [1_790_000_002, 8]);
  child.setStatus({ code: SpanStatusCode.ERROR, message: 'refused' });
  child.end([1_790_000_003, 1]);
  root.setStatus({ code: SpanStatusCode.OK });
  root.end([1_790_000_004, 0]);
  return records;
}

function logs() {
  const { records, processor } = kept();
  const logger = new LoggerProvider({ resource, processors: [processor] }).getLogger('js', '1.2');
  const more = { severityNumber: SeverityNumber.WARN2, severityText: 'WARNING', timestamp: [1_790_000_000, 5] };
  const above = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: TraceFlags.SAMPLED };
  const context = trace.setSpanContext(ROOT_CONTEXT, above);
  const all = { ...ofSaga, ...plain, ...nested };
  logger.emit({ ...more, body: 'text', eventName: 'debit.asked', context, attributes: all });
  logger.emit({ ...more, body: nested, attributes: ofSaga });
  logger.emit({ ...more, body: 'odd', attributes: { ...ofSaga, ...odd } });
  return records;
}

async function metrics() {
  const reader = new PeriodicExportingMetricReader({ exporter: exporter(), exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ resource, readers: [reader] });
  provider.getMeter('js').createCounter('debits').add(1);
  await provider.forceFlush();
  await provider.shutdown();
  return { code: 0 };
}

/** A span whose trace id is no id, between two good ones. */
function partlyBad() {
  const [child, root] = spans();
  const none = { traceId: '0'.repeat(32), spanId: '0'.repeat(16) };
  const bad = Object.create(child, { spanContext: { value: () => none } });
  return [child, bad, root];
}

const MAKE = { traces: spans, logs };

(async () => {
  const records = saga.startsWith('partly bad') ? partlyBad() : MAKE[signal]?.();
  const { code, error } = records ? await exported(records) : await metrics();
  console.log(`RESULT ${JSON.stringify({ code, error: error && String(error), said })}`);
})();
