import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { Log } from './log.ts';
import type { ScrapedMetrics } from './metrics.ts';

export interface HealthCheck {
  /** A constant word: sync, store, homeserver. */
  name: string;
  ok: boolean;
  /** For the log only; never a secret. */
  detail?: string;
}

/** Says whether Steward can work now. Called for each probe; must be cheap, and may reject. */
export interface HealthSource {
  checks(): Promise<HealthCheck[]>;
}

export interface HttpOptions {
  /** `host:port`; port 0 takes a free one. */
  listen: string;
  health: HealthSource;
  metrics: ScrapedMetrics;
  log: Log;
  clock: Clock;
  /** How long the checks may take together. */
  timeoutMs?: number;
}

export interface HttpListener {
  /** `host:port` as bound. */
  address: string;
  close(): Promise<void>;
}

/**
 * Answers GET and HEAD of `/livez` (the event loop turns), `/readyz` (200 or 503 with `{ready, checks: [{name, ok}]}`)
 * and `/metrics`. Throws `http.not-listening` when the address cannot be bound.
 */
export async function startHttp({ listen, health, metrics, log, clock, timeoutMs = 5000 }: HttpOptions): Promise<HttpListener> {
  const routes = new Map<string, (response: ServerResponse) => Promise<void>>([
    [
      '/livez',
      (response) => {
        send(response, 200, 'text/plain', 'ok\n');
        return Promise.resolve();
      },
    ],
    [
      '/readyz',
      async (response) => {
        const checks = await withTimeout(health, clock, timeoutMs, log);
        const ready = checks.every(({ ok }) => ok);
        for (const { name, ok, detail } of checks) if (!ok) log.debug('not ready', { check: name, reason: detail });
        send(
          response,
          ready ? 200 : 503,
          'application/json',
          `${JSON.stringify({ ready, checks: checks.map(({ name, ok }) => ({ name, ok })) })}\n`,
        );
      },
    ],
    [
      '/metrics',
      async (response) => {
        const { contentType, body } = await metrics.render();
        send(response, 200, contentType, body);
      },
    ],
  ]);
  const server = createServer((request, response) => {
    const answer = routes.get((request.url ?? '').replace(/\?.*/, ''));
    if (answer === undefined) send(response, 404, 'text/plain', 'not found\n');
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      send(response.setHeader('allow', 'GET, HEAD'), 405, 'text/plain', 'GET or HEAD only\n');
    else {
      answer(response).catch((error: unknown) => {
        log.error('a health request failed', { error });
        send(response, 500, 'text/plain', 'internal error\n');
      });
    }
  });
  server.headersTimeout = 5000;
  server.requestTimeout = 10_000;
  const { host, port } = splitAddress(listen);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Failure('http.not-listening', { attempted: `listen on ${listen}`, reason: `the system says ${error.code ?? 'no'}` })),
    );
    server.listen(port, host, resolve);
  });
  const { port: bound } = server.address() as AddressInfo;
  return {
    address: `${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function withTimeout(health: HealthSource, clock: Clock, timeoutMs: number, log: Log): Promise<HealthCheck[]> {
  const stop = new AbortController();
  const late = clock.sleep(timeoutMs, stop.signal).then(() => [{ name: 'checks', ok: false, detail: 'no answer in time' }]);
  const checks = health.checks().catch((error: unknown) => {
    log.error('a health check failed', { error });
    return [{ name: 'checks', ok: false }];
  });
  return Promise.race([checks, late]).finally(() => stop.abort());
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  if (response.headersSent) return;
  response
    .writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' })
    .end(body);
}

/** `[::1]:9480` → ::1 and 9480. */
function splitAddress(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(listen.slice(colon + 1)) };
}
