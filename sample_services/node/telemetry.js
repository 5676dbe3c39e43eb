'use strict';

/** This service's own OpenTelemetry: a provider for spans, one for logs, and traced HTTP calls. */

const { logs } = require('@opentelemetry/api-logs');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { defaultResource, resourceFromAttributes } = require('@opentelemetry/resources');
const { LoggerProvider } = require('@opentelemetry/sdk-logs');
const { NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');
const { Sagas } = require('./saga');

const seconds = Number(process.env.SAMPLE_HEARTBEAT || 5);
const resource = defaultResource().merge(resourceFromAttributes({
  'service.name': 'refunds',
  'service.version': '1.0.0',
  'service.instance.id': `refunds-${process.pid}`,
}));

// these three lines add Sagascope: create the sagas, and register their processors with the service's own providers
const sagas = new Sagas({ resource, heartbeatInterval: seconds });
const tracing = new NodeTracerProvider({ resource, spanProcessors: [sagas.spanProcessor] });
const logging = new LoggerProvider({ resource, processors: [sagas.logProcessor] });

tracing.register(); // with W3C trace context and baggage
logs.setGlobalLoggerProvider(logging);
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });

module.exports = { sagas };
