'use strict';

/**
 * Sagascope in a Node.js service, in one file: saga attributes on spans and on everything below them, start records and
 * heartbeats, with the names of docs/semconv.md. It stands on OpenTelemetry's own packages; copy it into your service.
 *
 * Saga spans come from a provider of its own and leave by a way of their own, so the sampler, the exporters and the
 * volume of the service stay as they are. Nothing here throws into its host, keeps the process alive or takes a
 * signal; errors of your own work pass unchanged.
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

/** What travels in `baggage` and is stamped on everything below; no other member is. */
const MEMBERS = ['saga.id', 'saga.name', 'saga.run.id', 'saga.step.name', 'saga.step.key', 'saga.step.attempt'];

/** What may be told of a saga, and of an attempt, when it is opened, and the attributes that say it. */
const OF_SAGAS = { amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.timeout' };
const OF_STEPS = {
  amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.step.timeout', pivot: 'saga.step.pivot',
  idempotencyKey: 'saga.step.idempotency_key', maxAttempts: 'saga.step.max_attempts', resources: 'saga.step.resources',
};

const KINDS = ['internal', 'server', 'client', 'producer', 'consumer'];
const IDLE_INTERVAL = 60; // seconds between heartbeats while nothing announced is open
const SPANS_A_RECORD = 1_000; // span ids in one heartbeat record; a longer list comes in several
const RECORDS_A_REQUEST = 512;
const GATHER_URGENT = 20; // ms; start records and heartbeats leave within 0.2 s
const GATHER = 200; // ms; ended saga spans leave within 1 s
const FIRST_RETRY = 500; // ms
const RETRYABLE = [429, 502, 503, 504];
const LONGEST_ANSWER = 65_536; // bytes
const COUNTED_STEPS = 10_000; // attempts of that many steps are counted; the oldest are forgotten
const BETWEEN_WARNINGS = 60_000; // ms

/** In a context: the saga was opened or taken up in this process, its baggage is not only the caller's. */
const OURS = api.createContextKey('sagascope: a place in this process');

/** The sagas of this process. Make one, before or after the service's own OpenTelemetry. */
class Sagas {
  #tracer;
  #inFlight;
  #lanes;
  #tally = new Tally();
  #attempts = new Map();
  #closing;
  #leave = () => this.shutdown();

  /**
   * @param {object} [options]
   * @param {import('@opentelemetry/resources').Resource} [options.resource] the service's; it needs `service.name`
   * @param {string} [options.endpoint] OTLP/HTTP address; else SAGASCOPE_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT
   * @param {object} [options.headers] sent along, such as `{ authorization: 'Bearer ...' }`
   * @param {number} [options.announceAfter] seconds after which an open saga span is announced
   * @param {number} [options.heartbeatInterval] seconds between heartbeats while an announced span is open
   * @param {number} [options.queueSize] ended spans, and as many log records, that wait in memory at most
   * @param {number} [options.timeout] seconds for one request
   */
  constructor(options = {}) {
    const { announceAfter = 0.25, heartbeatInterval = 5, queueSize = 8192, timeout = 5, headers = {} } = options;
    const endpoint = options.endpoint || process.env.SAGASCOPE_ENDPOINT || process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
    const way = { endpoint: endpoint || 'http://127.0.0.1:4318', headers, timeout, tally: this.#tally };
    const identity = resourceFromAttributes({ 'sagascope.process.id': randomUUID().replaceAll('-', '') });
    const resource = (options.resource ?? defaultResource()).merge(identity);
    const lane = (path, serializer, more) => new Lane({ ...way, path, serializer, size: queueSize, ...more });

    const spans = lane('/v1/traces', ProtobufTraceSerializer, { gather: GATHER, longestRetry: 30_000 });
    const logs = lane('/v1/logs', ProtobufLogsSerializer, { gather: GATHER, longestRetry: 30_000 });
    const urgent = lane('/v1/logs', ProtobufLogsSerializer, { gather: GATHER_URGENT, longestRetry: 2_000 });
    this.#lanes = [spans, logs, urgent];
    this.#inFlight = new InFlight({ lane: urgent, resource, announceAfter, heartbeatInterval, tally: this.#tally });

    /** For the service's tracer provider: stamps its spans inside sagas, and sends a copy of them. */
    this.spanProcessor = {
      onStart: (span, ctx) => guarded(() => this.#started(span, ctx)),
      onEnd: (span) => guarded(() => this.#ended(span, spans, resource)),
      forceFlush: () => spans.flush(),
      shutdown: async () => {},
    };
    /** For the service's logger provider: stamps its records inside sagas, and sends a copy of them. */
    this.logProcessor = {
      onEmit: (record, ctx) => guarded(() => this.#logged(record, ctx ?? api.context.active(), logs, resource)),
      forceFlush: () => logs.flush(),
      shutdown: async () => {},
    };
    const sampler = new AlwaysOnSampler();
    const provider = new BasicTracerProvider({ resource, sampler, spanProcessors: [this.spanProcessor] });
    this.#tracer = provider.getTracer(SCOPE.name, SCOPE.version, { schemaUrl: SCOPE.schemaUrl });
    process.on('beforeExit', this.#leave);
    this.#inFlight.beat();
  }

  /**
   * Run `work(span)` as a whole saga, and give back what it gives. The saga is `completed`, or `failed` when it throws,
   * unless `work` sets `saga.outcome` on the span.
   *
   * @param {string} name the saga's type
   * @param {string} id the id that people quote
   * @param {object} told `runId`, `plan` (`[{ name, compensation, timeout }]`), `timeout` (seconds), `amount`,
   *   `currency`, `keys` (`{ order_id: 'A-17' }`)
   */
  run(name, id, told = {}, work) {
    return this.#within(work, told, (ctx) => {
      const place = { 'saga.name': name, 'saga.id': String(id), ...(told.runId && { 'saga.run.id': told.runId }) };
      return this.#open(name, ctx, place, { 'saga.role': 'saga', ...planOf(told.plan), ...toldOf(OF_SAGAS, told) });
    }, (span, thrown) => {
      if (!('saga.outcome' in span.attributes)) span.setAttribute('saga.outcome', thrown ? 'failed' : 'completed');
    });
  }

  /**
   * Run `work(span)` as one attempt of a step of the saga that is current; outside any saga it just runs.
   *
   * @param {string} name such as `refund.pay`
   * @param {object} told `attempt`, `key`, `maxAttempts`, `retryIn` and `timeout` (seconds), `idempotencyKey`,
   *   `pivot`, `resources`, `amount`, `currency`, `keys`
   */
  step(name, told = {}, work) {
    return this.#attempt(name, told, work, { 'saga.step.type': 'action' });
  }

  /** Likewise, as a step that undoes another. */
  compensation(name, compensates, told = {}, work) {
    const said = { 'saga.step.type': 'compensation', ...(compensates && { 'saga.step.compensates': compensates }) };
    return this.#attempt(name, told, work, said);
  }

  /** What became of the telemetry of this process so far. */
  stats() {
    const waiting = this.#lanes.reduce((sum, lane) => sum + lane.waiting, 0);
    return { sent: this.#tally.sent, dropped: this.#tally.dropped, waiting, openSpans: this.#inFlight.size };
  }

  /** Say goodbye and send what waits, for at most `seconds`. It is called by itself where the process runs dry. */
  shutdown(seconds = 2) {
    this.#closing ??= this.#close(seconds * 1000);
    return this.#closing;
  }

  async #close(milliseconds) {
    process.off('beforeExit', this.#leave);
    guarded(() => this.#inFlight.finish());
    const sent = Promise.all(this.#lanes.map((lane) => lane.flush()));
    let deadline; // it alone keeps the process alive meanwhile
    await Promise.race([sent, new Promise((resolve) => { deadline = setTimeout(resolve, milliseconds); })]);
    clearTimeout(deadline);
    for (const lane of this.#lanes) lane.close();
  }

  #attempt(name, told, work, said) {
    return this.#within(work, told, (ctx) => {
      const above = stampOf(ctx);
      if (above === undefined) return undefined;
      const { key, attempt } = this.#numbered(name, told, above, ctx, said['saga.step.type']);
      const step = { 'saga.step.name': name, ...(key && { 'saga.step.key': key }), 'saga.step.attempt': attempt };
      const { 'saga.id': id, 'saga.name': type, 'saga.run.id': run } = above;
      const place = { 'saga.id': id, ...(type && { 'saga.name': type }), ...(run && { 'saga.run.id': run }), ...step };
      return this.#open(name, ctx, place, { 'saga.role': 'step', ...said, ...toldOf(OF_STEPS, told) });
    });
  }

  /** Key and number: as told, else the caller's where both see one attempt, else counted here. */
  #numbered(name, told, above, ctx, type) {
    const its = above['saga.step.key'] ?? '';
    const shared = !ctx.getValue(OURS) && above['saga.step.name'] === name && [undefined, '', its].includes(told.key);
    const key = shared ? its : String(told.key ?? '');
    const counted = JSON.stringify([above['saga.name'], above['saga.id'], above['saga.run.id'], type, name, key]);
    const said = told.attempt ?? (shared ? above['saga.step.attempt'] : undefined);
    const attempt = said ?? (this.#attempts.get(counted) ?? 0) + 1;
    this.#attempts.delete(counted);
    this.#attempts.set(counted, attempt);
    if (this.#attempts.size > COUNTED_STEPS) this.#attempts.delete(this.#attempts.keys().next().value);
    return { key, attempt };
  }

  #open(name, ctx, place, attributes) {
    const placed = put(ctx, place).setValue(OURS, true);
    const span = this.#tracer.startSpan(name, { attributes: { ...attributes, ...place } }, placed);
    return { span, inside: api.trace.setSpan(placed, carried(span, ctx)) };
  }

  #within(work, told, open, ending = () => {}) {
    const opened = guarded(() => open(context()));
    if (opened === undefined) return work(api.trace.wrapSpanContext(api.INVALID_SPAN_CONTEXT));
    const { span, inside } = opened;
    const done = (thrown) => guarded(() => {
      if (thrown) failed(span, thrown.error, told);
      ending(span, thrown);
      span.end();
    });
    return settled(() => api.context.with(inside, () => work(span)), done);
  }

  #started(span, ctx) {
    const stamp = stampOf(ctx);
    if (stamp !== undefined) span.setAttributes(stamp);
    if (span.attributes['saga.role'] && span.attributes['saga.id']) this.#inFlight.opened(span);
  }

  #ended(span, lane, resource) {
    this.#inFlight.ended(span);
    if (span.attributes['saga.id']) lane.put(as(span, resource));
  }

  #logged(record, ctx, lane, resource) {
    const stamp = stampOf(ctx);
    if (stamp !== undefined) record.setAttributes(stamp);
    if (record.attributes['saga.id']) lane.put(as(record, resource));
  }
}

/** Watches saga spans from their start to their end, and says which are open. */
class InFlight {
  #fresh = new Map(); // both in the order of starting
  #announced = new Map();
  #sequence = 0;
  #said = 0;
  #watch;
  #next;

  constructor({ lane, resource, announceAfter, heartbeatInterval, tally }) {
    Object.assign(this, { lane, resource, interval: heartbeatInterval, tally, announceAfter: announceAfter * 1000 });
    // what waits to be sent again may have been overtaken
    lane.keep = (record) => (record.span ? !record.span.ended : record.sequence === this.#sequence);
  }

  get size() {
    return this.#fresh.size + this.#announced.size;
  }

  opened(span) {
    this.#fresh.set(span.spanContext().spanId, { span, due: performance.now() + this.announceAfter });
    this.#watch ??= after(this.announceAfter, () => this.#announce());
  }

  ended(span) {
    const { spanId } = span.spanContext();
    if (!this.#fresh.delete(spanId)) this.#announced.delete(spanId);
  }

  /** Say that this process is alive, and which announced spans it has open. */
  beat(final = false) {
    clearTimeout(this.#next);
    const open = [...this.#announced.keys()];
    const parts = Math.max(1, Math.ceil(open.length / SPANS_A_RECORD));
    this.#said = open.length ? this.interval : Math.max(IDLE_INTERVAL, this.interval);
    this.#sequence += 1;
    for (let part = 1; part <= parts; part += 1) {
      this.#put('sagascope.heartbeat', hrTime(), undefined, { sequence: this.#sequence }, {
        'sagascope.heartbeat.interval': this.#said,
        'sagascope.heartbeat.sequence': this.#sequence,
        'sagascope.heartbeat.open_spans': open.slice((part - 1) * SPANS_A_RECORD, part * SPANS_A_RECORD),
        'sagascope.heartbeat.part': part,
        'sagascope.heartbeat.parts': parts,
        'sagascope.heartbeat.open_count': open.length,
        'sagascope.heartbeat.dropped': this.tally.dropped,
        'sagascope.heartbeat.final': final,
      });
    }
    if (!final) this.#next = after(this.#said * 1000, () => this.beat());
  }

  /** Say the last word. */
  finish() {
    clearTimeout(this.#watch);
    this.beat(true);
  }

  #announce() {
    this.#watch = undefined;
    const now = performance.now();
    for (const [spanId, { span, due }] of this.#fresh) {
      if (due > now) {
        this.#watch = after(due - now, () => this.#announce());
        break;
      }
      this.#fresh.delete(spanId);
      this.#announced.set(spanId, span);
      this.#say(span);
    }
    // a process that promised to speak in a minute, and now has something open, promises to speak sooner
    if (this.#announced.size && this.#said > this.interval) this.beat();
  }

  #say(span) {
    const ofSaga = Object.entries(span.attributes).filter(([name]) => name.startsWith('saga.'));
    this.#put('sagascope.span.start', span.startTime, span.spanContext(), { span }, {
      ...Object.fromEntries(ofSaga),
      'sagascope.span.name': span.name,
      'sagascope.span.kind': KINDS[span.kind],
      'sagascope.span.parent_id': span.parentSpanContext?.spanId ?? '',
    });
  }

  #put(event, at, spanContext, mark, attributes) {
    this.lane.put({
      ...mark, spanContext, attributes, hrTime: at, hrTimeObserved: hrTime(), eventName: event, body: event,
      severityNumber: 9, severityText: 'INFO', droppedAttributesCount: 0, resource: this.resource,
      instrumentationScope: SCOPE,
    });
  }
}

