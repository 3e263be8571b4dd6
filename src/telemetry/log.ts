import { createLogger, format, transports } from 'winston';
import type { Clock } from '../clock.ts';
import { allowList, withoutTokens, type LogFields, type Scalar } from './fields.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/**
 * Where Steward says what it does. A message is a constant sentence: what varies goes into the fields, of which only
 * allowed names with scalar values are written. Never throws.
 */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log that writes these fields with every line. */
  child(fields: LogFields): Log;
}

export interface LogOptions {
  level: LogLevel;
  /** One JSON object a line, or `15:04:05 info  message field=value` in UTC. */
  format: 'json' | 'human';
  clock: Clock;
  /** Default: standard error. */
  stream?: NodeJS.WritableStream;
}

export function createLog({ level, format: kind, clock, stream = process.stderr }: LogOptions): Log {
  // A reader that went away (EPIPE) must not end the daemon.
  stream.on('error', () => {});
  const logger = createLogger({
    level,
    format: format.printf((entry) => {
      const { level: at, message, ...fields } = entry as unknown as Line;
      return kind === 'json'
        ? JSON.stringify({ at: isoTime(clock), level: at, message, ...fields })
        : human({ level: at, message, ...fields }, clock);
    }),
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- winston declares it as an interface
    transports: [new transports.Stream({ stream })],
    exitOnError: false,
  });
  const bound = (inherited: Record<string, Scalar>): Log => {
    const write =
      (at: LogLevel) =>
      (message: string, fields: LogFields = {}) => {
        if (logger.isLevelEnabled(at)) logger.log({ ...inherited, ...allowList(fields), level: at, message: withoutTokens(message) });
      };
    return {
      error: write('error'),
      warn: write('warn'),
      info: write('info'),
      debug: write('debug'),
      child: (fields) => bound({ ...inherited, ...allowList(fields) }),
    };
  };
  return bound({});
}

/** A log that writes nothing. */
export const silentLog: Log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {}, child: () => silentLog };

interface Line {
  level: string;
  message: string;
  [field: string]: Scalar;
}

function human({ level, message, stack, cause_stack: causeStack, ...fields }: Line, clock: Clock): string {
  const pairs = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' && !/^[^\s"=\p{Cc}]+$/u.test(value) ? JSON.stringify(value) : String(value)}`,
  );
  const frames = [stack, causeStack]
    .filter((part) => typeof part === 'string')
    .flatMap((part) => part.split('\n').map((line) => `\n    ${line}`));
  return `${isoTime(clock).slice(11, 19)} ${level.padEnd(5)} ${[message, ...pairs].join(' ')}${frames.join('')}`;
}

function isoTime(clock: Clock): string {
  return new Date(clock.now()).toISOString();
}
