import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { allCommands } from '../../../src/commands/all.ts';
import type { CommandContext } from '../../../src/commands/context.ts';
import { parseLine } from '../../../src/commands/grammar/parse.ts';
import { scheduleRemove } from '../../../src/commands/schedule/remove.ts';
import { readWhen } from '../../../src/workflow/schedule/when.ts';

const registry = allCommands();

test('the undo of a removal adds the same schedule again, whatever quotes its command has', async () => {
  const lines = fc.constantFrom(
    'server status',
    'user create bob --display-name "Bob \\"the\\" Builder"',
    "user list 'O’Brien'",
    'user list “two words” --csv',
    String.raw`user list back\\slash`,
  );
  const dues = fc.constantFrom('02:30', '0 7 * * mon-fri', 'weekly mon 07:00', '*/5 * * * *');
  await fc.assert(
    fc.asyncProperty(lines, dues, fc.constantFrom('one', 'none'), fc.constantFrom(0, 90_000), async (line, due, catchUp, jitter) => {
      const schedule = { id: 'x', name: 'nightly', due, line, timeZone: 'Europe/Berlin', catchUp, jitter };
      const ctx = { schedules: { get: () => schedule }, standing: { of: () => null } } as unknown as CommandContext;
      if (scheduleRemove.kind !== 'write') throw new Error('a removal is a write');
      const { undo } = await scheduleRemove.plan(ctx, { name: 'nightly' });
      const parsed = parseLine(registry, undo ?? '');
      expect(parsed).toMatchObject({
        ok: true,
        parsed: {
          command: { name: 'schedule add' },
          args: { name: 'nightly', when: due, command: line, zone: 'Europe/Berlin', catchUp, ...(jitter === 0 ? {} : { jitter: '90s' }) },
        },
      });
      expect(readWhen(due).ok).toBe(true);
    }),
  );
});
