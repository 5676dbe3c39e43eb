'use strict';

/**
 * Sagascope for a Node.js service, in one file: saga attributes on spans and on everything below them, start records and
 * heartbeats, with the names of docs/semconv.md. It needs OpenTelemetry's own packages only; copy it into your service.
 *
 * Saga spans have their own provider and exporter, so the sampler, the exporters and the volume of the service do not
 * change. Nothing here throws into its host, keeps the process alive or handles a signal; errors of your own code
 * propagate unchanged.
 */

const { randomUUID } = require('node:crypto');
const http = require('node:http');
const https = require('node:https');
const api = require('@opentelemetry/api');
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks');
const { hrTime, suppressTracing } = require('@opentelemetry/core');
const { ProtobufLogsSerializer, ProtobufTraceSerializer } = require('@opentelemetry/otlp-transformer');
const { defaultResource, resourceFromAttributes } = require('@opentelemetry/resources');
const { AlwaysOnSampler, BasicTracerProvider } = require('@opentelemetry/sdk-trace-node');

const SCOPE = { name: 'sagascope-node', version: '1.0.0', schemaUrl: 'https://sagascope.dev/schemas/1' };

/** The members of `baggage` that become attributes of everything below. */
const MEMBERS = ['saga.id', 'saga.name', 'saga.run.id', 'saga.step.name', 'saga.step.key', 'saga.step.attempt'];

