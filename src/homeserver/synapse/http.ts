import type { Clock } from '../../clock.ts';
import type { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import { readRows, type PartOfPage } from './rows.ts';

export interface SynapseRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Path with `{names}`; each is replaced by its value, percent-encoded. */
  path: string;
  params?: Readonly<Record<string, string>>;
  query?: Readonly<Record<string, string | number | boolean | undefined>>;
  body?: Readonly<Record<string, unknown>>;
  /** Milliseconds; 30 s when left out. */
  timeout?: number;
  /** Without the access token, for endpoints that are not Steward's own. */
  token?: Secret | null;
}

export interface SynapseHttpOptions {
  baseUrl: string;
  token: Secret;
  clock: Clock;
  signal?: AbortSignal;
  /** Called after each answer: milliseconds, and the status, 0 when there was none. */
  observe?: (request: Pick<SynapseRequest, 'method' | 'path'>, status: number, duration: number) => void;
}

const attempts = 3;
const longestWait = 10_000;

/**
 * One request to the homeserver: percent-encoded, bounded, retried where that is safe. Reads are tried three times;
 * a write again only after an answer that says it was not done (429) or when the connection was never made.
 */
export class SynapseHttp {
  readonly #options: SynapseHttpOptions;

  constructor(options: SynapseHttpOptions) {
    this.#options = options;
  }

  /**
   * @returns the JSON of a 2xx answer, or null for 404 `M_NOT_FOUND`
   * @throws Failure of the family `homeserver`, naming the endpoint
   */
  async json(request: SynapseRequest): Promise<unknown> {
    return this.#ask(request, wholeBody);
  }

  /**
   * A GET whose answer is a page of many rows, which come while they stream in, no faster than they are taken. What breaks
   * off is not asked for again.
   *
   * @throws Failure of the family `homeserver`, naming the endpoint; also between rows
   */
  async *rows(request: SynapseRequest): AsyncGenerator<PartOfPage> {
    const body = await this.#ask(request, bodyAsItComes);
    const attempted = endpoint(request);
    if (!(body instanceof ReadableStream)) throw new Failure('homeserver.no-endpoint', { attempted });
    try {
      yield* readRows(body as ReadableStream<Uint8Array>);
    } catch (error) {
      if (error instanceof SyntaxError)
        throw new Failure('homeserver.bad-answer', { attempted, reason: 'the answer is not whole JSON', cause: error });
      throw new Failure('homeserver.unreachable', { attempted, reason: connectionReason(error), cause: error });
    }
  }