/** A bounded queue and the way out of it, one request at a time over one connection that keeps nothing alive. */
class Lane {
  #queue = [];
  #timer;
  #running;
  #wait = 0;
  #agent;
  #closed = false;

  constructor(options) {
    Object.assign(this, { keep: () => true, ...options });
  }

  get waiting() {
    return this.#queue.length;
  }

  put(record) {
    if (this.#closed || this.#queue.length >= this.size) {
      this.tally.lost(1, this.#closed ? 'the process is shutting down' : 'the queue is full');
      return;
    }
    this.#queue.push(record);
    if (!this.#running) this.#timer ??= after(this.gather, () => this.flush());
  }

  /** Send what waits; a request that was not taken leaves its records waiting. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#drain().catch(complain).finally(() => {
      this.#running = undefined;
      if (this.#queue.length && !this.#closed) this.#timer ??= after(this.#wait || this.gather, () => this.flush());
    });
    return this.#running;
  }

  close() {
    if (this.#queue.length) this.tally.lost(this.#queue.length, 'the process ended first');
    this.#queue = [];
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#agent?.destroy();
  }

  async #drain() {
    while (this.#queue.length) {
      const { batch, body } = this.#encode(this.#queue.splice(0, RECORDS_A_REQUEST).filter(this.keep));
      if (!batch.length) continue;
      const answer = await this.#post(body);
      if (answer.later && !this.#closed) {
        this.#queue.unshift(...batch);
        const asked = answer.seconds * 1000 || this.#wait * 2;
        this.#wait = Math.min(this.longestRetry, Math.max(FIRST_RETRY, asked));
        this.tally.warn(answer.why);
        return;
      }
      this.#wait = 0;
      this.#settle(batch.length, answer);
    }
  }

  #settle(count, { taken, why, body }) {
    const partial = taken ? guarded(() => this.serializer.deserializeResponse(body).partialSuccess) : {};
    const rejected = taken ? Number(partial?.rejectedSpans ?? partial?.rejectedLogRecords ?? 0) : count;
    this.tally.sent += count - rejected;
    if (rejected) this.tally.lost(rejected, partial?.errorMessage || why);
  }

  /** Records as a request; one that cannot be written does not take the others with it. */
  #encode(batch) {
    const written = (records) => guarded(() => this.serializer.serializeRequest(records));
    const body = written(batch);
    if (body) return { batch, body };
    const fit = batch.filter((record) => written([record]));
    this.tally.lost(batch.length - fit.length, 'a record cannot be encoded');
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
      const request = quietly(() => client.request(url, options));
      const lost = (error) => {
        const stale = request.reusedSocket && error.code === 'ECONNRESET';
        resolve({ later: true, stale, why: String(error.message || error.code) });
      };
      request.on('socket', (socket) => socket.unref());
      request.on('error', lost);
      request.on('response', (response) => read(response).then((said) => resolve(said), lost));
      request.end(body);
    }).catch((error) => ({ later: false, taken: false, why: String(error) }));
  }
}

