import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { parse, stringify } from 'yaml';
import { ensureBuildImage } from '../../kit/build-image.ts';
import { toStderr } from '../../kit/cache.ts';
import { type Docker, ensureBaseImage, startDocker } from '../../kit/docker.ts';
import { freePort } from '../../kit/process.ts';
import { Homeserver } from '../integration/support/homeserver.ts';
import { Seat, bodyOf, resultOf } from '../integration/support/seat.ts';
import { until } from '../integration/support/until.ts';
import { blocksOf, type Block } from './support/document.ts';
import { openShell, type Shell } from './support/shell.ts';

/** The image, by the commands of docs/install-docker.md, against a Synapse on the machine's loopback. */

jest.setTimeout(300_000);

const root = resolve(import.meta.dirname, '../..');
const MB = 1_000_000;

const cleanup = new AsyncDisposableStack();
let homeserver: Homeserver;
let docker: Docker;
let base: string;
let dir: string;
let blocks: Block[];
let shell: Shell;
let alice: Seat;
let healthUrl: string;

beforeAll(async () => {
  const begin = performance.now();
  const since = () => `${((performance.now() - begin) / 1000).toFixed(0)} s`;
  blocks = await blocksOf(join(root, 'docs/install-docker.md'));
  dir = await mkdtemp(join(tmpdir(), 'steward-image-'));
  cleanup.defer(() => rm(dir, { recursive: true, force: true }));
  homeserver = await Homeserver.start();
  cleanup.defer(() => homeserver.dispose());
  docker = await startDocker();
  cleanup.defer(() => docker.stop());
  base = await ensureBaseImage(docker);
  const build = await ensureBuildImage(docker, base);
  toStderr(`Synapse, Docker and base images are there (${since()})`);
  const listen = `127.0.0.1:${await freePort()}`;
  healthUrl = `http://${listen}`;
  shell = await openShell({
    dir,
    socket: docker.socket,
    extra: {
      build: ['--network', 'host', '--build-arg', `BASE=${build}`, '--build-arg', `RUNTIME=${base}`],
      run: ['--network', 'host', '--env', `STEWARD_HTTP__LISTEN=${listen}`, '--health-interval', '1s'],
    },
    composeFiles: ['compose.yaml', 'here.yaml'],
  });
  await writeFile(
    join(dir, 'here.yaml'),
    stringify({ services: { steward: { network_mode: 'host', environment: { STEWARD_HTTP__LISTEN: listen } } } }),
  );
  await writeFile(join(dir, 'compose.yaml'), text('With Docker Compose', 'yaml'));
  await shell(text('Build the image'));
  toStderr(`the image is there (${since()})`);
});

afterAll(() => cleanup.disposeAsync());

/** The first block below a heading, or the one that has `part` in it, with the names of this place for those of the document. */
function text(heading: string, language = 'sh', part = ''): string {
  const found = blocks.find((block) => block.heading === heading && block.language === language && block.text.includes(part));
  if (found === undefined) throw new Error(`docs/install-docker.md has no ${language} below ${heading} with ${part}`);
  return found.text
    .replaceAll('/etc/steward:/etc/steward', `${dir}/etc:/etc/steward`)
    .replace(/(install .*) \/etc\/steward$/m, `$1 ${dir}/etc`)
    .replace(/(build .*) \.$/m, `$1 ${root}`)
    .replace(/^git .*\n/m, '')
    .replaceAll('https://matrix.example.org', homeserver.synapse.url)
    .replaceAll(':example.org', `:${homeserver.serverName}`);
}

/** Of the container. */
const inspect = async (format: string) => (await docker.docker(['inspect', '--format', format, 'steward'])).trim();
const steward = (line: string) => shell(`docker exec steward steward ${line}`);

async function healthy(): Promise<void> {
  await until(async () => (await inspect('{{.State.Health.Status}}')) === 'healthy', 20_000, 'the container is healthy');
  await until(async () => (await fetch(`${healthUrl}/readyz`)).ok, 20_000, 'Steward is ready');
}

