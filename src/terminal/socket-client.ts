import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { Failure } from '../failures/failure.ts';
import type { ShellMessage, ShellRequest } from './messages.ts';
import type { ShellSession } from './session.ts';

/**
 * Attaches to the daemon that listens on a socket.
 *
 * @returns null when no daemon listens there
 * @throws Failure `store.unreadable` when this user may not open the socket
 */
export async function connect(path: string): Promise<RemoteSession | null> {
  try {
    const { version } = await call<{ version: string }>(path, 'GET', '/v1/ping');
    return new RemoteSession(path, version);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null;
    if (code === 'EACCES' || code === 'EPERM')
      throw new Failure('store.unreadable', {
        attempted: `open ${path}`,
        reason: 'only the user that runs the daemon may',
        hint: 'Run the command as that user.',
        cause: error,
      });
    throw error instanceof Failure ? error : wentAway(error);
  }
}

/** Commands of the shell in the daemon. */
export class RemoteSession implements ShellSession {
  readonly #path: string;
  /** The version of the daemon. */
  readonly version: string;

  constructor(path: string, version: string) {
    this.#path = path;
    this.version = version;
  }

  /** @throws Failure `job.unknown` when the daemon goes away before the end */
  async *run(request: ShellRequest): AsyncGenerator<ShellMessage> {
    let ended = false;
    try {
      for await (const line of lines(await send(this.#path, 'POST', '/v1/commands', request))) {
        const message = JSON.parse(line) as ShellMessage;
        ended = message.type === 'end';
        yield message;
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (!ended) throw wentAway(error);
    }
    if (!ended) throw wentAway(undefined);
  }

  async decide(jobId: string, yes: boolean): Promise<boolean> {
    const { accepted } = await call<{ accepted: boolean }>(this.#path, 'POST', `/v1/jobs/${jobId}/decision`, { yes });
    return accepted;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function call<T>(socketPath: string, method: string, path: string, body?: object): Promise<T> {
  return JSON.parse(await text(await send(socketPath, method, path, body))) as T;
}

/** @throws Failure when the daemon does not take it */
async function send(socketPath: string, method: string, path: string, body?: object): Promise<IncomingMessage> {
  const payload = body === undefined ? '' : JSON.stringify(body);
  const request = httpRequest({
    socketPath,
    method,
    path,
    agent: false,
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
  });
  // What breaks after the response has begun is told by the response.
  request.on('error', () => undefined);
  request.end(payload);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  if (response.statusCode === 200) return response;
  response.destroy();
  if (response.statusCode === 413) throw new Failure('usage.input-too-large');
  throw new Failure('internal.bug', {
    attempted: 'speak to the daemon',
    reason: `it answered ${response.statusCode ?? 'nothing'}`,
    hint: 'Is it of another version? Restart it.',
  });
}

/** Splits at `\n` alone: other line separators stand inside the JSON as they are. */
async function* lines(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let parts: string[] = [];
  for await (const chunk of response as AsyncIterable<string>) {
    const pieces = chunk.split('\n');
    const last = pieces.pop() ?? '';
    for (const piece of pieces) {
      yield parts.join('') + piece;
      parts = [];
    }
    parts.push(last);
  }
}

function wentAway(cause: unknown): Failure {
  return new Failure('job.unknown', {
    reason: 'the daemon went away before it answered',
    hint: 'Is it running? Look with the `info` command before you try again.',
    cause,
  });
}
