// @ts-check
'use strict';

/**
 * Sagascope for a Node.js service: saga attributes on spans and on everything below them, start records and heartbeats, with
 * the names of docs/semconv.md. It needs OpenTelemetry's own packages only; copy this folder into your service.
 *
 * Saga spans have their own provider and exporter, so the sampler, the exporters and the volume of the service do not
 * change. Nothing here throws into its host, keeps the process alive or handles a signal; errors of your own code
 * propagate unchanged.
 */

const { randomUUID } = require('node:crypto');
const api = require('@opentelemetry/api');
const { ProtobufLogsSerializer, ProtobufTraceSerializer } = require('@opentelemetry/otlp-transformer');
const { defaultResource, resourceFromAttributes } = require('@opentelemetry/resources');
const { AlwaysOnSampler, BasicTracerProvider } = require('@opentelemetry/sdk-trace-node');
const {
  IS_LOCAL, SAGA_OPTIONS, STEP_OPTIONS, context, optionAttributes, planAttributes, sagaAttributesOf, withSagaInBaggage,
} = require('./attributes');
const { Counters, ExportQueue, SCOPE } = require('./export');
const { guarded, runToEnd } = require('./guard');
const { InFlightReporter } = require('./in_flight');

/**
 * @typedef {import('./attributes').SagaOptions} SagaOptions
 * @typedef {import('./attributes').StepOptions} StepOptions
 */

const URGENT_DELAY_MS = 20; // start records and heartbeats leave within 0.2 s
const BATCH_DELAY_MS = 200; // ended saga spans leave within 1 s
const MAX_BACKOFF_MS = 30_000;
const MAX_URGENT_BACKOFF_MS = 2_000;
const MAX_COUNTED_STEPS = 10_000; // steps whose attempts are counted; beyond it the oldest counts are dropped

/** The sagas of this process. Create one, before or after the service's own OpenTelemetry. */
class Sagas {
  #tracer;
  #inFlight;
  #queues;
  #counters = new Counters();
  /** @type {Map<string, number>} */
  #attempts = new Map();
  /** @type {Promise<void> | undefined} */
  #closing;
  #onBeforeExit = () => this.shutdown();

  /**
   * @param {object} [options]
   * @param {import('@opentelemetry/resources').Resource} [options.resource] the service's; it needs `service.name`
   * @param {string} [options.endpoint] OTLP/HTTP address; else SAGASCOPE_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT
   * @param {Record<string, string>} [options.headers] headers of each request, such as `{ authorization: 'Bearer ...' }`
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
    /**
     * @param {string} path
     * @param {unknown} serializer
     * @param {{ delay: number, maxBackoff: number }} more
     */
    const queue = (path, serializer, more) => new ExportQueue({ ...target, path, serializer, size: queueSize, ...more });

    const spans = queue('/v1/traces', ProtobufTraceSerializer, { delay: BATCH_DELAY_MS, maxBackoff: MAX_BACKOFF_MS });
    const logs = queue('/v1/logs', ProtobufLogsSerializer, { delay: BATCH_DELAY_MS, maxBackoff: MAX_BACKOFF_MS });
    const urgentBackoff = { delay: URGENT_DELAY_MS, maxBackoff: MAX_URGENT_BACKOFF_MS };
    const urgent = queue('/v1/logs', ProtobufLogsSerializer, urgentBackoff);
    this.#queues = [spans, logs, urgent];
    const counters = this.#counters;
    this.#inFlight = new InFlightReporter({ queue: urgent, resource, announceAfter, heartbeatInterval, counters });