/** The options of a saga and of an attempt, with their attributes. */
const SAGA_OPTIONS = { amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.timeout' };
const STEP_OPTIONS = {
  amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.step.timeout', pivot: 'saga.step.pivot',
  idempotencyKey: 'saga.step.idempotency_key', maxAttempts: 'saga.step.max_attempts', resources: 'saga.step.resources',
};

const KINDS = ['internal', 'server', 'client', 'producer', 'consumer'];
const IDLE_INTERVAL_SECONDS = 60; // between heartbeats while no announced span is open
const MAX_SPANS_PER_RECORD = 1_000; // span ids in one heartbeat record; a longer list is split
const MAX_RECORDS_PER_REQUEST = 512;
const URGENT_DELAY_MS = 20; // start records and heartbeats leave within 0.2 s
const BATCH_DELAY_MS = 200; // ended saga spans leave within 1 s
const INITIAL_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
const MAX_URGENT_BACKOFF_MS = 2_000;
const RETRYABLE_STATUSES = [429, 502, 503, 504];
const MAX_RESPONSE_BYTES = 65_536;
const MAX_COUNTED_STEPS = 10_000; // steps whose attempts are counted; beyond it the oldest counts are dropped
const WARNING_INTERVAL_MS = 60_000;

/** Context key: a saga or step was opened in this process, so the baggage is not only the caller's. */
const IS_LOCAL = api.createContextKey('sagascope: opened in this process');

/** The sagas of this process. Create one, before or after the service's own OpenTelemetry. */
class Sagas {
  #tracer;
  #inFlight;
  #queues;
  #counters = new Counters();
  #attempts = new Map();
  #closing;
  #onBeforeExit = () => this.shutdown();

  /**
   * @param {object} [options]
   * @param {import('@opentelemetry/resources').Resource} [options.resource] the service's; it needs `service.name`
   * @param {string} [options.endpoint] OTLP/HTTP address; else SAGASCOPE_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT
   * @param {object} [options.headers] headers of each request, such as `{ authorization: 'Bearer ...' }`
   * @param {number} [options.announceAfter] seconds after which an open saga span is announced
   * @param {number} [options.heartbeatInterval] seconds between heartbeats while an announced span is open
   * @param {number} [options.queueSize] ended spans, and as many log records, held in memory at most
   * @param {number} [options.timeout] seconds for one request
   */
  constructor(options = {}) {
    const { announceAfter = 0.25, heartbeatInterval = 5, queueSize = 8192, timeout = 5, headers = {} } = options;
    const endpoint = options.endpoint || process.env.SAGASCOPE_ENDPOINT || process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
    const target = { endpoint: endpoint || 'http://127.0.0.1:4318', headers, timeout, counters: this.#counters };
    const identity = resourceFromAttributes({ 'sagascope.process.id': randomUUID().replaceAll('-', '') });
    const resource = (options.resource ?? defaultResource()).merge(identity);
    const queue = (path, serializer, more) => new ExportQueue({ ...target, path, serializer, size: queueSize, ...more });

    const spans = queue('/v1/traces', ProtobufTraceSerializer, { delay: BATCH_DELAY_MS, maxBackoff: MAX_BACKOFF_MS });
    const logs = queue('/v1/logs', ProtobufLogsSerializer, { delay: BATCH_DELAY_MS, maxBackoff: MAX_BACKOFF_MS });
    const urgentBackoff = { delay: URGENT_DELAY_MS, maxBackoff: MAX_URGENT_BACKOFF_MS };
    const urgent = queue('/v1/logs', ProtobufLogsSerializer, urgentBackoff);
    this.#queues = [spans, logs, urgent];
    const counters = this.#counters;
    this.#inFlight = new InFlightReporter({ queue: urgent, resource, announceAfter, heartbeatInterval, counters });

    /** For the service's tracer provider: adds saga attributes to its spans, and sends a copy of them. */
    this.spanProcessor = {
      onStart: (span, ctx) => guarded(() => this.#onStart(span, ctx)),
      onEnd: (span) => guarded(() => this.#onEnd(span, spans, resource)),
      forceFlush: () => spans.flush(),
      shutdown: async () => {},
    };
    /** For the service's logger provider: adds saga attributes to its records, and sends a copy of them. */
    this.logProcessor = {
      onEmit: (record, ctx) => guarded(() => this.#onLog(record, ctx ?? api.context.active(), logs, resource)),
      forceFlush: () => logs.flush(),
      shutdown: async () => {},
    };
    const sampler = new AlwaysOnSampler();
    const provider = new BasicTracerProvider({ resource, sampler, spanProcessors: [this.spanProcessor] });
    this.#tracer = provider.getTracer(SCOPE.name, SCOPE.version, { schemaUrl: SCOPE.schemaUrl });
    process.on('beforeExit', this.#onBeforeExit);
    this.#inFlight.sendHeartbeat();
  }

  /**
   * Runs `work(span)` as a whole saga and returns its result. The saga is `completed`, or `failed` when `work` throws,
   * unless `work` sets `saga.outcome` on the span.
   *
   * @param {string} name the saga's type
   * @param {string} id the id that people quote
   * @param {object} options `runId`, `plan` (`[{ name, compensation, timeout }]`), `timeout` (seconds), `amount`,
   *   `currency`, `keys` (`{ order_id: 'A-17' }`)
   */
  run(name, id, options = {}, work) {
    return this.#within(work, options, (ctx) => {
      const run = options.runId && { 'saga.run.id': options.runId };
      const sagaAttributes = { 'saga.name': name, 'saga.id': String(id), ...run };
      const declared = { ...planAttributes(options.plan), ...optionAttributes(SAGA_OPTIONS, options) };
      return this.#open(name, ctx, sagaAttributes, { 'saga.role': 'saga', ...declared });
    }, (span, thrown) => {
      if (!('saga.outcome' in span.attributes)) span.setAttribute('saga.outcome', thrown ? 'failed' : 'completed');
    });
  }

  /**
   * Runs `work(span)` as one attempt of a step of the current saga; outside any saga it only runs `work`.
   *
   * @param {string} name such as `refund.pay`
   * @param {object} options `attempt`, `key`, `maxAttempts`, `retryIn` and `timeout` (seconds), `idempotencyKey`,
   *   `pivot`, `resources`, `amount`, `currency`, `keys`
   */
  step(name, options = {}, work) {
    return this.#attempt(name, options, work, { 'saga.step.type': 'action' });
  }

  /** Runs `work(span)` as one attempt of a compensation; `compensates` is the step that it compensates. */
  compensation(name, compensates, options = {}, work) {
    const compensated = compensates && { 'saga.step.compensates': compensates };
    return this.#attempt(name, options, work, { 'saga.step.type': 'compensation', ...compensated });
  }

  /** Returns what became of the telemetry of this process so far. */
  stats() {
    const waiting = this.#queues.reduce((sum, queue) => sum + queue.waiting, 0);
    return { sent: this.#counters.sent, dropped: this.#counters.dropped, waiting, openSpans: this.#inFlight.size };
  }

  /** Sends a final heartbeat and all queued records, within `seconds`. It runs when the event loop is empty. */
  shutdown(seconds = 2) {
    this.#closing ??= this.#close(seconds * 1000);
    return this.#closing;
  }

  async #close(milliseconds) {
    process.off('beforeExit', this.#onBeforeExit);
    guarded(() => this.#inFlight.finish());
    const sent = Promise.all(this.#queues.map((queue) => queue.flush()));
    let deadline; // this timer alone keeps the process alive
    await Promise.race([sent, new Promise((resolve) => { deadline = setTimeout(resolve, milliseconds); })]);
    clearTimeout(deadline);
    for (const queue of this.#queues) queue.close();
  }

  #attempt(name, options, work, attributes) {
    return this.#within(work, options, (ctx) => {
      const above = sagaAttributesOf(ctx);
      if (above === undefined) return undefined;
      const { key, attempt } = this.#resolveNumber(name, options, above, ctx, attributes['saga.step.type']);
      const step = { 'saga.step.name': name, ...(key && { 'saga.step.key': key }), 'saga.step.attempt': attempt };
      const { 'saga.id': id, 'saga.name': type, 'saga.run.id': run } = above;
      const saga = { 'saga.id': id, ...(type && { 'saga.name': type }), ...(run && { 'saga.run.id': run }) };
      const given = optionAttributes(STEP_OPTIONS, options);
      return this.#open(name, ctx, { ...saga, ...step }, { 'saga.role': 'step', ...attributes, ...given });
    });
  }

  /** Returns key and number: as given, else the caller's if this is its attempt, else counted here. */
  #resolveNumber(name, options, above, ctx, type) {
    const callerKey = above['saga.step.key'] ?? '';
    const isCallers = !ctx.getValue(IS_LOCAL) && above['saga.step.name'] === name;
    const shared = isCallers && [undefined, '', callerKey].includes(options.key);
    const key = shared ? callerKey : String(options.key ?? '');
    const counted = JSON.stringify([above['saga.name'], above['saga.id'], above['saga.run.id'], type, name, key]);
    const given = options.attempt ?? (shared ? above['saga.step.attempt'] : undefined);
    const attempt = given ?? (this.#attempts.get(counted) ?? 0) + 1;
    this.#attempts.delete(counted);
    this.#attempts.set(counted, attempt);
    if (this.#attempts.size > MAX_COUNTED_STEPS) this.#attempts.delete(this.#attempts.keys().next().value);
    return { key, attempt };
  }

  #open(name, ctx, sagaAttributes, attributes) {
    const sagaContext = withSagaInBaggage(ctx, sagaAttributes).setValue(IS_LOCAL, true);
    const span = this.#tracer.startSpan(name, { attributes: { ...attributes, ...sagaAttributes } }, sagaContext);
    return { span, inside: api.trace.setSpan(sagaContext, propagatedSpan(span, ctx)) };
  }

  #within(work, options, open, ending = () => {}) {
    const opened = guarded(() => open(context()));
    if (opened === undefined) return work(api.trace.wrapSpanContext(api.INVALID_SPAN_CONTEXT));
    const { span, inside } = opened;
    const done = (thrown) => guarded(() => {
      if (thrown) recordFailure(span, thrown.error, options);
      ending(span, thrown);
      span.end();
    });
    return runToEnd(() => api.context.with(inside, () => work(span)), done);
  }

  #onStart(span, ctx) {
    const attributes = sagaAttributesOf(ctx);
    if (attributes !== undefined) span.setAttributes(attributes);
    if (span.attributes['saga.role'] && span.attributes['saga.id']) this.#inFlight.add(span);
  }

  #onEnd(span, queue, resource) {
    this.#inFlight.remove(span);
    if (span.attributes['saga.id']) queue.add(withResource(span, resource));
  }

  #onLog(record, ctx, queue, resource) {
    const attributes = sagaAttributesOf(ctx);
    if (attributes !== undefined) record.setAttributes(attributes);
    if (record.attributes['saga.id']) queue.add(withResource(record, resource));
  }
}

/** Follows saga spans from start to end, and reports the open ones. */
class InFlightReporter {
  #unannounced = new Map(); // both in order of starting
  #announced = new Map();
  #sequence = 0;
  #promisedInterval = 0;
  #watch;
  #next;

  constructor({ queue, resource, announceAfter, heartbeatInterval, counters }) {
    Object.assign(this, { queue, resource, interval: heartbeatInterval, counters, announceAfter: announceAfter * 1000 });
    // an unsent record may be outdated
    queue.keep = (record) => (record.span ? !record.span.ended : record.sequence === this.#sequence);
  }

  get size() {
    return this.#unannounced.size + this.#announced.size;
  }

  add(span) {
    this.#unannounced.set(span.spanContext().spanId, { span, due: performance.now() + this.announceAfter });
    this.#watch ??= after(this.announceAfter, () => this.#announce());
  }

  remove(span) {
    const { spanId } = span.spanContext();
    if (!this.#unannounced.delete(spanId)) this.#announced.delete(spanId);
  }

  /** Sends a heartbeat with the open announced spans. */
  sendHeartbeat(final = false) {
    clearTimeout(this.#next);
    const open = [...this.#announced.keys()];
    const parts = Math.max(1, Math.ceil(open.length / MAX_SPANS_PER_RECORD));
    this.#promisedInterval = open.length ? this.interval : Math.max(IDLE_INTERVAL_SECONDS, this.interval);
    this.#sequence += 1;
    for (let part = 1; part <= parts; part += 1) {
      this.#put('sagascope.heartbeat', hrTime(), undefined, { sequence: this.#sequence }, {
        'sagascope.heartbeat.interval': this.#promisedInterval,
        'sagascope.heartbeat.sequence': this.#sequence,
        'sagascope.heartbeat.open_spans': open.slice((part - 1) * MAX_SPANS_PER_RECORD, part * MAX_SPANS_PER_RECORD),
        'sagascope.heartbeat.part': part,
        'sagascope.heartbeat.parts': parts,
        'sagascope.heartbeat.open_count': open.length,
        'sagascope.heartbeat.dropped': this.counters.dropped,
        'sagascope.heartbeat.final': final,
      });
    }
    if (!final) this.#next = after(this.#promisedInterval * 1000, () => this.sendHeartbeat());
  }

  /** Sends the final heartbeat. */
  finish() {
    clearTimeout(this.#watch);
    this.sendHeartbeat(true);
  }

  #announce() {
    this.#watch = undefined;
    const now = performance.now();
    for (const [spanId, { span, due }] of this.#unannounced) {
      if (due > now) {
        this.#watch = after(due - now, () => this.#announce());
        break;
      }
      this.#unannounced.delete(spanId);
      this.#announced.set(spanId, span);
      this.#sendStartRecord(span);
    }
    // a process that announced its next heartbeat in a minute and now has open spans announces an earlier one
    if (this.#announced.size && this.#promisedInterval > this.interval) this.sendHeartbeat();
  }

  #sendStartRecord(span) {
    const ofSaga = Object.entries(span.attributes).filter(([name]) => name.startsWith('saga.'));
    this.#put('sagascope.span.start', span.startTime, span.spanContext(), { span }, {
      ...Object.fromEntries(ofSaga),
      'sagascope.span.name': span.name,
      'sagascope.span.kind': KINDS[span.kind],
      'sagascope.span.parent_id': span.parentSpanContext?.spanId ?? '',
    });
  }

  #put(event, at, spanContext, mark, attributes) {
    this.queue.add({
      ...mark, spanContext, attributes, hrTime: at, hrTimeObserved: hrTime(), eventName: event, body: event,
      severityNumber: 9, severityText: 'INFO', droppedAttributesCount: 0, resource: this.resource,
      instrumentationScope: SCOPE,
    });
  }
}

