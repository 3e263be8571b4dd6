import { createReadStream } from 'node:fs';
import { ChainCheck, faultWords, type Verdict } from '../audit/check.ts';
import { Failure } from '../failures/failure.ts';
import { takeOption } from './words.ts';

const attempted = (path: string): string => `verify ${path}`;

/** The file of `steward audit verify FILE [--head HASH]`; null when the words are the command of the set. */
export function auditFileOf(argv: readonly string[]): { path: string; head: string | null; key: string | null } | null {
  if (argv[0] !== 'audit' || argv[1] !== 'verify') return null;
  // No configuration is read; a script may give it to each command all the same.
  const head = takeOption(takeOption(argv.slice(2), 'config').rest, 'head', 'a hash');
  const key = takeOption(head.rest, 'key');
  const [path, ...extra] = key.rest;
  if (path === undefined || path.startsWith('--')) return null;
  if (extra.length > 0)
    throw new Failure('usage.extra-argument', { attempted: attempted(path), reason: `\`${extra[0] ?? ''}\` is not known here` });
  return { path, head: head.value?.toLowerCase() ?? null, key: key.value ?? null };
}

/**
 * Checks a file of the audit alone: an export, or a month of `data_dir/audit`.
 *
 * @returns what it says of a file that is whole; throws Failure `audit.broken`, `usage.input-unreadable`
 */
export async function verifyAuditFile({ path, head, key }: NonNullable<ReturnType<typeof auditFileOf>>): Promise<string> {
  const check = new ChainCheck(null, head);
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>)
      if (!check.push(piece)) break;
  } catch (error) {
    throw new Failure('usage.input-unreadable', { attempted: attempted(path), reason: 'the file cannot be read', cause: error });
  }
  const verdict = check.end();
  const fault = faultOf(verdict, head, key);
  if (fault !== null) throw new Failure('audit.broken', { attempted: attempted(path), reason: fault });
  const { records, seq, signed } = verdict;
  return [
    `${path}: whole, ${records} records, ${seq - records + 1} to ${seq}`,
    `head:   ${verdict.head ?? 'none'}`,
    signed === null
      ? 'signed: no; compare the head with one that was posted in the room (--head HASH)'
      : `signed: ${signed.at} by the key ${signed.key}`,
    '',
  ].join('\n');
}

function faultOf({ broken, found, records, seq, signed }: Verdict, head: string | null, key: string | null): string | null {
  if (broken !== null) return `record ${broken.seq} ${faultWords[broken.fault]}`;
  if (records === 0) return 'it has no records';
  if (head !== null && !found) return `no record has the hash ${head}: it is cut after record ${seq}, or was written anew`;
  if (key !== null && signed?.key !== key) return signed === null ? 'it is not signed' : `it is signed by another key, ${signed.key}`;
  return null;
}
