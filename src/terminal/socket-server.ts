import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { asFailure, Failure } from '../failures/failure.ts';
import type { Log } from '../telemetry/log.ts';
import { version } from '../version.ts';
import { failureMessages, type ShellMessage } from './messages.ts';
import type { ShellSession } from './session.ts';

/** Bytes of a request: the longest `--input`, escaped as JSON. */
const longestBody = 2_000_000;
/** Milliseconds that `close` leaves to answers that are on their way. */
const lastWords = 1000;

const shellRequest = z.strictObject({
  words: z.array(z.string()),
  items: z.array(z.string()).nullable(),
  secrets: z.record(z.string(), z.string()),
  breakGlass: z.string().optional(),
});
const decision = z.strictObject({ yes: z.boolean() });

export interface SocketServer {
  /** Answers that are on their way get a second; the socket file goes. */
  close(): Promise<void>;
}

/**
 * Gives the session to shells on a unix socket that only this user may open. The caller owns the store.
 *
 * POST /v1/commands takes a ShellRequest and answers a ShellMessage a line; POST /v1/jobs/ID/decision takes
 * `{"yes": boolean}` and answers `{"accepted": boolean}`; GET /v1/ping answers `{"version": string}`.
 *
 * @throws Failure `store.locked` when somebody answers on the path, `store.unwritable` when it cannot be made
 */
export async function serveSocket(path: string, session: ShellSession, log: Log): Promise<SocketServer> {
  await removeStale(path);
  const server = createServer((request, response) => {
    answer(session, request, response).catch((error: unknown) => {
      log.error('a request on the socket failed', { error });
      response.destroy();
    });
  });
  await listen(server, path);
  return {
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      await Promise.race([closed, sleep(lastWords, undefined, { ref: false })]);
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(session: ShellSession, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const route = `${request.method ?? ''} ${request.url ?? ''}`;
  const jobId = /^POST \/v1\/jobs\/([a-z0-9]{1,64})\/decision$/.exec(route)?.[1];
  if (route === 'GET /v1/ping') sendJson(response, 200, { version });
  else if (route === 'POST /v1/commands') {
    const body = await bodyOf(request, response, shellRequest);
    if (body !== null) await stream(session, body, response);
  } else if (jobId !== undefined) {
    const body = await bodyOf(request, response, decision);
    if (body !== null) sendJson(response, 200, { accepted: await session.decide(jobId, body.yes) });
  } else sendJson(response, 404, { error: 'no such path' });
}

/** One message a line, no faster than they are read. A reader that goes away ends what is read and leaves what runs. */
async function stream(session: ShellSession, body: z.output<typeof shellRequest>, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  let prompted: string | null = null;
  response.once('close', () => {
    gone.abort();
    // Nobody is left to answer the prompt; a job that has its answer does not heed this.
    if (prompted !== null && !response.writableFinished) void leave(session, prompted);
  });
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  for await (const message of answered(session.run(body))) {
    if (gone.signal.aborted) return;
    if (message.type === 'prompt' || message.type === 'waiting') prompted = message.jobId;
    if (!response.write(`${JSON.stringify(message)}\n`)) await once(response, 'drain', { signal: gone.signal }).catch(() => undefined);
  }
  response.end();
}

async function leave(session: ShellSession, jobId: string): Promise<void> {
  try {
    await session.decide(jobId, false);
  } catch {
    // The store is closed already: the next start ends the job.
  }
}

async function* answered(messages: AsyncIterable<ShellMessage>): AsyncGenerator<ShellMessage> {
  try {
    yield* messages;
  } catch (error) {
    yield* failureMessages(asFailure(error));
  }
}

/** The body by its schema; null when it is not of that form, and answered so. */
async function bodyOf<T>(request: IncomingMessage, response: ServerResponse, schema: z.ZodType<T>): Promise<T | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= longestBody) chunks.push(chunk);
  }
  const parsed = bytes > longestBody ? null : schema.safeParse(jsonOf(Buffer.concat(chunks).toString()));
  if (parsed?.success === true) return parsed.data;
  sendJson(response, parsed === null ? 413 : 400, {
    error: parsed === null ? `more than ${longestBody} bytes` : 'not of the form that is expected',
  });
  return null;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function listen(server: Server, path: string): Promise<void> {
  const listening = once(server, 'listening');
  // The socket is bound inside listen(), so it never exists with another mode.
  const mask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(mask);
  }
  await listening.catch((error: unknown) => {
    throw cannotListen(path, (error as NodeJS.ErrnoException).code ?? 'unknown', error);
  });
}

/** A kill leaves the socket file behind; only one that nobody answers on is removed. */
async function removeStale(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => null);
  if (stats === null) return;
  if (!stats.isSocket()) throw cannotListen(path, 'something that is no socket lies there');
  const socket = connect(path);
  const error = await new Promise<NodeJS.ErrnoException | null>((resolve) =>
    socket
      .once('connect', () => {
        resolve(null);
      })
      .once('error', resolve),
  );
  socket.destroy();
  if (error === null) throw new Failure('store.locked', { attempted: `listen on ${path}`, reason: 'a daemon answers there' });
  if (error.code === 'ECONNREFUSED') await unlink(path);
}

function cannotListen(path: string, why: string, cause?: unknown): Failure {
  const tooLong = Buffer.byteLength(path) > 107;
  const reason = tooLong ? 'a socket path has at most 107 bytes' : `it cannot be made (${why})`;
  return new Failure('store.unwritable', {
    attempted: `listen on ${path}`,
    reason,
    cause,
    ...(tooLong ? { hint: 'Choose a shorter `data_dir`.' } : {}),
  });
}
