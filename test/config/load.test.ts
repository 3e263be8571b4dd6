import { chmodSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { loadConfig, type InvalidConfig, type LoadedConfig } from '../../src/config/load.ts';
import { formatMistakes, type ConfigMistake } from '../../src/config/mistake.ts';
import { folderWith } from './folder.ts';

const whole = `
data_dir: data
homeserver:
  url: http://127.0.0.1:8008/
  server_name: example.org
  user_id: '@steward:example.org'
  access_token_file: secrets/token
room: { id: '!abc' }
people:
  alice: { user_ids: ['@alice:example.org'], roles: [owner] }
`;

function load(
  yaml: string,
  { env = {}, files = { 'secrets/token': 'syt_hidden\n' } }: { env?: Record<string, string>; files?: Record<string, string> } = {},
) {
  const folder = folderWith({ ...files, 'steward.yaml': yaml });
  return { folder, result: loadConfig(join(folder, 'steward.yaml'), env) };
}

function valid(...args: Parameters<typeof load>): LoadedConfig & { folder: string } {
  const { folder, result } = load(...args);
  if (!result.ok) throw new Error(formatMistakes(result.mistakes));
  return { ...result, folder };
}

function mistakesOf(...args: Parameters<typeof load>): ConfigMistake[] {
  return (load(...args).result as InvalidConfig).mistakes;
}

describe('a configuration that is right', () => {
  test('is read with its secret, its defaults and absolute paths', () => {
    const { config, folder } = valid(whole);
    expect(config.homeserver).toMatchObject({ url: 'http://127.0.0.1:8008', userId: '@steward:example.org' });
    expect(config.homeserver?.accessToken.reveal()).toBe('syt_hidden');
    expect(config.dataDir).toBe(join(folder, 'data'));
    expect(config.secrets.file.dir).toBe(join(folder, 'data/secrets'));
    expect(config.limits.commandAge).toBe(300_000);
  });

  test('may have no homeserver, and may be empty', () => {
    expect(valid('').config.homeserver).toBeUndefined();
    expect(valid('data_dir: x\n').config.homeserver).toBeUndefined();
  });

  test('warns of what is missing', () => {
    const keys = valid(whole.replace('roles: [owner]', 'roles: []')).warnings.map(({ key }) => key);
    expect(keys).toEqual(['people', 'approval.mode', 'alerts', 'http.listen']);
    expect(valid(`${whole.replace('[owner]', '[viewer]')}\nroles: { viewer: { owner: false } }\n`).warnings[0]).toMatchObject({
      key: 'people',
    });
    const quiet = `${whole.replace('people:', "people:\n  bob: { user_ids: ['@bob:example.org'] }")}\nhttp: { listen: '127.0.0.1:1' }\nalerts: { webhook: { url_file: secrets/token } }\n`;
    expect(valid(quiet).warnings).toEqual([]);
    expect(valid(`${quiet}approval: { mode: single }\n`).warnings).toMatchObject([{ key: 'approval.mode' }]);
  });
});

describe('the environment', () => {
  test('overrides text, numbers, lists and names of people', () => {
    const { config } = valid(whole, {
      env: {
        STEWARD_HOMESERVER__URL: 'https://matrix.example.org',
        STEWARD_LIMITS__BULK: '5',
        STEWARD_ROOM__BARE_PREFIX: 'false',
        STEWARD_ROOM__ID: '!other',
        STEWARD_GUARDS__PROTECTED: '["@bridge*:example.org"]',
        STEWARD_PEOPLE__ALICE__ROLES: '[]',
        STEWARD_PEOPLE__BOB__USER_IDS: '["@bob:example.org"]',
        STEWARD_CONFIG: 'elsewhere.yaml',
        STEWARD_SERVICE_HOST: '10.0.0.1',
        STEWARD_PORT_9480_TCP_ADDR: '10.0.0.1',
        STEWARD_METRICS_SERVICE_PORT_HTTP: '9480',
      },
    });
    expect(config.homeserver?.url).toBe('https://matrix.example.org');
    expect(config.limits.bulk).toBe(5);
    expect(config.room).toMatchObject({ id: '!other', barePrefix: false });
    expect(config.guards.protected).toEqual(['@bridge*:example.org']);
    expect(config.people).toMatchObject({ alice: { roles: [] }, bob: { userIds: ['@bob:example.org'] } });
  });

  test('may set everything where the file is empty', () => {
    expect(valid('', { env: { STEWARD_HTTP__LISTEN: '127.0.0.1:9480' } }).config.http.listen).toBe('127.0.0.1:9480');
  });

  test('has mistakes of its own, under the name of the variable', () => {
    expect(
      mistakesOf(whole, { env: { STEWARD_HOMESERVER__ULR: 'x', STEWARD_LIMITS__BULK: 'many', STEWARD_GUARDS__PROTECTED: '["a"' } }),
    ).toEqual([
      expect.objectContaining({ source: 'STEWARD_GUARDS__PROTECTED', found: 'text that is not YAML' }),
      expect.objectContaining({ source: 'STEWARD_HOMESERVER__ULR', nearest: 'STEWARD_HOMESERVER__URL' }),
      expect.objectContaining({ source: 'STEWARD_LIMITS__BULK', key: 'limits.bulk', found: '"many"' }),
    ]);
  });
});

describe('mistakes', () => {
  test('are told all at once, each with its line, key, what was expected and what was found', () => {
    const mistakes = mistakesOf(
      [
        'data_dri: x',
        'homeserver:',
        '  ulr: http://x',
        '  url: foo',
        '  server_name: example.org',
        "  user_id: '@steward:other.org'",
        '  access_token_file: secrets/none',
        'limits:',
        '  bulk: many',
        '  command_age: 5q',
        'people:',
        "  al: { user_ids: ['@a:b', 7], roles: [ownr] }",
        "  bo: { user_ids: ['@a:b'] }",
        'log: [x]',
        'approval: { mode: dual }',
      ].join('\n'),
    );
    const lines = formatMistakes(mistakes)
      .replaceAll(/\S*steward\.yaml:/g, '')
      .split('\n');
    expect(lines).toEqual([
      '1:1: data_dri: expected a known key, found an unknown one',
      '    did you mean `data_dir`?',
      '3:3: homeserver.ulr: expected a known key, found an unknown one',
      '    did you mean `url`?',
      '4:8: homeserver.url: expected an address such as http://127.0.0.1:8008, found "foo"',
      '6:12: homeserver.user_id: expected an account of example.org (homeserver.server_name), found one of other.org',
      expect.stringMatching(
        /^7:22: homeserver\.access_token_file: expected the path of a readable file, found no such file \(relative paths start at \/.*\)$/,
      ),
      '9:9: limits.bulk: expected a whole number of at least 1, found "many"',
      '10:16: limits.command_age: expected a duration such as 30s, 15m, 12h, 7d, found "5q"',
      '12:28: people.al.user_ids[1]: expected a Matrix user id such as @alice:example.org, found 7',
      '12:40: people.al.roles[0]: expected a role of `roles:` (owner), found "ownr"',
      '    did you mean `owner`?',
      '13:20: people.bo.user_ids[0]: expected an account that belongs to one person, found @a:b, which al has',
      '14:6: log: expected keys with values, found a list',
      '15:19: approval.mode: expected one of two-person, single, found "dual"',
    ]);
  });

  test('of a missing key stand at its section', () => {
    expect(mistakesOf('room:\n  name: x\nhomeserver: { url: "http://x" }\n')).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ key: 'room.id', line: 1, found: 'nothing' }),
        expect.objectContaining({ key: 'homeserver.server_name', line: 3 }),
      ]),
    );
  });

  test.each([
    ['a key twice', 'room:\n  id: "!a"\n  id: "!b"\n', 3, 'stands above'],
    ['a tab', 'room:\n\tid: "!a"\n', 2, 'a tab'],
    ['an open bracket', 'people: [\n', 2, 'does not fit'],
    ['an unquoted user id', 'homeserver:\n  user_id: @a:b\n', 2, 'a meaning in YAML'],
    ['an unquoted room id', 'room:\n  id: !abc:example.org\n', 2, 'a YAML tag'],
    ['a list at the top', '- a\n', 1, 'a list'],
    [
      'a bomb of aliases',
      `a: &a [${'1,'.repeat(9)}1]\n${['b', 'c', 'd', 'e'].map((name, index) => `${name}: &${name} [${`*${'abcd'[index]},`.repeat(9)}1]`).join('\n')}\n`,
      1,
      'too many aliases',
    ],
  ])('of YAML: %s', (_, yaml, line, found) => {
    const mistakes = mistakesOf(yaml);
    expect(mistakes).toContainEqual(expect.objectContaining({ line, found: expect.stringContaining(found) }));
  });

  test('of YAML and of the schema come together, and one place is told once', () => {
    const mistakes = mistakesOf('room:\n  id: !abc:example.org\nlog: { lvel: debug }\n');
    expect(mistakes.map(({ line, nearest }) => [line, nearest])).toEqual([
      [2, undefined],
      [3, 'level'],
    ]);
  });
});

