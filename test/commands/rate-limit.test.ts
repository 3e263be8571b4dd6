import { expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import { RateLimit } from '../../src/commands/rate-limit.ts';
import { configSchema } from '../../src/config/schema.ts';

test('a person gives so many commands in any minute, and is told once that it was too many', () => {
  let now = 0;
  const config = configSchema.parse({ limits: { per_minute: 2 } });
  const limit = new RateLimit({ ...systemClock, monotonic: () => now }, () => config);

  expect([limit.take('alice'), limit.take('alice'), limit.take('alice'), limit.take('alice')]).toEqual([
    'taken',
    'taken',
    'refused',
    'silent',
  ]);
  expect(limit.take('bob')).toBe('taken');
  now = 59_999;
  expect(limit.take('alice')).toBe('silent');
  now = 60_001;
  expect([limit.take('alice'), limit.take('alice'), limit.take('alice')]).toEqual(['taken', 'taken', 'refused']);
});
