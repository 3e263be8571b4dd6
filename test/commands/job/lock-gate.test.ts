import { expect, test } from '@jest/globals';
import { allCommands } from '../../../src/commands/all.ts';
import { lockGate } from '../../../src/commands/job/lock-gate.ts';
import type { Job } from '../../../src/workflow/job.ts';

const registry = allCommands();

/** The gate, while a job of this command runs. */
const whileRunning = (running: string) => {
  const gate = lockGate(() => [{ id: 'job1', command: running }] as Job[], registry);
  return (name: string): void => {
    const command = registry.find(name);
    if (command === undefined) throw new TypeError(name);
    gate({ command, tier: command.tier, requester: { kind: 'shell' } });
  };
};

test('a second backup is refused at once, and names the job that holds the lock', () => {
  expect(() => whileRunning('backup create')('backup create')).toThrow(
    expect.objectContaining({
      id: 'job.locked',
      reason: 'the job job1 (backup create) is running',
      hint: expect.stringContaining('!job cancel job1'),
    }),
  );
});

test('what holds no lock runs beside it', () => {
  expect(() => whileRunning('backup create')('user create')).not.toThrow();
  expect(() => whileRunning('user create')('backup create')).not.toThrow();
});
