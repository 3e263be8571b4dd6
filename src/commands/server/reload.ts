import { z } from 'zod';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';

export const serverReload = defineWrite({
  name: 'server reload',
  summary: "Read Steward's configuration file again.",
  details: ['A file with mistakes changes nothing. What cannot change while Steward runs is named.'],
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({}),
  result: z.object({ changed: z.array(z.string()), needsRestart: z.array(z.string()) }),
  examples: ['server reload'],

  plan: () => Promise.resolve({ targets: [], changes: [['read the configuration file again']], data: {} }),
  run: (ctx) => Promise.resolve({ outcome: ctx.reloadConfig() }),
  readBack: (_ctx, _data, note) => {
    const outcome = note['outcome'] as { changed: readonly string[]; needsRestart: readonly string[] } | undefined;
    return Promise.resolve(outcome === undefined ? null : { changed: [...outcome.changed], needsRestart: [...outcome.needsRestart] });
  },

  reply: (result) => [
    text(
      result.changed.length === 0
        ? 'Read the configuration: nothing has changed.'
        : `Read the configuration. Changed: ${result.changed.join(', ')}.`,
    ),
    ...(result.needsRestart.length === 0 ? [] : [text(`In force after a restart: ${result.needsRestart.join(', ')}.`)]),
  ],
});
