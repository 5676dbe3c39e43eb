'use strict';

// Situations for sample_services/node/saga: node emitter.js SAGA_FOLDER SITUATION ENDPOINT
// It prints lines of a word and JSON, waits for the end of its input where it says so, and ends by itself.

const { setTimeout: pause } = require('node:timers/promises');
const { context, propagation, trace, ROOT_CONTEXT } = require('@opentelemetry/api');
const { LoggerProvider } = require('@opentelemetry/sdk-logs');
const { AlwaysOnSampler, NodeTracerProvider, ParentBasedSampler } = require('@opentelemetry/sdk-trace-node');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const [sagaFolder, situation, endpoint] = process.argv.slice(2);
const { Sagas } = require(sagaFolder);
const resource = resourceFromAttributes({ 'service.name': 'ledger', 'service.instance.id': 'l1' });
const quick = { resource, endpoint, announceAfter: 0.05, heartbeatInterval: 0.2, timeout: 1 };

const exported = [];
const own = { export: (spans, done) => (exported.push(...spans), done({ code: 0 })), shutdown: async () => {} };
const ownProcessor = {
  onStart() {}, onEnd: (span) => own.export([span], () => {}), forceFlush: async () => {}, shutdown: async () => {},
};

function say(word, what) {
  console.log(`${word} ${JSON.stringify(what ?? null)}`);
}

function service(options = {}, sampler = undefined) {
  const sagas = new Sagas({ ...quick, ...options });
  const spanProcessors = [sagas.spanProcessor, ownProcessor];
  const tracing = new NodeTracerProvider({ resource, ...(sampler && { sampler }), spanProcessors });
  tracing.register();
  const logger = new LoggerProvider({ resource, processors: [sagas.logProcessor] }).getLogger('ledger');
  return { sagas, tracer: tracing.getTracer('ledger'), logger };
}

function inputEnds() {
  return new Promise((resolve) => process.stdin.on('end', resolve).resume());
}

async function until(condition, seconds) {
  const deadline = Date.now() + seconds * 1000;
  while (!condition() && Date.now() < deadline) await pause(5);
}

/** What a call gives or throws. */
async function outcome(call) {
  try {
    return ['gave', await call()];
  } catch (error) {
    return ['threw', error instanceof Error ? error.message : error];
  }
}

