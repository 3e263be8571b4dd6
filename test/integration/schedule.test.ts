import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** Commands that run by a timetable. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
});

beforeEach(async () => {
  steward = await home.steward();
});

afterEach(() => steward.stop());

afterAll(() => home.dispose());

test('a stored schedule runs a read as its maker, and posts the answer', async () => {
  const added = await steward.alice.ask('!schedule add health "*/2 * * * * *" "server status" -y');
  expect(bodyOf(added)).toMatch(/Added the schedule health\.[^]*when: \*\/2 \* \* \* \* \* \(UTC\)[^]*next: \d{4}-\d\d-\d\d \d\d:\d\d UTC/);

  const report = await steward.alice.hears((body) => body.startsWith('health · !server status · due '));

  expect(bodyOf(report)).toContain('answers.');
  expect(report.content['msgtype']).toBe('m.notice');
  expect(resultOf(report)).toMatchObject({ command: 'server status', outcome: 'done' });
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(/health · !server status · .*as alice · next .* · last .* ✅ done/);
  expect(resultOf(await steward.alice.ask('!schedule remove health'))).toMatchObject({ outcome: 'done' });
});
