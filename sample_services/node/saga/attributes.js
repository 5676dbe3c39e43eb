// @ts-check
'use strict';

/** The attributes of sagas and steps, and the baggage that carries them; docs/semconv.md describes them. */

const api = require('@opentelemetry/api');
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks');

/**
 * @typedef {object} SagaOptions
 * @property {string} [runId] tells two runs of one id apart
 * @property {{ name: string, compensation?: string, timeout?: number }[]} [plan] the steps in order; timeouts in seconds
 * @property {number} [timeout] seconds that the whole saga may take
 * @property {string} [amount] decimal, for example `50.00`
 * @property {string} [currency] ISO 4217 code
 * @property {Record<string, string>} [keys] business keys, for example `{ order_id: 'A-17' }`
 */

/**
 * @typedef {object} StepOptions
 * @property {number} [attempt] number of this attempt, from 1; counted within this process if left out
 * @property {string} [key] tells intended repetitions of one step apart
 * @property {number} [maxAttempts] the attempt with this number is the last
 * @property {number} [retryIn] seconds until the next attempt, if this one fails
 * @property {number} [timeout] seconds after which this attempt is overdue
 * @property {string} [idempotencyKey]
 * @property {boolean} [pivot] after this step only forward is possible
 * @property {string[]} [resources] keys of what the step holds or waits for
 * @property {string} [amount] decimal, for example `50.00`
 * @property {string} [currency] ISO 4217 code
 * @property {Record<string, string>} [keys] business keys
 */

/** The members of `baggage` that become attributes of everything below. */
const MEMBERS = ['saga.id', 'saga.name', 'saga.run.id', 'saga.step.name', 'saga.step.key', 'saga.step.attempt'];

/** The options of a saga and of an attempt, with their attributes. */
const SAGA_OPTIONS = { amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.timeout' };
const STEP_OPTIONS = {
  amount: 'saga.amount', currency: 'saga.currency', timeout: 'saga.step.timeout', pivot: 'saga.step.pivot',
  idempotencyKey: 'saga.step.idempotency_key', maxAttempts: 'saga.step.max_attempts', resources: 'saga.step.resources',
};

/** Context key: a saga or step was opened in this process, so the baggage is not only the caller's. */
const IS_LOCAL = api.createContextKey('sagascope: opened in this process');

let isContextKept = false;

/** Returns the current context; registers OpenTelemetry's context manager if the service has none. */
function context() {
  const probe = api.ROOT_CONTEXT.setValue(IS_LOCAL, true);
  isContextKept ||= api.context.with(probe, () => api.context.active() === probe);
  if (!isContextKept) api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return api.context.active();
}

/**
 * Returns the attributes of the saga in a context; undefined outside any saga.
 *
 * @param {api.Context} ctx
 * @returns {Record<string, any> | undefined}
 */
function sagaAttributesOf(ctx) {
  const baggage = api.propagation.getBaggage(ctx);
  if (!baggage?.getEntry('saga.id')?.value) return undefined;
  const members = MEMBERS.map((name) => [name, baggage.getEntry(name)?.value]).filter(([, value]) => value);
  const attributes = Object.fromEntries(members);
  const attempt = attributes['saga.step.attempt'];
  delete attributes['saga.step.attempt'];
  return /^[1-9]\d{0,8}$/.test(attempt) ? { ...attributes, 'saga.step.attempt': Number(attempt) } : attributes;
}

/**
 * Returns the context with these saga attributes in its baggage; other baggage is unchanged.
 *
 * @param {api.Context} ctx
 * @param {Record<string, unknown>} sagaAttributes
 */
function withSagaInBaggage(ctx, sagaAttributes) {
  let baggage = (api.propagation.getBaggage(ctx) ?? api.propagation.createBaggage()).removeEntries(...MEMBERS);
  for (const [name, value] of Object.entries(sagaAttributes)) {
    /** @type {any} */
    const text = String(value); // toWellFormed is newer than the types of this version of Node.js
    baggage = baggage.setEntry(name, { value: text.toWellFormed() });
  }
  return api.propagation.setBaggage(ctx, baggage);
}

/**
 * @param {Record<string, string>} names attributes by option
 * @param {any} options
 * @returns {api.Attributes}
 */
function optionAttributes(names, options) {
  const attributes = Object.entries(names).map(([option, name]) => [name, options[option]]);
  const keys = Object.entries(options.keys ?? {}).map(([name, value]) => [`saga.key.${name}`, value]);
  return Object.fromEntries([...attributes, ...keys].filter(([, value]) => value !== undefined));
}

/**
 * @param {SagaOptions['plan']} plan
 * @returns {api.Attributes}
 */
function planAttributes(plan) {
  if (!plan) return {};
  return {
    'saga.plan': plan.map((step) => step.name),
    'saga.plan.compensations': plan.map((step) => step.compensation ?? ''),
    'saga.plan.timeouts': plan.map((step) => step.timeout ?? 0),
  };
}

module.exports = {
  IS_LOCAL, SAGA_OPTIONS, STEP_OPTIONS, context, optionAttributes, planAttributes, sagaAttributesOf, withSagaInBaggage,
};