const SITUATIONS = {
  async open() {
    const { sagas } = service();
    const plan = [{ name: 'ledger.record', compensation: 'ledger.reverse', timeout: 2.5 }, { name: 'ship' }];
    const told = { plan, amount: '50.00', currency: 'EUR', keys: { order: 'A' }, timeout: 60, runId: 'r1' };
    await sagas.run('payment', '8492', told, () =>
      sagas.step('ledger.record', { key: 'k', idempotencyKey: 'i', maxAttempts: 3, timeout: 1.5 }, inputEnds));
    say('ENDED');
  },

  /** A service that has no OpenTelemetry of its own. */
  async alone() {
    const sagas = new Sagas(quick);
    await sagas.run('payment', '1', {}, async () => {
      await pause(1);
      await sagas.step('ledger.record', {}, async () => pause(1));
    });
  },

  /** A saga that says nearly all that can be said: a slow step, a retry, an undo. */
  async talkative() {
    const { sagas, tracer, logger } = service({ announceAfter: 0.25 });
    const plan = [{ name: 'wallet.debit', compensation: 'wallet.refund', timeout: 5 }, { name: 'ledger.record' }];
    const told = { plan, runId: 'r1', amount: '50.00', currency: 'EUR', keys: { order: 'A' }, timeout: 60 };
    const refused = async () => { throw new Error('refused'); };
    const record = (attempt, more) =>
      outcome(() => sagas.step('ledger.record', { attempt, maxAttempts: 2, ...more }, refused));
    await sagas.run('payment', '8492', told, async (root) => {
      const more = { key: 'k', idempotencyKey: 'i', timeout: 2, pivot: false, resources: ['a'] };
      await sagas.step('wallet.debit', more, () =>
        tracer.startActiveSpan('UPDATE', async (span) => {
          logger.emit({ body: 'debiting' });
          await pause(800);
          span.end();
        }));
      await record(1, { retryIn: 0.01 });
      await pause(10);
      await record(2);
      await sagas.compensation('wallet.refund', 'wallet.debit', { key: 'k' }, () => {});
      root.setAttribute('saga.outcome', 'compensated');
    });
  },

  async many() {
    const { sagas } = service();
    const all = inputEnds();
    const begin = (_, number) => sagas.run('payment', String(number), {}, () => all);
    await Promise.all(Array.from({ length: 1_001 }, begin));
  },

  async passing() {
    const { sagas } = service();
    const within = (work) => sagas.run('payment', '1', {}, () => sagas.step('s', { retryIn: 0.5 }, work));
    const results = [
      sagas.step('outside', {}, (span) => span.isRecording()),
      within(() => 7),
      await outcome(() => within(() => { throw new Error('at once'); })),
      await outcome(() => within(async () => { throw new Error('later'); })),
      await outcome(() => within(async () => Promise.reject('no error'))),
      await outcome(() => within(async () => Promise.reject())),
      await outcome(() => within(() => { throw 0; })),
      await outcome(() => within(async () => 'a promise')),
      await outcome(() => sagas.run('payment', '1', null, () => 'told nothing')),
      await outcome(() => sagas.run('payment', '\ud800', undefined, () => propagated())),
      await outcome(() => sagas.step('s', { key: { toString() { throw new Error('ours'); } } }, () => 'no matter')),
    ];
    say('RESULTS', results);
  },

  /** The collector is away, silent, or answers nonsense: the host neither waits nor hears of it. */
  async deaf() {
    const { sagas, logger } = service({ queueSize: 10, timeout: 3_600 });
    for (let number = 0; number < 100; number += 1) {
      sagas.run('payment', String(number), {}, () => logger.emit({ body: 'x' }));
    }
    say('WORKED', sagas.stats());
    const { waiting } = sagas.stats();
    await until(() => sagas.stats().waiting !== waiting, 1); // until a request is under way
    sagas.run('payment', 'open', {}, () => new Promise(() => {})); // never ends, and keeps nothing alive
  },

  async patient() {
    const { sagas, logger } = service();
    const cyclic = {};
    cyclic.self = cyclic;
    await sagas.run('payment', '1', {}, async () => {
      logger.emit({ body: cyclic });
      logger.emit({ body: 'said meanwhile' });
      sagas.step('ledger.record', {}, () => {});
      await sagas.step('announced in vain', {}, () => pause(200));
      say('WAITING');
      await inputEnds();
    });
    await until(() => sagas.stats().waiting === 0, 20);
    await sagas.shutdown();
    say('STATS', sagas.stats());
  },

  /** A host that follows its caller's sampler, which kept nothing; the caller's baggage has more than is ours. */
  async beside() {
    const { sagas, tracer } = service({}, new ParentBasedSampler({ root: new AlwaysOnSampler() }));
    const headers = {
      traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-00`,
      baggage: 'tenant=x,saga.id=a%20b,saga.name=payment,saga.step.name=ledger.record,saga.step.key=k,'
        + 'saga.step.attempt=2,saga.outcome=failed,bad=%E0%A4%A',
    };
    await context.with(propagation.extract(ROOT_CONTEXT, headers), () =>
      sagas.step('ledger.record', {}, () => tracer.startActiveSpan('INSERT', (span) => {
        span.end();
        say('EXPORTED', exported.length);
        say('HEADERS', propagated());
        sagas.step('ledger.record', {}, () => {}); // another attempt, inside: counted here
        sagas.step('other', {}, () => say('OTHER', propagated()));
      })));
  },
};

function propagated() {
  const headers = {};
  propagation.inject(context.active(), headers);
  const { traceId, spanId } = trace.getSpanContext(context.active()) ?? {};
  return { ...headers, traceId, spanId };
}

SITUATIONS[situation]();