/** Counts what became of the records, and warns about it, at most once a minute. */
class Tally {
  sent = 0;
  dropped = 0;
  #warned = -Infinity;

  lost(count, why) {
    this.dropped += count;
    this.warn(why);
  }

  warn(why) {
    if (performance.now() - this.#warned < BETWEEN_WARNINGS) return;
    this.#warned = performance.now();
    api.diag.warn(`Saga telemetry cannot be sent: ${why}. ${this.dropped} records were dropped so far.`);
  }
}

let isContextKept = false;

/** The current context. A service that has set up nothing which keeps it gets what OpenTelemetry has for that. */
function context() {
  const probe = api.ROOT_CONTEXT.setValue(OURS, true);
  isContextKept ||= api.context.with(probe, () => api.context.active() === probe);
  if (!isContextKept) api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return api.context.active();
}

/** The saga that a context stands in, as attributes; undefined: in none. */
function stampOf(ctx) {
  const baggage = api.propagation.getBaggage(ctx);
  if (!baggage?.getEntry('saga.id')?.value) return undefined;
  const said = MEMBERS.map((name) => [name, baggage.getEntry(name)?.value]).filter(([, value]) => value);
  const stamp = Object.fromEntries(said);
  const attempt = stamp['saga.step.attempt'];
  delete stamp['saga.step.attempt'];
  return /^[1-9]\d{0,8}$/.test(attempt) ? { ...stamp, 'saga.step.attempt': Number(attempt) } : stamp;
}

/** The context with this place in its baggage; other baggage stays. */
function put(ctx, place) {
  let baggage = (api.propagation.getBaggage(ctx) ?? api.propagation.createBaggage()).removeEntries(...MEMBERS);
  for (const [name, value] of Object.entries(place)) {
    baggage = baggage.setEntry(name, { value: String(value).toWellFormed() });
  }
  return api.propagation.setBaggage(ctx, baggage);
}

/** The span as the service goes on with it: with the sampled flag that its own sampler gave. */
function carried(span, ctx) {
  const above = api.trace.getSpanContext(ctx);
  const own = span.spanContext();
  const same = above?.traceId !== own.traceId || above.traceFlags === own.traceFlags;
  return same ? span : api.trace.wrapSpanContext({ ...own, traceFlags: above.traceFlags });
}

/** A span or log record as one of this process, whatever resource its provider has. */
function as(record, resource) {
  return record.resource === resource ? record : Object.create(record, { resource: { value: resource } });
}

function toldOf(names, told) {
  const said = Object.entries(names).map(([option, name]) => [name, told[option]]);
  const keys = Object.entries(told.keys ?? {}).map(([name, value]) => [`saga.key.${name}`, value]);
  return Object.fromEntries([...said, ...keys].filter(([, value]) => value !== undefined));
}

function planOf(plan) {
  if (!plan) return {};
  return {
    'saga.plan': plan.map((step) => step.name),
    'saga.plan.compensations': plan.map((step) => step.compensation ?? ''),
    'saga.plan.timeouts': plan.map((step) => step.timeout ?? 0),
  };
}

function failed(span, error, told) {
  if (told.retryIn !== undefined) span.setAttribute('saga.step.retry_in', told.retryIn);
  span.recordException(error instanceof Error ? error : String(error));
  span.setStatus({ code: api.SpanStatusCode.ERROR, message: String(error?.message ?? error) });
}

/** Run it, and call `done` once it has ended, with what it threw; its result and errors pass unchanged. */
function settled(work, done) {
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

async function read(response) {
  const parts = [];
  let size = 0;
  for await (const part of response) if ((size += part.length) <= LONGEST_ANSWER) parts.push(part);
  const { statusCode, headers } = response;
  const [taken, later] = [statusCode >= 200 && statusCode < 300, RETRYABLE.includes(statusCode)];
  const seconds = Number(headers['retry-after']) || 0;
  return { taken, later, seconds, why: `HTTP ${statusCode}`, body: Buffer.concat(parts) };
}

/** Our own calls are no part of what the service does. */
function quietly(work) {
  return api.context.with(suppressTracing(api.ROOT_CONTEXT), work);
}

/** A timer that keeps nothing alive. */
function after(milliseconds, work) {
  return setTimeout(() => guarded(work), milliseconds).unref();
}

function guarded(work) {
  try {
    return work();
  } catch (error) {
    return complain(error);
  }
}

function complain(error) {
  api.diag.error('Sagascope failed, and the service goes on', error);
}

module.exports = { Sagas };
