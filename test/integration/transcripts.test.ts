import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TranscriptEntry } from '../../demo/transcript.ts';
import { startDemo } from '../demo/run-demo.ts';

/** The scripts of demo/ come true, and what is in the room afterwards is as every room of Steward must be. */

const demo = resolve(import.meta.dirname, '../../demo');
const scripts = readdirSync(demo).filter((name) => name.endsWith('.script'));
/** Each with the options of the demo that it is played with. */
const plays: [string, ...string[]][] = [...scripts.map((name): [string] => [name]), ['backup.script', '--postgres']];
const bot = '@steward:steward.test';
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'transcripts-'));
  // PostgreSQL, which is never root, must get as far as its own folder.
  chmodSync(folder, 0o711);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe.each(plays.map((play) => [play.join(' '), play] as const))('%s', (_play, [name, ...options]) => {
  let entries: readonly TranscriptEntry[];
  const answers = (): TranscriptEntry[] => entries.filter(({ sender, type }) => sender === bot && type === 'm.room.message');

  test('comes true', async () => {
    const run = startDemo([...options, '--script', join(demo, name), '--transcript', 'out.json'], { folder });
    expect([await run.exit, run.text()]).toEqual([0, expect.stringContaining('lines came true')]);
    entries = JSON.parse(readFileSync(join(folder, 'out.json'), 'utf8')) as TranscriptEntry[];
  }, 300_000);

  test('each answer says what it is about, for clients and for people', () => {
    expect(answers().length).toBeGreaterThan(0);
    for (const { result, formatted_body, msgtype } of answers()) {
      expect(result).toMatchObject({ outcome: expect.stringMatching(/^(?:done|failed|refused|usage|unreachable|waiting|unknown)$/) });
      if (msgtype !== 'm.file') expect(formatted_body).toEqual(expect.any(String));
    }
  });

  test('a failure has an error id, and reads as an error and a hint', () => {
    const failures = answers().filter((answer) => ['failed', 'usage', 'unreachable'].includes(outcomeOf(answer)));
    for (const { result, body } of failures) {
      const { error_id: errorId } = result as { error_id: string };
      expect(errorId).toMatch(/^[a-z]+\.[a-z-]+$/);
      // An alert says what is wrong and what to do next.
      expect(body).toMatch(body?.includes('\npage: ') === true ? /^[🔴🟠] [^]*\nnext: /u : /^error: [^]*\nhint: /m);
      expect(body).toContain(`(${errorId})`);
    }
  });

  test('nothing that hides, turns text around or brings its own tags', () => {
    for (const { body, formatted_body } of answers()) {
      expect(`${body ?? ''}${formatted_body ?? ''}`).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b-\u200f]/u);
      const tags = [...(formatted_body ?? '').matchAll(/<\/?([^\s>]+)/gu)].map(([, tag]) => tag);
      expect(['b', 'br', 'p', 'ul', 'li', 'code', 'pre', 'a', 'table', 'thead', 'tbody', 'tr', 'th', 'td']).toEqual(
        expect.arrayContaining([...new Set(tags)]),
      );
    }
  });

  test('no secret: what held one is redacted, and no answer repeats it', () => {
    const secret = /(?:^|\s)-p\s+(\S+)/u;
    const leaks = entries.filter(({ sender, body }) => sender !== bot && secret.test(body ?? ''));
    for (const leak of leaks) {
      expect(leak.redacted).toBe(true);
      const [, word = ''] = secret.exec(leak.body ?? '') ?? [];
      expect(JSON.stringify(answers())).not.toContain(word);
    }
  });

  test('each message is answered once, beside what was asked first', () => {
    const outcomes = new Map<string, string[]>();
    // Under Steward's own reports each press of a button is answered.
    const own = new Set(answers().map(({ event_id: id }) => id));
    for (const answer of answers()) {
      const relation = answer.relates_to as { rel_type?: string; 'm.in_reply_to'?: { event_id: string } } | null;
      const about = relation?.['m.in_reply_to']?.event_id;
      if (about !== undefined && !own.has(about) && relation?.rel_type !== 'm.replace')
        outcomes.set(about, [...(outcomes.get(about) ?? []), outcomeOf(answer)]);
    }
    for (const several of outcomes.values()) expect(several.slice(0, -1).filter((outcome) => outcome !== 'waiting')).toEqual([]);
  });

  test('no event twice, and every message encrypted', () => {
    expect(new Set(entries.map(({ event_id: id }) => id)).size).toBe(entries.length);
    expect(entries.filter(({ type, encrypted }) => type === 'm.room.encrypted' || (type === 'm.room.message' && !encrypted))).toEqual([]);
  });
});

function outcomeOf({ result }: TranscriptEntry): string {
  return (result as { outcome: string }).outcome;
}