/** A bounded queue, sent one request at a time over a connection that does not keep the process alive. */
class ExportQueue {
  #queue = [];
  #timer;
  #running;
  #backoff = 0;
  #agent;
  #closed = false;

  constructor(options) {
    Object.assign(this, { keep: () => true, ...options });
  }

  get waiting() {
    return this.#queue.length;
  }

  add(record) {
    if (this.#closed || this.#queue.length >= this.size) {
      this.counters.countDropped(1, this.#closed ? 'the process is shutting down' : 'the queue is full');
      return;
    }
    this.#queue.push(record);
    if (!this.#running) this.#timer ??= after(this.delay, () => this.flush());
  }

  /** Sends all records; those of a request that was not accepted stay queued. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#drain().catch(logFailure).finally(() => {
      this.#running = undefined;
      if (this.#queue.length && !this.#closed) this.#timer ??= after(this.#backoff || this.delay, () => this.flush());
    });
    return this.#running;
  }

  close() {
    if (this.#queue.length) this.counters.countDropped(this.#queue.length, 'the process ended first');
    this.#queue = [];
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#agent?.destroy();
  }

  async #drain() {
    while (this.#queue.length) {
      const { batch, body } = this.#encode(this.#queue.splice(0, MAX_RECORDS_PER_REQUEST).filter(this.keep));
      if (!batch.length) continue;
      const result = await this.#post(body);
      if (result.retryable && !this.#closed) {
        this.#queue.unshift(...batch);
        const backoff = result.seconds * 1000 || this.#backoff * 2;
        this.#backoff = Math.min(this.maxBackoff, Math.max(INITIAL_BACKOFF_MS, backoff));
        this.counters.warn(result.reason);
        return;
      }
      this.#backoff = 0;
      this.#settle(batch.length, result);
    }
  }

  #settle(count, { accepted, reason, body }) {
    const partial = accepted ? guarded(() => this.serializer.deserializeResponse(body).partialSuccess) : {};
    const rejected = accepted ? Number(partial?.rejectedSpans ?? partial?.rejectedLogRecords ?? 0) : count;
    this.counters.sent += count - rejected;
    if (rejected) this.counters.countDropped(rejected, partial?.errorMessage || reason);
  }

  /** Encodes records as a request; a record that cannot be encoded is dropped and counted. */
  #encode(batch) {
    const written = (records) => guarded(() => this.serializer.serializeRequest(records));
    const body = written(batch);
    if (body) return { batch, body };
    const fit = batch.filter((record) => written([record]));
    this.counters.countDropped(batch.length - fit.length, 'a record cannot be encoded');
    return { batch: fit, body: written(fit) };
  }

  async #post(body) {
    const first = await this.#try(body);
    return first.stale ? this.#try(body) : first;
  }

