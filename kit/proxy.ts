import { Agent, createServer, type IncomingHttpHeaders, type IncomingMessage, request as forward, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProxiedRequest {
  method: string;
  /** Path and query as sent; a token in the query is cut out. */
  path: string;
  /** When it came, ms since the epoch. */
  at: number;
  /** What the client was answered; null while there is no answer, and when there never was one. */
  status: number | null;
  /** The JSON body, when it has one of at most 256 kB. */
  body?: unknown;
}

export type FaultAction =
  /** Answers this without asking the server. A body that is no string is sent as JSON. */
  | { status: number; body: unknown; headers?: Record<string, string> }
  /** The lie: answers 200 with this body, the server never hears of it. */
  | { drop: unknown }
  /** No answer until the client gives up. */
  | 'hang'
  /** Cuts the connection; the server never hears of it. */
  | 'reset'
  /** The server does it, the connection is cut instead of the answer. */
  | 'forward-then-reset'
  /** The server does it, half of the answer's body arrives and ends as if it were whole. */
  | 'half'
  /** As it should be, this many ms later. */
  | { delay: number }
  /** The server does it, the answer comes when this resolves. */
  | { hold: Promise<unknown> }
  /** The server's JSON answer, as this makes it. */
  | { rewrite: (answer: unknown) => unknown };

export interface FaultRule {
  name: string;
  match: (request: Readonly<ProxiedRequest>) => boolean;
  /** How often, default 1; Infinity for always. */
  times?: number;
  action: FaultAction;
}

export interface FaultHandle {
  readonly name: string;
  /** How often it has struck. */
  readonly hits: number;
  /** No longer, from now on. */
  remove(): void;
}

export interface Proxy {
  readonly url: string;
  readonly requests: readonly ProxiedRequest[];
  /** The server behind, which may be changed. */
  target: string;
  /** Plans a fault. The oldest one that fits strikes. */
  fault(rule: FaultRule): FaultHandle;
  /** Throws with the names of the planned faults that have never struck. */
  assertAllReached(): void;
  stop(): Promise<void>;
}

const KEPT_BODY = 256 * 1024;
const BAD_GATEWAY = '<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>\n';
const HOP_BY_HOP = ['connection', 'keep-alive', 'transfer-encoding'];

/** A reverse proxy on loopback: passes everything on as it streams, writes down what was asked, and fails where a test says so. A server that is gone is 502 in HTML, as with nginx. */
export async function startProxy(target: string): Promise<Proxy> {
  const agent = new Agent({ keepAlive: true, timeout: 15_000 });
  const requests: ProxiedRequest[] = [];
  const faults: { rule: FaultRule; hits: number; removed: boolean }[] = [];

  const strike = (record: ProxiedRequest): FaultAction | null => {
    const fault = faults.find(({ rule, hits, removed }) => !removed && hits < (rule.times ?? 1) && rule.match(record));
    if (!fault) return null;
    fault.hits++;
    return fault.rule.action;
  };

  const pass = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const path = (incoming.url ?? '/').replace(/access_token=[^&]*/, 'access_token=');
    const record: ProxiedRequest = { method: incoming.method ?? 'GET', path, at: Date.now(), status: null };
    requests.push(record);
    outgoing.once('finish', () => (record.status = outgoing.statusCode));
    try {
      const body = isSmallJson(incoming.headers) ? await whole(incoming) : null;
      if (body !== null && body.length > 0) record.body = parsed(body);
      await answer(proxy.target, agent, incoming, outgoing, body, strike(record));
    } catch {
      outgoing.destroy();
    }
  };
  const server = createServer((incoming, outgoing) => void pass(incoming, outgoing));
  server.keepAliveTimeout = 65_000;
  server.requestTimeout = 0;
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(null)));

  const proxy: Proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    target,
    fault(rule) {
      const fault = { rule, hits: 0, removed: false };
      faults.push(fault);
      return {
        name: rule.name,
        get hits() {
          return fault.hits;
        },
        remove: () => (fault.removed = true),
      };
    },
    assertAllReached() {
      const missed = faults.filter(({ hits }) => hits === 0).map(({ rule }) => rule.name);
      if (missed.length > 0) throw new Error(`planned faults that were never reached: ${missed.join(', ')}`);
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
  return proxy;
}

async function answer(
  target: string,
  agent: Agent,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  body: Buffer | null,
  action: FaultAction | null,
): Promise<void> {
  if (action === 'hang') return;
  if (action === 'reset') {
    outgoing.socket?.resetAndDestroy();
    return;
  }
  if (action !== null && typeof action === 'object') {
    if ('drop' in action) {
      send(outgoing, 200, action.drop);
      return;
    }
    if ('status' in action) {
      send(outgoing, action.status, action.body, action.headers);
      return;
    }
    if ('delay' in action) await sleep(action.delay, undefined, { ref: false });
  }
  const answered = await ask(target, agent, incoming, outgoing, body);
  if (answered === null) {
    send(outgoing, 502, BAD_GATEWAY);
    return;
  }
  if (action === 'forward-then-reset') {
    await whole(answered);
    outgoing.socket?.resetAndDestroy();
    return;
  }
  if (action !== null && typeof action === 'object' && 'rewrite' in action) {
    send(outgoing, answered.statusCode ?? 502, action.rewrite(parsed(await whole(answered))));
    return;
  }
  if (action !== null && typeof action === 'object' && 'hold' in action) await action.hold;
  const headers = withoutHopByHop(answered.headers);
  if (action === 'half') {
    const content = await whole(answered);
    const half = content.subarray(0, Math.floor(content.length / 2));
    outgoing.writeHead(answered.statusCode ?? 502, { ...headers, 'content-length': half.length }).end(half);
    return;
  }
  outgoing.writeHead(answered.statusCode ?? 502, headers);
  answered.pipe(outgoing);
  answered.once('error', () => outgoing.destroy());
}

/** The server's answer, or null when it cannot be reached. A client that leaves ends the request. */
async function ask(
  target: string,
  agent: Agent,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  body: Buffer | null,
): Promise<IncomingMessage | null> {
  const headers = { ...withoutHopByHop(incoming.headers), 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' };
  return await new Promise((resolve) => {
    const upstream = forward(target + (incoming.url ?? '/'), { method: incoming.method ?? 'GET', headers, agent }, resolve);
    upstream.once('error', () => resolve(null));
    outgoing.once('close', () => upstream.destroy());
    if (body === null) incoming.pipe(upstream);
    else upstream.end(body);
  });
}

function send(outgoing: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  const isText = typeof body === 'string';
  outgoing
    .writeHead(status, { 'content-type': isText ? 'text/html' : 'application/json', ...headers })
    .end(isText ? body : JSON.stringify(body));
}

async function whole(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function isSmallJson(headers: IncomingHttpHeaders): boolean {
  return (headers['content-type'] ?? '').startsWith('application/json') && Number(headers['content-length'] ?? Infinity) <= KEPT_BODY;
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return body.toString();
  }
}

function withoutHopByHop(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)));
}
