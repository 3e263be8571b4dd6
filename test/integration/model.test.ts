import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Store } from '../../src/store/store.ts';
import { History, steps } from '../model/history.ts';

/** Random histories of requests, reactions, redactions, repetitions, crashes and clock jumps, on a model homeserver. */

jest.setTimeout(1_800_000);

const histories = Number(process.env['STEWARD_HISTORIES'] ?? 20_000);
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'steward-model-'));
const template = join(root, 'template');
let made = 0;

beforeAll(() => {
  mkdirSync(template);
  Store.open(join(template, 'steward.db')).close();
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

test(`in ${histories} histories nothing runs without its leave, nothing twice, nothing is lost`, async () => {
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { size: 'max', maxCommands: 30 }), async (commands) => {
      made += 1;
      const dir = join(root, String(made));
      const history = new History(dir, template);
      try {
        await history.start();
        await fc.asyncModelRun(() => ({ model: {}, real: history }), commands);
        await history.finish();
        expect(history.faults()).toEqual([]);
      } finally {
        history.kill();
        rmSync(dir, { recursive: true, force: true });
      }
    }),
    { numRuns: histories },
  );
});
