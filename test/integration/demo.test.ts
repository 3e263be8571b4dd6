import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TranscriptEntry } from '../../demo/transcript.ts';
import { processesOf, startDemo, type RunningDemo } from '../demo/run-demo.ts';

/** `npm run demo` as a whole. Nothing of it may be left behind, whatever its end. */

const bound = 120_000;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'demo-test-'));
});
afterEach(async () => {
  for (let tries = 0; tries < 40 && processesOf(folder).length > 0; tries += 1) await sleep(50);
  expect(processesOf(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
});

async function playScript(script: string, ...args: string[]): Promise<{ exit: number | NodeJS.Signals; text: string }> {
  writeFileSync(join(folder, 'x.script'), script);
  const demo = startDemo(['--script', 'x.script', ...args], { folder });
  return { exit: await demo.exit, text: demo.text() };
}

async function begun(demo: RunningDemo, sign: RegExp): Promise<void> {
  while (!sign.test(demo.text())) {
    if (demo.process.exitCode !== null) throw new Error(demo.text());
    await sleep(50);
  }
}

const transcript = (): TranscriptEntry[] => JSON.parse(readFileSync(join(folder, 'out.json'), 'utf8')) as TranscriptEntry[];

describe('a script', () => {
  test(
    'that comes true',
    async () => {
      writeFileSync(join(folder, 'list.txt'), 'henry\niris\n');
      const { exit, text } = await playScript(
        `
      steward: /!help/  # the greeting
      alice: !user list
      steward: /(?<erin>@erin:\\S+)/
      bob: !user info $erin
      steward: /last seen: never/
      alice: file list.txt !user create
      steward: /Please confirm/
      bob: !server version
      alice: react ✅
      steward: /2 of 2 done/
      alice: hello
      alice: edit !user list
      steward: /not run/
      carol: !user list
      steward: /no-role/
      shell: user info henry
      steward: /state: active/
      shell(2): user inof henry
      steward: /Did you mean/
      run: test -s "$STEWARD_CONFIG" && test -n "$ALICE_TOKEN" && steward config check
      kill steward
      start steward
      alice: !server status
      steward: /answers/
      `,
        '--transcript',
        'out.json',
      );
      expect([text, exit]).toEqual([expect.stringContaining('x.script: all 24 lines came true'), 0]);
      const shape: Record<keyof TranscriptEntry, unknown> = {
        event_id: expect.any(String),
        at: expect.any(Number),
        sender: expect.any(String),
        type: expect.any(String),
        msgtype: null,
        body: null,
        formatted_body: null,
        relates_to: null,
        reaction: null,
        redacted: false,
        encrypted: false,
        result: null,
      };
      for (const entry of transcript())
        expect({ ...shape, ...entry }).toEqual({
          ...entry,
          event_id: shape.event_id,
          at: shape.at,
          sender: shape.sender,
          type: shape.type,
        });
      expect(transcript().every((entry) => Object.keys(entry).length === Object.keys(shape).length)).toBe(true);
      expect(transcript()).toContainEqual(expect.objectContaining({ sender: '@alice:steward.test', type: 'm.reaction', reaction: '✅' }));
      expect(transcript()).toContainEqual(
        expect.objectContaining({
          sender: '@steward:steward.test',
          msgtype: 'm.notice',
          result: expect.objectContaining({ command: 'user list', outcome: 'done' }),
        }),
      );
      expect(transcript()).toContainEqual(
        expect.objectContaining({ body: '* !user list', relates_to: expect.objectContaining({ rel_type: 'm.replace' }) }),
      );
      // Thrown away.
      expect(readdirSync(folder).sort()).toEqual(['list.txt', 'out.json', 'x.script']);
    },
    bound,
  );

  test(
    'that does not: the line, what was expected, the last events, and a transcript',
    async () => {
      const { exit, text } = await playScript(
        'alice: !help\nalice: !user list\nsteward: /no such thing/ 2s\nalice: never said',
        '--transcript',
        'out.json',
      );
      expect(exit).toBe(1);
      expect(text).toMatch(
        /x\.script:3: steward: \/no such thing\/ 2s\n {2}expected an answer of Steward that matches .* within 2 s; what came was\n[^]*the last events:\n[^]*@alice/,
      );
      expect(
        transcript()
          .filter(({ sender, type }) => sender === '@alice:steward.test' && type === 'm.room.message')
          .map(({ body }) => body),
      ).toEqual(['!help', '!user list']);
    },
    bound,
  );

  test(
    'in which comes what must not',
    async () => {
      const { exit, text } = await playScript('never: /Accounts/\nalice: !user list\nwait 2s');
      expect([exit, text]).toEqual([1, expect.stringMatching(/x\.script:1: never: \/Accounts\/\n {2}expected nothing that matches/)]);
    },
    bound,
  );

  test(
    'that cannot be read starts nothing',
    async () => {
      const { exit, text } = await playScript('alice: !help\nbob ✅\n');
      expect([exit, text]).toEqual([1, expect.stringMatching(/^steward: error: x\.script:2: expected `NAME: …`.*; found bob ✅\n$/)]);
    },
    bound,
  );
});

describe('without a script', () => {
  test(
    'lines are read to their end, and kept data are there the next time',
    async () => {
      const first = startDemo(['--keep', 'data'], { folder, input: '!user create zoe\nbob: !server version\n' });
      expect([await first.exit, first.text()]).toEqual([0, expect.stringMatching(/alice +!user create zoe[^]*Synapse: \d/)]);
      expect(first.text()).toMatch(/homeserver {2}http:\/\/127\.0\.0\.1:\d+[^]*alice +password \w+[^]*bob +password \w+/);
      const second = startDemo(['--keep', 'data', '--transcript', 'out.json'], { folder, input: '!user info zoe' });
      expect([await second.exit, second.text()]).toEqual([0, expect.stringContaining('@zoe:steward.test (zoe)')]);
      expect(second.text()).not.toContain('steward init');
      expect(transcript().map(({ body }) => body)).toEqual(expect.arrayContaining(['!user create zoe', '!user info zoe']));
    },
    bound,
  );

  test(
    'a folder of something else is left alone',
    async () => {
      writeFileSync(join(folder, 'precious'), '');
      const demo = startDemo(['--keep', '.'], { folder });
      expect([await demo.exit, demo.text()]).toEqual([1, expect.stringContaining('holds something else')]);
      expect(readdirSync(folder)).toEqual(['precious']);
    },
    bound,
  );

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s ends everything',
    async (signal) => {
      const demo = startDemo([], { folder, input: null });
      await begun(demo, /Begin with !help/);
      expect(processesOf(folder).length).toBeGreaterThanOrEqual(2);
      demo.process.kill(signal);
      expect(await demo.exit).toBe(signal === 'SIGINT' ? 130 : 143);
      expect(readdirSync(folder)).toEqual([]);
    },
    bound,
  );

  test(
    'SIGKILL too',
    async () => {
      const demo = startDemo([], { folder, input: null });
      await begun(demo, /Begin with !help/);
      demo.process.kill('SIGKILL');
      await demo.exit;
    },
    bound,
  );
});