    /**
     * For the service's tracer provider: adds saga attributes to its spans, and sends a copy of them.
     *
     * @type {import('@opentelemetry/sdk-trace-node').SpanProcessor}
     */
    this.spanProcessor = {
      onStart: (span, ctx) => guarded(() => this.#onStart(span, ctx)),
      onEnd: (span) => guarded(() => this.#onEnd(span, spans, resource)),
      forceFlush: () => spans.flush(),
      shutdown: async () => {},
    };
    /**
     * For the service's logger provider: adds saga attributes to its records, and sends a copy of them.
     *
     * @type {import('@opentelemetry/sdk-logs').LogRecordProcessor}
     */
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
   * @template T
   * @param {string} name the saga's type
   * @param {string} id the id that people quote
   * @param {SagaOptions} options
   * @param {(span: api.Span) => T} work
   * @returns {T}
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
   * @template T
   * @param {string} name such as `refund.pay`
   * @param {StepOptions} options
   * @param {(span: api.Span) => T} work
   * @returns {T}
   */
  step(name, options = {}, work) {
    return this.#attempt(name, options, work, { 'saga.step.type': 'action' });
  }

  /**
   * Runs `work(span)` as one attempt of a compensation.
   *
   * @template T
   * @param {string} name such as `refund.revoke`
   * @param {string} compensates the step that it compensates
   * @param {StepOptions} options
   * @param {(span: api.Span) => T} work
   * @returns {T}
   */
  compensation(name, compensates, options = {}, work) {
    const compensated = compensates && { 'saga.step.compensates': compensates };
    return this.#attempt(name, options, work, { 'saga.step.type': 'compensation', ...compensated });
  }

  /** Returns what became of the telemetry of this process so far. */
  stats() {
    const waiting = this.#queues.reduce((sum, queue) => sum + queue.waiting, 0);
    return { sent: this.#counters.sent, dropped: this.#counters.dropped, waiting, openSpans: this.#inFlight.size };
  }

  /**
   * Sends a final heartbeat and all queued records, within `seconds`. It runs when the event loop is empty.
   *
   * @returns {Promise<void>}
   */
  shutdown(seconds = 2) {
    this.#closing ??= this.#close(seconds * 1000);
    return this.#closing;
  }

  /** @param {number} milliseconds */
  async #close(milliseconds) {
    process.off('beforeExit', this.#onBeforeExit);
    guarded(() => this.#inFlight.finish());
    const sent = Promise.all(this.#queues.map((queue) => queue.flush()));
    /** @type {NodeJS.Timeout | undefined} */
    let deadline; // this timer alone keeps the process alive
    await Promise.race([sent, new Promise((resolve) => { deadline = setTimeout(resolve, milliseconds); })]);
    clearTimeout(deadline);
    for (const queue of this.#queues) queue.close();
  }

  /**
   * @template T
   * @param {string} name
   * @param {StepOptions} options
   * @param {(span: api.Span) => T} work
   * @param {Record<string, string>} attributes
   * @returns {T}
   */
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

  /**
   * Returns key and number: as given, else the caller's if this is its attempt, else counted here.
   *
   * @param {string} name
   * @param {StepOptions} options
   * @param {Record<string, any>} above
   * @param {api.Context} ctx
   * @param {string} type
   */
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
    if (this.#attempts.size > MAX_COUNTED_STEPS) this.#attempts.delete(String(this.#attempts.keys().next().value));
    return { key, attempt };
  }

  /**
   * @param {string} name
   * @param {api.Context} ctx
   * @param {Record<string, any>} sagaAttributes
   * @param {api.Attributes} attributes
   */
  #open(name, ctx, sagaAttributes, attributes) {
    const sagaContext = withSagaInBaggage(ctx, sagaAttributes).setValue(IS_LOCAL, true);
    const span = this.#tracer.startSpan(name, { attributes: { ...attributes, ...sagaAttributes } }, sagaContext);
    return { span, inside: api.trace.setSpan(sagaContext, propagatedSpan(span, ctx)) };
  }

  /**
   * @template T
   * @param {(span: api.Span) => T} work
   * @param {StepOptions} options
   * @param {(ctx: api.Context) => { span: api.Span, inside: api.Context } | undefined} open
   * @param {(span: any, thrown?: { error: unknown }) => void} ending
   * @returns {T}
   */
  #within(work, options, open, ending = () => {}) {
    const opened = guarded(() => open(context()));
    if (opened === undefined) return work(api.trace.wrapSpanContext(api.INVALID_SPAN_CONTEXT));
    const { span, inside } = opened;
    /** @param {{ error: unknown }} [thrown] */
    const done = (thrown) => guarded(() => {
      if (thrown) recordFailure(span, thrown.error, options);
      ending(span, thrown);
      span.end();
    });
    return runToEnd(() => api.context.with(inside, () => work(span)), done);
  }

  /**
   * @param {any} span
   * @param {api.Context} ctx
   */
  #onStart(span, ctx) {
    const attributes = sagaAttributesOf(ctx);
    if (attributes !== undefined) span.setAttributes(attributes);
    if (span.attributes['saga.role'] && span.attributes['saga.id']) this.#inFlight.add(span);
  }

  /**
   * @param {any} span
   * @param {ExportQueue} queue
   * @param {import('@opentelemetry/resources').Resource} resource
   */
  #onEnd(span, queue, resource) {
    this.#inFlight.remove(span);
    if (span.attributes['saga.id']) queue.add(withResource(span, resource));
  }

  /**
   * @param {any} record
   * @param {api.Context} ctx
   * @param {ExportQueue} queue
   * @param {import('@opentelemetry/resources').Resource} resource
   */
  #onLog(record, ctx, queue, resource) {
    const attributes = sagaAttributesOf(ctx);
    if (attributes !== undefined) record.setAttributes(attributes);
    if (record.attributes['saga.id']) queue.add(withResource(record, resource));
  }
}

/**
 * Returns the span for the service's context, with the sampled flag of the service's own sampler.
 *
 * @param {api.Span} span
 * @param {api.Context} ctx
 */
function propagatedSpan(span, ctx) {
  const above = api.trace.getSpanContext(ctx);
  const own = span.spanContext();
  const same = above === undefined || above.traceId !== own.traceId || above.traceFlags === own.traceFlags;
  return same ? span : api.trace.wrapSpanContext({ ...own, traceFlags: above.traceFlags });
}

/**
 * Returns a span or log record with the resource of this process.
 *
 * @param {any} record
 * @param {import('@opentelemetry/resources').Resource} resource
 */
function withResource(record, resource) {
  return record.resource === resource ? record : Object.create(record, { resource: { value: resource } });
}

/**
 * @param {api.Span} span
 * @param {any} error
 * @param {StepOptions} options
 */
function recordFailure(span, error, options) {
  if (options.retryIn !== undefined) span.setAttribute('saga.step.retry_in', options.retryIn);
  span.recordException(error instanceof Error ? error : String(error));
  span.setStatus({ code: api.SpanStatusCode.ERROR, message: String(error?.message ?? error) });
}

module.exports = { Sagas };
