// @ts-check
'use strict';

/** Reports work that has not ended: start records and heartbeats, as docs/semconv.md describes them. */

const { millisToHrTime } = require('@opentelemetry/core');
const { SCOPE } = require('./export');
const { after } = require('./guard');

const KINDS = ['internal', 'server', 'client', 'producer', 'consumer'];
const IDLE_INTERVAL_SECONDS = 60; // between heartbeats while no announced span is open
const MAX_SPANS_PER_RECORD = 1_000; // span ids in one heartbeat record; a longer list is split

/**
 * The time by the clock of the spans' starts. hrTime() counts from the start of the process, so that it deviates when
 * the clock is set.
 */
const wallClock = () => millisToHrTime(Date.now());

/** Follows saga spans from start to end, and reports the open ones. */
class InFlightReporter {
  /** @type {Map<string, { span: any, due: number }>} in order of starting */
  #unannounced = new Map();
  /** @type {Map<string, any>} in order of starting */
  #announced = new Map();
  #sequence = 0;
  #promisedInterval = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #watch;
  /** @type {NodeJS.Timeout | undefined} */
  #next;

  /**
   * @param {object} parts
   * @param {import('./export').ExportQueue} parts.queue
   * @param {import('@opentelemetry/resources').Resource} parts.resource
   * @param {number} parts.announceAfter seconds
   * @param {number} parts.heartbeatInterval seconds
   * @param {import('./export').Counters} parts.counters
   */
  constructor({ queue, resource, announceAfter, heartbeatInterval, counters }) {
    this.queue = queue;
    this.resource = resource;
    this.interval = heartbeatInterval;
    this.counters = counters;
    this.announceAfter = announceAfter * 1000;
    // an unsent record may be outdated
    queue.keep = (record) => (record.span ? !record.span.ended : record.sequence === this.#sequence);
  }

  get size() {
    return this.#unannounced.size + this.#announced.size;
  }

  /** @param {any} span */
  add(span) {
    this.#unannounced.set(span.spanContext().spanId, { span, due: performance.now() + this.announceAfter });
    this.#watch ??= after(this.announceAfter, () => this.#announce());
  }

  /** @param {any} span */
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
      this.#put('sagascope.heartbeat', wallClock(), undefined, { sequence: this.#sequence }, {
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

  /** @param {any} span */
  #sendStartRecord(span) {
    const ofSaga = Object.entries(span.attributes).filter(([name]) => name.startsWith('saga.'));
    this.#put('sagascope.span.start', span.startTime, span.spanContext(), { span }, {
      ...Object.fromEntries(ofSaga),
      'sagascope.span.name': span.name,
      'sagascope.span.kind': KINDS[span.kind],
      'sagascope.span.parent_id': span.parentSpanContext?.spanId ?? '',
    });
  }

  /**
   * @param {string} event
   * @param {unknown} at
   * @param {unknown} spanContext
   * @param {object} mark
   * @param {object} attributes
   */
  #put(event, at, spanContext, mark, attributes) {
    this.queue.add({
      ...mark, spanContext, attributes, hrTime: at, hrTimeObserved: wallClock(), eventName: event, body: event,
      severityNumber: 9, severityText: 'INFO', droppedAttributesCount: 0, resource: this.resource,
      instrumentationScope: SCOPE,
    });
  }
}

module.exports = { InFlightReporter };
