'use strict';

/**
 * Refunds: gives money back, and takes a refund back again. `POST /refunds` and `POST /revocations`, with an
 * `Idempotency-Key`, take the work with 202; `GET /work/<key>` says how it goes. What it took is in memory only: kill
 * it while it works, and nobody ever hears of that work again.
 *
 * A step hangs or is refused where a switch says so: `PUT /faults/<order>/<step>` with `stall` or `refuse`. It is for
 * trying out, and answers this machine alone.
 */

const { sagas } = require('./telemetry'); // first: it instruments node:http
const http = require('node:http');
const { setTimeout: pause } = require('node:timers/promises');
const { trace } = require('@opentelemetry/api');
const { logs, SeverityNumber } = require('@opentelemetry/api-logs');

const BANK_SECONDS = 0.05; // what the bank would take, were there one
const LONGEST_BODY = 10_000;

const tracer = trace.getTracer('refunds');
const log = logs.getLogger('refunds');
const taken = new Map(); // how each work goes, by idempotency key
const faults = new Map(); // by order and step

class Refused extends Error {}

/** Each is an attempt of a step of somebody's saga, and beside that whatever it is for this service. */
const WORK = {
  '/refunds': (order, key) => sagas.step('refund.pay', { idempotencyKey: key }, async () => {
    say(`Paying ${order.amount} ${order.currency} back for order ${order.order}`);
    await strike(order.order, 'refund.pay');
    await atTheBank('pay');
  }),
  '/revocations': (order, key) =>
    sagas.compensation('refund.revoke', 'refund.pay', { idempotencyKey: key }, async () => {
      await strike(order.order, 'refund.revoke');
      await atTheBank('revoke');
    }),
};

/** Begin it once for each key; it goes on after the answer, in the saga that it was asked for in. */
function take(key, work) {
  if (taken.has(key)) return;
  const how = { state: 'working' };
  taken.set(key, how);
  work().then(() => { how.state = 'done'; }, (error) => Object.assign(how, { state: 'refused', error: error.message }));
}

/** A span of the service's own tracer: it belongs to the saga too, by nothing but where it stands. */
function atTheBank(what) {
  return tracer.startActiveSpan(`bank ${what}`, async (span) => {
    await pause(BANK_SECONDS * 1000);
    span.end();
  });
}

function say(body) {
  log.emit({ body, severityNumber: SeverityNumber.INFO, severityText: 'INFO' });
}

async function strike(order, step) {
  const fault = faults.get(`${order}/${step}`);
  if (fault === 'stall') await new Promise(() => {});
  if (fault === 'refuse') throw new Refused(`The bank refuses ${step} for order ${order}`);
}

async function readBody(request) {
  let body = '';
  for await (const part of request.setEncoding('utf8')) {
    body += part;
    if (body.length > LONGEST_BODY) throw new Refused('The request is too long');
  }
  return body;
}

async function answer(request) {
  const { pathname } = new URL(request.url, 'http://refunds');
  const [, first, ...rest] = pathname.split('/').map(decodeURIComponent);
  if (request.method === 'GET' && pathname === '/healthz') return [200, { ok: true }];
  if (request.method === 'GET' && first === 'work') return found(taken.get(rest.join('/')));
  if (request.method === 'PUT' && first === 'faults' && isHere(request)) {
    faults.set(rest.join('/'), await readBody(request));
    return [204];
  }
  if (request.method !== 'POST' || !Object.hasOwn(WORK, pathname)) return found();
  const order = JSON.parse(await readBody(request));
  const key = request.headers['idempotency-key'] || `${order.order}${pathname}`;
  take(key, () => WORK[pathname](order, key));
  return [202, { key }];
}

function found(what) {
  return what ? [200, what] : [404, { error: 'There is no such thing here' }];
}

function isHere(request) {
  return ['127.0.0.1', '::1', '::ffff:127.0.0.1'].includes(request.socket.remoteAddress);
}

async function serve(request, response) {
  const [status, body] = await answer(request).catch((error) => [
    error instanceof Refused || error instanceof SyntaxError || error instanceof URIError ? 400 : 500,
    { error: error.message },
  ]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
}

const [host, port] = (process.env.SAMPLE_ADDRESS || '127.0.0.1:8090').split(':');
const server = http.createServer(serve).listen(Number(port), host, () => {
  console.log(`refunds listens on http://${host}:${server.address().port}`);
});

async function leave() {
  server.close();
  await sagas.shutdown();
  process.exit();
}

process.on('SIGTERM', leave);
process.on('SIGINT', leave);
