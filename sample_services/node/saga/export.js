// @ts-check
'use strict';

/** Queues ended spans and log records, bounded, and sends them to the collector. */

const http = require('node:http');
const https = require('node:https');
const api = require('@opentelemetry/api');
const { suppressTracing } = require('@opentelemetry/core');
const { after, guarded, logFailure } = require('./guard');

const SCOPE = { name: 'sagascope-node', version: '1.0.0', schemaUrl: 'https://sagascope.dev/schemas/1' };

const MAX_RECORDS_PER_REQUEST = 512;
const INITIAL_BACKOFF_MS = 500;
const RETRYABLE_STATUSES = [429, 502, 503, 504];
const MAX_RESPONSE_BYTES = 65_536;
const WARNING_INTERVAL_MS = 60_000;

/**
 * What became of a request.
 *
 * @typedef {object} Answer
 * @property {boolean} accepted
 * @property {boolean} retryable
 * @property {string} reason
 * @property {boolean} [stale] the server had closed the kept connection
 * @property {number} [seconds] that the server asked to wait
 * @property {Buffer} [body]
 */

/** A bounded queue, sent one request at a time over a connection that does not keep the process alive. */
class ExportQueue {
  /** @type {any[]} */
  #queue = [];
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {Promise<void> | undefined} */
  #running;
  #backoff = 0;
  /** @type {http.Agent | undefined} */
  #agent;
  #closed = false;
  /** Returns whether a record is still worth sending. @type {(record: any) => boolean} */
  keep = () => true;

  /**
   * @param {object} options
   * @param {string} options.endpoint
   * @param {string} options.path
   * @param {any} options.serializer OpenTelemetry's, for this kind of record
   * @param {number} options.size records held in memory at most
   * @param {number} options.delay milliseconds for which records are collected
   * @param {number} options.maxBackoff milliseconds
   * @param {number} options.timeout seconds for one request
   * @param {Record<string, string>} options.headers
   * @param {Counters} options.counters
   */
  constructor(options) {
    this.endpoint = options.endpoint;
    this.path = options.path;
    this.serializer = options.serializer;
    this.size = options.size;
    this.delay = options.delay;
    this.maxBackoff = options.maxBackoff;
    this.timeout = options.timeout;
    this.headers = options.headers;
    this.counters = options.counters;
  }

  get waiting() {
    return this.#queue.length;
  }

  /** @param {any} record */
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
        const backoff = (result.seconds ?? 0) * 1000 || this.#backoff * 2;
        this.#backoff = Math.min(this.maxBackoff, Math.max(INITIAL_BACKOFF_MS, backoff));
        this.counters.warn(result.reason);
        return;
      }
      this.#backoff = 0;
      this.#settle(batch.length, result);
    }
  }

  /**
   * @param {number} count
   * @param {Answer} answer
   */
  #settle(count, { accepted, reason, body }) {
    const partial = accepted ? guarded(() => this.serializer.deserializeResponse(body).partialSuccess) : {};
    const rejected = accepted ? Number(partial?.rejectedSpans ?? partial?.rejectedLogRecords ?? 0) : count;
    this.counters.sent += count - rejected;
    if (rejected) this.counters.countDropped(rejected, partial?.errorMessage || reason);
  }

  /**
   * Encodes records as a request; a record that cannot be encoded is dropped and counted.
   *
   * @param {any[]} batch
   * @returns {{ batch: any[], body: Uint8Array }}
   */
  #encode(batch) {
    /** @param {any[]} records */
    const written = (records) => guarded(() => this.serializer.serializeRequest(records));
    const body = written(batch);
    if (body) return { batch, body };
    const fit = batch.filter((record) => written([record]));
    this.counters.countDropped(batch.length - fit.length, 'a record cannot be encoded');
    return { batch: fit, body: written(fit) };
  }

  /**
   * @param {Uint8Array} body
   * @returns {Promise<Answer>}
   */
  async #post(body) {
    const first = await this.#try(body);
    return first.stale ? this.#try(body) : first;
  }

  /**
   * @param {Uint8Array} body
   * @returns {Promise<Answer>}
   */
  #try(body) {
    return new Promise((resolve) => {
      const url = new URL(this.endpoint.replace(/\/+$/, '') + this.path);
      const client = url.protocol === 'https:' ? https : http;
      this.#agent ??= new client.Agent({ keepAlive: true, maxSockets: 1 });
      const headers = { 'content-type': 'application/x-protobuf', 'content-length': body.length, ...this.headers };
      const options = { method: 'POST', agent: this.#agent, headers, signal: AbortSignal.timeout(this.timeout * 1000) };
      const request = withoutTracing(() => client.request(url, options));
      /** @param {any} error */
      const lost = (error) => {
        const stale = request.reusedSocket && error.code === 'ECONNRESET';
        resolve({ accepted: false, retryable: true, stale, reason: String(error.message || error.code) });
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

  /**
   * @param {number} count
   * @param {string} reason
   */
  countDropped(count, reason) {
    this.dropped += count;
    this.warn(reason);
  }

  /** @param {string} reason */
  warn(reason) {
    if (performance.now() - this.#warned < WARNING_INTERVAL_MS) return;
    this.#warned = performance.now();
    api.diag.warn(`Saga telemetry cannot be sent: ${reason}. ${this.dropped} records were dropped so far.`);
  }
}

/**
 * @param {http.IncomingMessage} response
 * @returns {Promise<Answer>}
 */
async function readResponse(response) {
  const parts = [];
  let size = 0;
  for await (const part of response) if ((size += part.length) <= MAX_RESPONSE_BYTES) parts.push(part);
  const { statusCode = 0, headers } = response;
  const [accepted, retryable] = [statusCode >= 200 && statusCode < 300, RETRYABLE_STATUSES.includes(statusCode)];
  const seconds = Number(headers['retry-after']) || 0;
  return { accepted, retryable, seconds, reason: `HTTP ${statusCode}`, body: Buffer.concat(parts) };
}

/**
 * Runs `work` without tracing: our own requests are not part of the service.
 *
 * @template T
 * @param {() => T} work
 * @returns {T}
 */
function withoutTracing(work) {
  return api.context.with(suppressTracing(api.ROOT_CONTEXT), work);
}

module.exports = { Counters, ExportQueue, SCOPE };