describe('secret files', () => {
  test.each([
    ['missing', {}, 'no such file'],
    ['empty', { 'secrets/token': '\n' }, 'an empty file'],
    ['a folder', { 'secrets/token/x': 'a' }, 'not a file'],
  ])('%s: a mistake', (_, files, found) => {
    expect(mistakesOf(whole, { files })).toEqual([
      expect.objectContaining({ key: 'homeserver.access_token_file', line: 7, found: expect.stringContaining(found) }),
    ]);
  });

  test('that others may read are a mistake, with the line to type', () => {
    const { folder } = load(whole);
    for (const mode of [0o640, 0o604, 0o660]) {
      chmodSync(join(folder, 'secrets/token'), mode);
      const { mistakes } = loadConfig(join(folder, 'steward.yaml'), {}) as InvalidConfig;
      expect(mistakes).toMatchObject([{ key: 'homeserver.access_token_file', hint: `chmod 600 ${folder}/secrets/token` }]);
    }
  });

  // Only root can give a file away.
  (process.getuid?.() === 0 ? test : test.skip)(
    'of another owner, such as a mounted Kubernetes Secret, may be readable by the group',
    () => {
      const { folder } = load(whole);
      chownSync(join(folder, 'secrets/token'), 12_345, 12_345);
      chmodSync(join(folder, 'secrets/token'), 0o440);
      expect(loadConfig(join(folder, 'steward.yaml'), {}).ok).toBe(true);
      chmodSync(join(folder, 'secrets/token'), 0o444);
      expect(loadConfig(join(folder, 'steward.yaml'), {}).ok).toBe(false);
    },
  );

  test('never show: not the content, and not a secret that was put in place of the path', () => {
    const told = formatMistakes([
      ...mistakesOf(whole.replace('secrets/token', 'syt_pasted_AAAA')),
      ...mistakesOf(
        `${whole}access_token: syt_pasted_AAAA\nalerts: { webhook: https://hooks.example.org/pasted }\nlog: { level: syt_pasted_AAAAAAAAAAAAAAAAAAAA }\n`,
      ),
      ...mistakesOf(whole.replace('8008', '8008 http://user:pasted@x')),
    ]);
    expect(told).not.toContain('pasted');
    const { written, config } = valid(whole);
    expect(JSON.stringify([written, config])).not.toContain('syt_hidden');
  });
});

test('a file that is not there is a failure', () => {
  expect(() => loadConfig('/nowhere/steward.yaml', {})).toThrow(expect.objectContaining({ id: 'config.not-found' }));
  expect(() => loadConfig('/', {})).toThrow(expect.objectContaining({ id: 'config.unreadable' }));
});
