import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Jobs are listed, shown and cancelled; a freeze stops what changes. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
});

afterAll(() => home.dispose());

test('a list of accounts is cancelled between two of them: what is done stays, the rest is not begun', async () => {
  const slow = home.proxy.fault({
    name: 'slow writes',
    match: ({ method, path }) => method === 'PUT' && path.includes('/admin/v2/users/'),
    action: { delay: 1500 },
    times: 10,
  });
  const said = await steward.alice.say('!user create -y\n```\nmany1\nmany2\nmany3\nmany4\n```');
  await until(() => slow.hits > 0, 15_000, 'the first account is under way');
  const listed = await steward.bob.ask('!job list --state running');
  const id = /• (\S+) · running · user create by alice/.exec(bodyOf(listed))?.[1] ?? '';
  expect(id).toMatch(/^[a-z0-9]{10}$/);

  expect(bodyOf(await steward.bob.ask(`!job cancel ${id}`))).toContain('stops after the step that is under way');
  const answer = await steward.alice.answer(said, 30_000);

  expect(bodyOf(answer)).toMatch(/job\.cancelled/);
  expect(await home.account('many1')).not.toBeNull();
  expect(await home.account('many4')).toBeNull();
  expect(bodyOf(await steward.bob.ask(`!job info ${id}`))).toMatch(
    /user create is cancelled\..*asked by: alice.*@many1:\S+ done.*@many4:\S+ failed: .*\(job\.cancelled\)/s,
  );
  expect(bodyOf(await steward.bob.ask(`!audit list --job=${id}`))).toContain('job.cancelled');
  expect(resultOf(await steward.bob.ask(`!job cancel ${id}`))?.error_id).toBe('job.ended');
});

test('while Steward is frozen nothing is changed, what is read is answered, and thaw ends it', async () => {
  expect(resultOf(await steward.alice.ask('!server freeze maintenance -y'))?.outcome).toBe('done');

  const refused = await steward.bob.ask('!user create frozen1');
  expect(resultOf(refused)).toMatchObject({ outcome: 'refused' });
  expect(bodyOf(refused)).toContain('maintenance');
  expect(await home.account('frozen1')).toBeNull();
  expect(resultOf(await steward.bob.ask('!user info bob'))?.outcome).toBe('done');
  expect(bodyOf(await steward.bob.ask('!server status'))).toContain('maintenance');

  expect(resultOf(await steward.bob.ask('!server thaw -y'))?.outcome).toBe('done');
  expect(resultOf(await steward.bob.ask('!user create frozen1'))?.outcome).toBe('done');
  expect(await home.account('frozen1')).not.toBeNull();
});