describe('the image', () => {
  const paths = async (image: string) =>
    (await docker.docker(['run', '--rm', '--user', '0', '--entrypoint', 'find', image, '/', '-xdev'])).trim().split('\n');

  test('adds to its base the program, its modules and Node, and nothing else', async () => {
    const before = new Set(await paths(base));
    const added = (await paths('steward')).filter((path) => !before.has(path));
    const own = /^\/opt\/steward\/(LICENSE|package\.json|(packages|node_modules)(\/.*)?|dist(\/[a-z-]+)*(\/[a-z0-9-]+\.js)?)$/;
    const beside = ['/opt/steward', '/usr/local/bin/node', '/usr/local/bin/steward', '/data', '/etc/steward', '/var/lib/steward'];
    expect(added.filter((path) => !own.test(path) && !beside.includes(path))).toEqual([]);
    expect(added).toEqual(expect.arrayContaining([...beside, '/opt/steward/LICENSE', '/opt/steward/dist/main.js']));
    // Of one processor, or for those who build.
    expect(added.filter((path) => /\.node$|\/(npm|npx|corepack|typescript|jest|@swc|\.git|\.npmrc|\.env)(\/|$)/.test(path))).toEqual([]);
  });

  test('has no trace of where it was built', async () => {
    const config = JSON.parse(await docker.docker(['image', 'inspect', '--format', '{{json .Config}}', 'steward'])) as {
      Env: string[];
      Labels: Record<string, string>;
      User: string;
      StopSignal: string;
    };
    expect(config.Env.map((variable) => variable.split('=')[0])).toEqual(['PATH', 'NODE_ENV', 'STEWARD_CONFIG']);
    expect(config).toMatchObject({ User: '991:991', StopSignal: 'SIGTERM', Labels: { 'org.opencontainers.image.licenses': 'Apache-2.0' } });
    expect(await docker.docker(['history', '--no-trunc', 'steward'])).not.toMatch(/https?:|npmrc|certificates|proxy|registry/i);
  });

  test('is small', async () => {
    const size = async (image: string) => Number(await docker.docker(['image', 'inspect', '--format', '{{.Size}}', image])) / MB;
    const [whole, below] = [await size('steward'), await size(base)];
    toStderr(`the image has ${whole.toFixed(0)} MB, ${(whole - below).toFixed(0)} of them on top of its base`);
    expect(whole - below).toBeLessThan(175);
  });
});

/** What lies in the volume's folder for secrets: mode, owner, name. */
const secretFiles = async (): Promise<string[]> =>
  (await shell('docker exec steward find /data/secrets -type f -printf "%m %u %f\\n"')).trim().split('\n').sort();
const keptSecrets = ['600 991 crypto-recovery.json', '600 991 gina_steward.test.txt'];

