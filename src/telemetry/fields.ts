import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';

/** The only names that a log line or an error report may carry. Ids, names of things, counts: nothing a person typed. */
export const allowedFields = [
  'event_id',
  'room_id',
  'user_id',
  'device_id',
  'fingerprint',
  'sender',
  'person',
  'server_name',
  'command',
  'tier',
  'outcome',
  'job_id',
  'error_id',
  'plan_hash',
  'approval_id',
  'schedule',
  'alert',
  'channel',
  'failure',
  'attempted',
  'reason',
  'key',
  'source',
  'line',
  'column',
  'method',
  'endpoint',
  'path',
  'status',
  'errcode',
  'retry_after_ms',
  'txn_id',
  'address',
  'port',
  'attempt',
  'count',
  'pending',
  'missed',
  'bytes',
  'duration_ms',
  'age_ms',
  'lag_ms',
  'delay_ms',
  'check',
  'ok',
  'state',
  'signal',
  'exit_code',
  'pid',
  'mode',
  'file',
  'version',
  'from_version',
  'to_version',
  'node',
] as const;

export type FieldName = (typeof allowedFields)[number];
export type Scalar = string | number | boolean | null;

/** Fields of one line. `error` takes any thrown thing and is reduced to what cannot hold a secret. */
export type LogFields = Partial<Record<FieldName, Scalar | Secret | undefined>> & { error?: unknown };

const allowed: ReadonlySet<string> = new Set(allowedFields);
const longest = 500;

/** Tokens of Synapse and MAS, authorization headers, and credentials in addresses: the second net below the names. */
const tokens = /\b(?:sy[trl]|m[acp][tr])_[\w-]+|\bBearer\s+\S+|(?<=:\/\/)[^\s/@]+@/g;

/** Messages of other classes may quote their input (JSON.parse does) or hold a request. */
const safeMessages: ReadonlySet<string> = new Set(['ReferenceError', 'AbortError', 'TimeoutError']);

/** What may be written of these fields: allowed names with scalar values; everything else is left out. */
export function allowList(fields: Readonly<Record<string, unknown>>): Record<string, Scalar> {
  const kept: Record<string, Scalar> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'error') Object.assign(kept, reduceError(value));
    else if (allowed.has(name)) {
      const scalar = toScalar(name, value);
      if (scalar !== undefined) kept[name] = scalar;
    }
  }
  return kept;
}

/** Text without anything that looks like a token. */
export function withoutTokens(text: string): string {
  return text.replace(tokens, '«secret»');
}

/** A Failure gives its id, attempt and reason; another error its class, code and stack frames; causes likewise. */
function reduceError(thrown: unknown): Record<string, Scalar> {
  if (thrown === undefined || thrown === null) return {};
  if (!isError(thrown)) return { error: `a thrown ${typeof thrown}` };
  const own: Record<string, Scalar> =
    thrown instanceof Failure
      ? {
          failure: thrown.id,
          reason: text(thrown.reason),
          ...(thrown.attempted === undefined ? {} : { attempted: text(thrown.attempted) }),
        }
      : { error: classOf(thrown), stack: framesOf(thrown) };
  const cause = isError(thrown.cause) ? { cause: classOf(thrown.cause), cause_stack: framesOf(thrown.cause) } : {};
  return { ...own, ...cause };
}

function isError(thrown: unknown): thrown is Error {
  // Also one of another realm, which is no instance of this Error.
  return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]';
}

/** `TypeError ECONNREFUSED`, with the message only where the class is known to be safe. */
function classOf(error: Error): string {
  const name = error.constructor.name;
  const code: unknown = 'code' in error ? error.code : 'errcode' in error ? error.errcode : undefined;
  const words = [name, ...(typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? [code] : [])].join(' ');
  return safeMessages.has(error.name) ? `${words}: ${text(error.message)}` : words;
}

/** The frames of the stack: the lines before them hold the message. */
function framesOf(error: Error): string {
  const stack = error.stack ?? '';
  const start = error.message === '' ? 0 : stack.indexOf(error.message) + error.message.length;
  const frames = stack
    .slice(start)
    .split('\n')
    .filter((line) => /^\s+at .*(:\d+:\d+\)?|<anonymous>\)?|native\)?)$/.test(line));
  return frames
    .slice(0, 12)
    .map((line) => line.trim())
    .join('\n');
}

function toScalar(name: string, value: unknown): Scalar | undefined {
  if (value instanceof Secret) return String(value);
  if (typeof value === 'string') return text(name === 'path' || name === 'endpoint' ? (value.split(/[?#]/)[0] ?? '') : value);
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? value : undefined;
}

function text(value: string): string {
  const clean = withoutTokens(value);
  return clean.length > longest ? `${clean.slice(0, longest)}…` : clean;
}
