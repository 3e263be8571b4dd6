import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { configCommand } from '../../src/config/cli.ts';
import { defaultConfigPath } from '../../src/config/load.ts';
import { folderWith } from './folder.ts';

function run(argv: string[], env: Record<string, string> = {}) {
  let out = '';
  let err = '';
  const code = configCommand(argv, { env, out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}

const yaml = "http: { listen: '127.0.0.1:1' }\nalerts: { webhook: { url_file: hook } }\nlimits: { bulk: 7 }\n";

describe('steward config', () => {
  const folder = folderWith({ 'good.yaml': yaml, hook: 'https://hooks.example.org/hidden', 'bad.yaml': 'limits: { bulc: 7 }\nrom: x\n' });

  test('check: valid, with warnings on standard error', () => {
    expect(run(['check', '--config', join(folder, 'good.yaml')])).toEqual({ code: 0, out: `${folder}/good.yaml: valid\n`, err: '' });
    expect(run(['check'], { STEWARD_CONFIG: join(folder, 'good.yaml'), STEWARD_APPROVAL__MODE: 'single' }).err).toMatch(
      /^warning: approval\.mode: /,
    );
  });

  test('check and show: all mistakes, exit code 2', () => {
    for (const verb of ['check', 'show']) {
      const { code, out, err } = run([verb, '--config', join(folder, 'bad.yaml')]);
      expect([code, out]).toEqual([2, '']);
      expect(err).toContain('bad.yaml:1:11: limits.bulc');
      expect(err).toContain('bad.yaml:2:1: rom');
      expect(err).toContain('has 2 mistakes (config.invalid)');
    }
  });

  test('show: what is in force and where it comes from, secrets hidden', () => {
    const { code, out } = run(['show', '--config', join(folder, 'good.yaml')], { STEWARD_LOG__LEVEL: 'debug' });
    expect(code).toBe(0);
    expect(out).toContain('  bulk: 7\n');
    expect(out).toContain('command_age: 5m # default\n');
    expect(out).toContain('level: debug # STEWARD_LOG__LEVEL\n');
    expect(out).toContain('url_file: «secret»\n');
    expect(out).not.toContain('hidden');
  });

  test('sample prints the sample; anything else is usage', () => {
    expect(run(['sample']).out).toContain('#data_dir: /var/lib/steward');
    expect(run(['chek'])).toMatchObject({ code: 2, err: expect.stringContaining('did you mean `check`?') });
    expect(run([]).code).toBe(2);
    expect(run(['check', '--config']).code).toBe(2);
    expect(run(['check', 'more']).code).toBe(2);
  });
});

test('the default path is the first that exists, and a named one wins', () => {
  const home = folderWith({ '.config/steward/steward.yaml': '' });
  expect(defaultConfigPath({ HOME: home })).toBe(join(home, '.config/steward/steward.yaml'));
  expect(defaultConfigPath({ HOME: home, STEWARD_CONFIG: '/x' })).toBe('/x');
  expect(() => run(['check'], { HOME: '/nowhere' })).toThrow(expect.objectContaining({ id: 'config.not-found' }));
});
