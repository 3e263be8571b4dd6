import { expect, test } from '@jest/globals';
import { setImmediate } from 'node:timers/promises';
import { compressedOutput } from '../../src/stack/stream.ts';

test('a source that has ended by itself may be aborted: the sink that failed does so', async () => {
  const source = compressedOutput({ name: 'printf', command: ['printf', 'all of it'] }, false, new AbortController().signal);
  const { stages } = await source.proof;
  expect(stages).toEqual([{ name: 'printf', exitCode: 0 }]);
  source.abort();
  source.abort();
  await setImmediate();
});