  async #ask(request: SynapseRequest, read: BodyReader): Promise<unknown> {
    const reads = request.method === 'GET';
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt >= attempts;
      let answer: Answer;
      try {
        answer = await this.#send(request, read);
      } catch (error) {
        const never = neverConnected(error);
        if ((reads || never) && !last) {
          await this.#wait(250 * attempt);
          continue;
        }
        throw reads || never
          ? new Failure('homeserver.unreachable', { attempted: endpoint(request), reason: connectionReason(error), cause: error })
          : new Failure('homeserver.outcome-unknown', { attempted: endpoint(request), reason: connectionReason(error), cause: error });
      }
      if (answer.status === 429) {
        const wait = answer.retryAfter ?? 1000 * attempt;
        if (last || wait > longestWait)
          throw new Failure('homeserver.rate-limited', {
            attempted: endpoint(request),
            reason: `it asks to wait ${Math.ceil(wait / 1000)} s`,
          });
        await this.#wait(wait);
        continue;
      }
      if (isOfNobody(answer)) throw new Failure('homeserver.unknown-token', { attempted: endpoint(request), ...ofNobody });
      if (answer.status >= 500) {
        if (reads && !last) {
          await this.#wait(250 * attempt);
          continue;
        }
        throw serverError(request, answer);
      }
      return judge(request, answer);
    }
  }

  async #wait(ms: number): Promise<void> {
    await this.#options.clock.sleep(ms, this.#options.signal);
  }

  async #send(request: SynapseRequest, read: BodyReader): Promise<Answer> {
    const { baseUrl, clock, observe } = this.#options;
    const token = request.token === undefined ? this.#options.token : request.token;
    const url = new URL(baseUrl + fill(request.path, request.params ?? {}));
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
    const deadline = AbortSignal.timeout(request.timeout ?? 30_000);
    const started = clock.monotonic();
    let status = 0;
    try {
      const response = await fetch(url, {
        method: request.method,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token.reveal()}` }),
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: request.body === undefined ? null : JSON.stringify(request.body),
        redirect: 'error',
        signal: this.#options.signal === undefined ? deadline : AbortSignal.any([deadline, this.#options.signal]),
      });
      status = response.status;
      const body = await read(response);
      return { status, body, isJson: body !== undefined, retryAfter: retryAfter(response, body) };
    } finally {
      observe?.(request, status, clock.monotonic() - started);
    }
  }
}

/** What is made of a body; undefined when it should be JSON and is not. */
type BodyReader = (response: Response) => Promise<unknown>;

const wholeBody: BodyReader = async (response) => parse(await response.text());

const bodyAsItComes: BodyReader = async (response) => (response.ok && response.body !== null ? response.body : wholeBody(response));

interface Answer {
  status: number;
  /** Undefined when it was not JSON. */
  body: unknown;
  isJson: boolean;
  /** Milliseconds. */
  retryAfter: number | null;
}

function judge(request: SynapseRequest, answer: Answer): unknown {
  const attempted = endpoint(request);
  const body = (typeof answer.body === 'object' && answer.body !== null ? answer.body : {}) as { errcode?: unknown; error?: unknown };
  const errcode = typeof body.errcode === 'string' ? body.errcode : null;
  const said = typeof body.error === 'string' ? body.error.slice(0, 200) : `status ${answer.status}`;
  if (answer.status >= 200 && answer.status < 300) {
    if (answer.isJson) return answer.body;
    if (request.method === 'GET')
      throw new Failure('homeserver.bad-answer', { attempted, reason: `the answer with status ${answer.status} is not whole JSON` });
    throw new Failure('homeserver.outcome-unknown', { attempted, reason: `the answer with status ${answer.status} is not whole JSON` });
  }
  if (answer.status === 404 && errcode === 'M_NOT_FOUND') return null;
  if (errcode === 'M_UNRECOGNIZED' || (answer.status === 404 && errcode === null))
    throw new Failure('homeserver.no-endpoint', { attempted });
  if (errcode === null)
    throw new Failure('homeserver.bad-answer', { attempted, reason: `it answered status ${answer.status} without a Matrix error` });
  if (errcode === 'M_UNKNOWN_TOKEN' || errcode === 'M_MISSING_TOKEN') throw new Failure('homeserver.unknown-token', { attempted });
  if (answer.status === 403 && said === 'You are not a server admin') throw new Failure('homeserver.not-admin', { attempted });
  throw new Failure('homeserver.refused', { attempted, reason: `the homeserver says: ${said} (${errcode})` });
}

/** Synapse, where Matrix Authentication Service knows a token and Synapse has no account of that name: nothing was done. */
function isOfNobody({ status, body }: { status: number; body: unknown }): boolean {
  return status === 500 && (body as { error?: unknown } | null | undefined)?.error === 'User not found';
}

const ofNobody = {
  reason: 'the homeserver has no account of that name, and Matrix Authentication Service has',
  hint: '`mas-cli manage provision-all-users`, where Matrix Authentication Service runs, makes it there again.',
};

function serverError(request: SynapseRequest, answer: Answer): Failure {
  const attempted = endpoint(request);
  const reason = answer.isJson
    ? `the homeserver answered status ${answer.status}`
    : `something between answered status ${answer.status} without JSON`;
  if (request.method !== 'GET') return new Failure('homeserver.outcome-unknown', { attempted, reason });
  return answer.status >= 502 && answer.status <= 504
    ? new Failure('homeserver.unreachable', { attempted, reason })
    : new Failure('homeserver.bad-answer', { attempted, reason });
}

/** Only the template is named: ids in it may be anything, and queries hold names. */
function endpoint(request: Pick<SynapseRequest, 'method' | 'path'>): string {
  return `${request.method} ${request.path}`;
}

function fill(path: string, params: Readonly<Record<string, string>>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined) throw new TypeError(`no value for {${name}} of ${path}`);
    // encodeURIComponent leaves dots, and a path of dots would climb.
    return value === '.' || value === '..' ? value.replaceAll('.', '%2E') : encodeURIComponent(value);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function retryAfter(response: Response, body: unknown): number | null {
  if (response.status !== 429) return null;
  const seconds = Number(response.headers.get('retry-after'));
  if (Number.isFinite(seconds) && seconds > 0) return seconds * 1000;
  const ms = (body as { retry_after_ms?: unknown } | undefined)?.retry_after_ms;
  return typeof ms === 'number' && ms >= 0 ? ms : null;
}

function neverConnected(error: unknown): boolean {
  return ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'].includes(codeOf(error) ?? '');
}

function connectionReason(error: unknown): string {
  const code = codeOf(error);
  if ((error as Error | null)?.name === 'TimeoutError') return 'no answer came in time';
  if (code === 'ECONNREFUSED') return 'the connection was refused';
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET') return 'the connection was cut';
  return code === null ? 'the connection failed' : `the connection failed (${code})`;
}

function codeOf(error: unknown): string | null {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (typeof code === 'string') return code;
  }
  return null;
}
