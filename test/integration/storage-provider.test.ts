import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** A homeserver that also keeps media in another place (`media_storage_providers`), from where Steward takes none. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'storage-provider-'));
  home = await Homeserver.start({
    media_storage_providers: [
      {
        ...{ module: 'file_system', store_local: true, store_remote: false, store_synchronous: true },
        config: { directory: join(dir, 'provider') },
      },
    ],
  });
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
  steward = await home.steward({
    config: {
      stack: { homeserver_config: [home.synapse.configPath] },
      backup: { destinations: { disk: { directory: join(dir, 'disk') } }, keys: { recipients: [recipient] } },
    },
  });
});

afterAll(async () => {
  await home.dispose();
  rmSync(dir, { recursive: true, force: true });
});

test('a backup tells of the place, and of what only lies there', async () => {
  const upload = async (content: string): Promise<string> => (await home.carol.client.upload(content)).replace(/.*\//, '');
  await upload('in both');
  const away = await upload('in the other place alone');
  rmSync(join(home.synapse.mediaPath, 'local_content', away.slice(0, 2), away.slice(2, 4), away.slice(4)));
  expect(bodyOf(await steward.alice.ask('!server config'))).toContain('media also in: file_system');

  const said = await steward.alice.say('!backup create');
  const answer = bodyOf(await steward.alice.answer(said, 50_000));

  expect(answer).toContain('not in it: what only lies in file_system (media_storage_providers)');
  expect(answer).toContain('media: 1 new of 1 files');
  expect(answer).toContain('media without a file: 1');
  const id = /as (\d{8}_\d{6}):/.exec(answer)?.[1] ?? '';
  expect(bodyOf(await steward.alice.ask(`!backup info ${id}`))).toContain('media that only file_system has');
});
