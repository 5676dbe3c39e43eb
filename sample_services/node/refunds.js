'use strict';

/**
 * Refunds: pays refunds and revokes them. `POST /refunds` and `POST /revocations`, with an `Idempotency-Key`, accept the
 * work with status 202; `GET /work/<key>` returns its state. Accepted work is in memory only: a service that is killed
 * loses it.
 *
 * `PUT /faults/<order>/<step>` with `stall` or `refuse` plants a fault in a step. It accepts requests from this machine
 * only.
 */

const { sagas } = require('./telemetry'); // first: it instruments node:http
const http = require('node:http');
const { setTimeout: pause } = require('node:timers/promises');
const { trace } = require('@opentelemetry/api');
const { logs, SeverityNumber } = require('@opentelemetry/api-logs');

const BANK_SECONDS = 0.05; // simulated duration of the bank's API
const MAX_BODY_LENGTH = 10_000;

const tracer = trace.getTracer('refunds');
const log = logs.getLogger('refunds');
const accepted = new Map(); // state of accepted work, by idempotency key
const faults = new Map(); // by order and step

class Refused extends Error {}

/** Each path executes an attempt of a step in the caller's saga. */
const WORK = {
  '/refunds': (order, key) => sagas.step('refund.pay', { idempotencyKey: key }, async () => {
    writeLog(`Paying ${order.amount} ${order.currency} back for order ${order.order}`);
    await triggerFault(order.order, 'refund.pay');
    await callBank('pay');
  }),
  '/revocations': (order, key) =>
    sagas.compensation('refund.revoke', 'refund.pay', { idempotencyKey: key }, async () => {
      await triggerFault(order.order, 'refund.revoke');
      await callBank('revoke');
    }),
};

/** Starts the work once for each key; it continues after the response, in the caller's saga. */
function accept(key, work) {
  if (accepted.has(key)) return;
  const entry = { state: 'working' };
  accepted.set(key, entry);
  work().then(() => { entry.state = 'done'; }, (error) => Object.assign(entry, { state: 'refused', error: error.message }));
}

/** Starts a span of the service's own tracer, which belongs to the saga because of its context. */
function callBank(what) {
  return tracer.startActiveSpan(`bank ${what}`, async (span) => {
    await pause(BANK_SECONDS * 1000);
    span.end();
  });
}

function writeLog(body) {
  log.emit({ body, severityNumber: SeverityNumber.INFO, severityText: 'INFO' });
}

async function triggerFault(order, step) {
  const fault = faults.get(`${order}/${step}`);
  if (fault === 'stall') await new Promise(() => {});
  if (fault === 'refuse') throw new Refused(`The bank refuses ${step} for order ${order}`);
}

async function readBody(request) {
  let body = '';
  for await (const part of request.setEncoding('utf8')) {
    body += part;
    if (body.length > MAX_BODY_LENGTH) throw new Refused('The request is too long');
  }
  return body;
}

async function respond(request) {
  const { pathname } = new URL(request.url, 'http://refunds');
  const [, first, ...rest] = pathname.split('/').map(decodeURIComponent);
  if (request.method === 'GET' && pathname === '/healthz') return [200, { ok: true }];
  if (request.method === 'GET' && first === 'work') return found(accepted.get(rest.join('/')));
  if (request.method === 'PUT' && first === 'faults' && isLocal(request)) {
    faults.set(rest.join('/'), await readBody(request));
    return [204];
  }
  if (request.method !== 'POST' || !Object.hasOwn(WORK, pathname)) return found();
  const order = JSON.parse(await readBody(request));
  const key = request.headers['idempotency-key'] || `${order.order}${pathname}`;
  accept(key, () => WORK[pathname](order, key));
  return [202, { key }];
}

function found(what) {
  return what ? [200, what] : [404, { error: 'Not found' }];
}

function isLocal(request) {
  return ['127.0.0.1', '::1', '::ffff:127.0.0.1'].includes(request.socket.remoteAddress);
}

async function serve(request, response) {
  const [status, body] = await respond(request).catch((error) => [
    error instanceof Refused || error instanceof SyntaxError || error instanceof URIError ? 400 : 500,
    { error: error.message },
  ]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
}

const [host, port] = (process.env.SAMPLE_ADDRESS || '127.0.0.1:8090').split(':');
const server = http.createServer(serve).listen(Number(port), host, () => {
  console.log(`refunds listens on http://${host}:${server.address().port}`);
});

async function exit() {
  server.close();
  await sagas.shutdown();
  process.exit();
}

process.on('SIGTERM', exit);
process.on('SIGINT', exit);