  #try(body) {
    return new Promise((resolve) => {
      const url = new URL(this.endpoint.replace(/\/+$/, '') + this.path);
      const client = url.protocol === 'https:' ? https : http;
      this.#agent ??= new client.Agent({ keepAlive: true, maxSockets: 1 });
      const headers = { 'content-type': 'application/x-protobuf', 'content-length': body.length, ...this.headers };
      const options = { method: 'POST', agent: this.#agent, headers, signal: AbortSignal.timeout(this.timeout * 1000) };
      const request = withoutTracing(() => client.request(url, options));
      const lost = (error) => {
        const stale = request.reusedSocket && error.code === 'ECONNRESET';
        resolve({ retryable: true, stale, reason: String(error.message || error.code) });
      };
      request.on('socket', (socket) => socket.unref());
      request.on('error', lost);
      request.on('response', (response) => readResponse(response).then(resolve, lost));
      request.end(body);
    }).catch((error) => ({ retryable: false, accepted: false, reason: String(error) }));
  }
}

/** Counts what became of the records, and warns about problems at most once a minute. */
class Counters {
  sent = 0;
  dropped = 0;
  #warned = -Infinity;

  countDropped(count, reason) {
    this.dropped += count;
    this.warn(reason);
  }

  warn(reason) {
    if (performance.now() - this.#warned < WARNING_INTERVAL_MS) return;
    this.#warned = performance.now();
    api.diag.warn(`Saga telemetry cannot be sent: ${reason}. ${this.dropped} records were dropped so far.`);
  }
}

let isContextKept = false;

/** Returns the current context; registers OpenTelemetry's context manager if the service has none. */
function context() {
  const probe = api.ROOT_CONTEXT.setValue(IS_LOCAL, true);
  isContextKept ||= api.context.with(probe, () => api.context.active() === probe);
  if (!isContextKept) api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return api.context.active();
}

/** Returns the attributes of the saga in a context; undefined outside any saga. */
function sagaAttributesOf(ctx) {
  const baggage = api.propagation.getBaggage(ctx);
  if (!baggage?.getEntry('saga.id')?.value) return undefined;
  const members = MEMBERS.map((name) => [name, baggage.getEntry(name)?.value]).filter(([, value]) => value);
  const attributes = Object.fromEntries(members);
  const attempt = attributes['saga.step.attempt'];
  delete attributes['saga.step.attempt'];
  return /^[1-9]\d{0,8}$/.test(attempt) ? { ...attributes, 'saga.step.attempt': Number(attempt) } : attributes;
}

/** Returns the context with these saga attributes in its baggage; other baggage is unchanged. */
function withSagaInBaggage(ctx, sagaAttributes) {
  let baggage = (api.propagation.getBaggage(ctx) ?? api.propagation.createBaggage()).removeEntries(...MEMBERS);
  for (const [name, value] of Object.entries(sagaAttributes)) {
    baggage = baggage.setEntry(name, { value: String(value).toWellFormed() });
  }
  return api.propagation.setBaggage(ctx, baggage);
}

/** Returns the span for the service's context, with the sampled flag of the service's own sampler. */
function propagatedSpan(span, ctx) {
  const above = api.trace.getSpanContext(ctx);
  const own = span.spanContext();
  const same = above?.traceId !== own.traceId || above.traceFlags === own.traceFlags;
  return same ? span : api.trace.wrapSpanContext({ ...own, traceFlags: above.traceFlags });
}

/** Returns a span or log record with the resource of this process. */
function withResource(record, resource) {
  return record.resource === resource ? record : Object.create(record, { resource: { value: resource } });
}

function optionAttributes(names, options) {
  const attributes = Object.entries(names).map(([option, name]) => [name, options[option]]);
  const keys = Object.entries(options.keys ?? {}).map(([name, value]) => [`saga.key.${name}`, value]);
  return Object.fromEntries([...attributes, ...keys].filter(([, value]) => value !== undefined));
}

function planAttributes(plan) {
  if (!plan) return {};
  return {
    'saga.plan': plan.map((step) => step.name),
    'saga.plan.compensations': plan.map((step) => step.compensation ?? ''),
    'saga.plan.timeouts': plan.map((step) => step.timeout ?? 0),
  };
}

function recordFailure(span, error, options) {
  if (options.retryIn !== undefined) span.setAttribute('saga.step.retry_in', options.retryIn);
  span.recordException(error instanceof Error ? error : String(error));
  span.setStatus({ code: api.SpanStatusCode.ERROR, message: String(error?.message ?? error) });
}

/** Runs `work`, and calls `done` at its end with what it threw; its result and errors propagate unchanged. */
function runToEnd(work, done) {
  const rethrow = (error) => {
    done({ error });
    throw error;
  };
  let result;
  try {
    result = work();
  } catch (error) {
    rethrow(error);
  }
  if (typeof result?.then === 'function') return result.then((value) => (done(), value), rethrow);
  done();
  return result;
}

async function readResponse(response) {
  const parts = [];
  let size = 0;
  for await (const part of response) if ((size += part.length) <= MAX_RESPONSE_BYTES) parts.push(part);
  const { statusCode, headers } = response;
  const [accepted, retryable] = [statusCode >= 200 && statusCode < 300, RETRYABLE_STATUSES.includes(statusCode)];
  const seconds = Number(headers['retry-after']) || 0;
  return { accepted, retryable, seconds, reason: `HTTP ${statusCode}`, body: Buffer.concat(parts) };
}

/** Runs `work` without tracing: our own requests are not part of the service. */
function withoutTracing(work) {
  return api.context.with(suppressTracing(api.ROOT_CONTEXT), work);
}

/** Starts a timer that does not keep the process alive. */
function after(milliseconds, work) {
  return setTimeout(() => guarded(work), milliseconds).unref();
}

function guarded(work) {
  try {
    return work();
  } catch (error) {
    return logFailure(error);
  }
}

function logFailure(error) {
  api.diag.error('Sagascope failed; the service is not affected', error);
}

module.exports = { Sagas };
