import { z } from 'zod';
import { text } from '../reply/parts.ts';
import { defineRead } from './define.ts';

/** Only names what would be undone; dispatching replaces the line `undo` by the undo's own command, with its own tier. */
export const undo = defineRead({
  name: 'undo',
  summary: 'Undo your last change, by the command that its answer named.',
  details: ['An undo is a command with a tier of its own: where that is higher than the change was, it asks for what that tier asks.'],
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  args: z.strictObject({}),
  result: z.object({ command: z.string().nullable() }),
  examples: ['undo'],

  read: (ctx) => Promise.resolve({ command: ctx.lastUndoable()?.undo ?? null }),
  reply: (result) => [
    result.command === null ? text('There is nothing of yours to undo.') : text('To undo: ', { command: result.command }),
  ],
});
