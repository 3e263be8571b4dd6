import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Docker, ensureBaseImage, startDocker } from '../../kit/docker.ts';

let docker: Docker;

beforeAll(async () => {
  docker = await startDocker();
}, 60_000);

afterAll(async () => {
  await docker.stop();
}, 60_000);

test('an image built on the base made here runs', async () => {
  const base = await ensureBaseImage(docker);
  await docker.docker(['build', '--tag', 'hello', '-'], `FROM ${base}\nRUN echo hello >/hello\nUSER nobody\nCMD ["cat", "/hello"]\n`);
  expect(await docker.docker(['run', '--rm', '--read-only', 'hello'])).toBe('hello\n');
  await expect(docker.docker(['run', '--rm', 'hello', 'false'])).rejects.toThrow('exit code 1');
}, 300_000);