describe('the container', () => {
  test('`init` sets it up, once', async () => {
    await writeFile(join(dir, 'admin-token'), homeserver.alice.client.accessToken, { mode: 0o600 });
    await shell(text('Set it up'));
    expect(await shell(text('Set it up', 'sh', '--admin-token-file'))).toContain('✓ configuration /etc/steward/steward.yaml');
    const asked = text('Set it up', 'sh', '--tty').replace('docker run', 'exec docker run');
    await writeFile(join(dir, 'asked.sh'), asked);
    expect(await shell('script --quiet --return --command "sh asked.sh" /dev/null </dev/null')).toContain('Nothing was changed.');
    const { room, homeserver: at } = parse(await readFile(join(dir, 'etc/steward.yaml'), 'utf8')) as {
      room: { id: string };
      homeserver: { user_id: string };
    };
    alice = new Seat(await homeserver.secure('alice'), room.id, at.user_id);
    await alice.client.join(room.id);
  });

  test('answers in the room, is healthy, and takes commands in the shell', async () => {
    await shell(text('Run it'));
    await healthy();
    const answer = await alice.ask('!help');
    expect(resultOf(answer)).toMatchObject({ command: 'help', outcome: 'done' });
    expect(bodyOf(answer)).toContain('user');
    expect(await shell(text('Health and metrics'))).toBe('healthy\n');
    expect(await shell(text('Run it', 'sh', 'server status'))).toContain(homeserver.serverName);
    await shell(text('Run it', 'sh', 'config check'));
    await until(
      async () => (await shell('docker logs steward 2>&1')).includes('the configuration was read again'),
      5000,
      'the configuration is read again',
    );
  });

  test('may write nothing but its state, and has no power over the machine', async () => {
    const status = await shell('docker exec steward cat /proc/1/status');
    expect(status).toMatch(/^Uid:\s+991\s+991\s+991\s+991$/m);
    expect(status).toMatch(/^CapBnd:\s+0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    const folders = ['/', '/opt/steward', '/etc/steward', '/usr/local/bin', '/var/lib', '/data', '/tmp'];
    expect(
      await shell(
        `docker exec steward sh -c 'for d in ${folders.join(' ')}; do touch $d/.new 2>/dev/null && echo $d && rm $d/.new; done; true'`,
      ),
    ).toBe('/data\n/tmp\n');
  });

  test('keeps a password in its volume, for its user alone', async () => {
    expect(await steward('user create gina')).toContain('/var/lib/steward/secrets/');
    expect(await secretFiles()).toEqual(keptSecrets);
  });

  test('comes back after a kill', async () => {
    await shell('docker kill steward && docker start steward');
    await healthy();
  });

  test('ends in order', async () => {
    const begin = performance.now();
    await shell('docker stop steward');
    expect(performance.now() - begin).toBeLessThan(5000);
    expect(await inspect('{{.State.ExitCode}} {{.State.OOMKilled}}')).toBe('0 false');
    const log = await shell('docker logs steward 2>&1');
    for (const secret of [await readFile(join(dir, 'etc/secrets/access-token'), 'utf8'), homeserver.alice.client.accessToken])
      expect(log).not.toContain(secret.trim());
    await shell('docker start steward');
    await healthy();
  });

  test('gives way to one of a new image', async () => {
    await shell(text('Upgrade'));
    await healthy();
    expect(await steward('user info gina')).toContain('@gina:');
  });

  test('is made anew from a copy', async () => {
    await shell(text('Keep a copy'));
    await shell(`docker rm --force steward && docker volume rm steward-data && rm -rf ${dir}/etc`);
    await shell(text('Set it up'));
    await shell(text('Keep a copy', 'sh', '--extract'));
    await shell(text('Run it'));
    await healthy();
    expect(await secretFiles()).toEqual(keptSecrets);
    const { timeline } = await homeserver.secure('alice');
    expect(timeline.events.filter((event) => event.type === 'm.room.message' && bodyOf(event).includes('I am'))).toHaveLength(1);
  });

  test('lives on without its homeserver, and is asked for its health from outside where it is told', async () => {
    await shell('docker rm --force steward');
    const port = await freePort();
    // On a network of its own, where the loopback that Synapse is on cannot be reached.
    const apart = await openShell({
      dir: join(dir, 'apart'),
      socket: docker.socket,
      extra: { run: ['--health-interval', '1s'] },
      composeFiles: [],
    });
    await apart(text('Health and metrics', 'sh', '--publish').replace('127.0.0.1:9480:', `127.0.0.1:${port}:`));
    await until(async () => (await inspect('{{.State.Health.Status}}')) === 'healthy', 20_000, 'the container is healthy');
    const status = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    expect([await status('/livez'), await status('/readyz'), await status('/metrics')]).toEqual([200, 503, 200]);
    expect(await shell('docker exec steward steward config check')).toContain('valid');
  });

  test('runs by Compose as well', async () => {
    await shell('docker rm --force steward');
    expect(await shell(text('With Docker Compose'))).toContain(homeserver.serverName);
    expect(resultOf(await alice.ask('!server status'))).toMatchObject({ outcome: 'done' });
    await shell('docker compose down');
  });
});
