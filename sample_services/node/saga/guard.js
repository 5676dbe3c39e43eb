// @ts-check
'use strict';

/** Contains our own failures, of which the service never sees one. */

const api = require('@opentelemetry/api');

/**
 * Runs a piece of our code; an error in it is logged with OpenTelemetry's `diag`, and the result is undefined.
 *
 * @template T
 * @param {() => T} work
 * @returns {T | undefined}
 */
function guarded(work) {
  try {
    return work();
  } catch (error) {
    logFailure(error);
    return undefined;
  }
}

/** @param {unknown} error */
function logFailure(error) {
  api.diag.error('Sagascope failed; the service is not affected', error);
}

/**
 * Starts a timer that does not keep the process alive.
 *
 * @param {number} milliseconds
 * @param {() => unknown} work
 */
function after(milliseconds, work) {
  return setTimeout(() => guarded(work), milliseconds).unref();
}

/**
 * Runs `work`, and calls `done` at its end with what it threw; its result and errors propagate unchanged.
 *
 * @template T
 * @param {() => T} work
 * @param {(thrown?: { error: unknown }) => unknown} done
 * @returns {T}
 */
function runToEnd(work, done) {
  /** @param {unknown} error */
  const rethrow = (error) => {
    done({ error });
    throw error;
  };
  /** @type {any} */
  let result;
  try {
    result = work();
  } catch (error) {
    rethrow(error);
  }
  if (typeof result?.then === 'function') {
    return result.then((/** @type {unknown} */ value) => (done(), value), rethrow);
  }
  done();
  return result;
}

module.exports = { after, guarded, logFailure, runToEnd };
