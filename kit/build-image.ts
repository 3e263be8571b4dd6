import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cached, type Progress, toStderr } from './cache.ts';
import type { Docker } from './docker.ts';
import { run } from './process.ts';

const NODE = '24.21.0';
const NPM = '11.19.1';

/**
 * Brings an image `steward-build` in: `base` with Node and npm in the places of the official images of Node, and with this machine's way to
 * the registry (address, proxies, certificates; no credentials). It is for stages that build: nothing else of it may be kept.
 * @returns its name
 */
export async function ensureBuildImage({ docker }: Pick<Docker, 'docker'>, base: string, progress: Progress = toStderr): Promise<string> {
  const [node, npm] = [await takeNode(progress), await takeNpm(progress)];
  const context = await mkdtemp(join(tmpdir(), 'steward-build-'));
  const at = (...path: string[]) => join(context, 'usr/local', ...path);
  try {
    for (const folder of ['bin', 'etc', 'lib/node_modules']) await mkdir(at(folder), { recursive: true });
    await cp(node, at('bin/node'));
    await cp(npm, at('lib/node_modules/npm'), { recursive: true });
    for (const name of ['npm', 'npx']) await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, at('bin', name));
    const settings = await npmSettings();
    await writeFile(at('etc/npmrc'), settings.npmrc);
    await writeFile(at('etc/certificates.pem'), settings.certificates);
    await writeFile(join(context, 'Dockerfile'), `FROM ${base}\nCOPY usr /usr\nENV NODE_EXTRA_CA_CERTS=/usr/local/etc/certificates.pem\n`);
    await docker(['build', '--tag', 'steward-build', context]);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
  return 'steward-build';
}

/** The program that scripts/run.mjs keeps, where it has taken it. */
async function takeNode(progress: Progress): Promise<string> {
  const home = await cached(`node-${NODE}-${process.arch}`, async (path) => {
    progress(`taking Node ${NODE} from the npm registry (once)`);
    await unpack(`node-linux-${process.arch}@${NODE}`, path, 'package/bin/node');
  });
  return join(home, 'bin/node');
}

async function takeNpm(progress: Progress): Promise<string> {
  return await cached(`npm-${NPM}`, async (path) => {
    progress(`taking npm ${NPM} (once)`);
    await unpack(`npm@${NPM}`, path);
  });
}

/** Unpacks a package of the registry, or some files of it, into a new folder. */
async function unpack(spec: string, folder: string, ...files: string[]): Promise<void> {
  await mkdir(folder);
  const [archive] = (await run(['npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', folder, spec]))
    .trim()
    .split('\n')
    .slice(-1);
  const path = join(folder, archive ?? '');
  await run(['tar', '-xzf', path, '-C', folder, '--strip-components=1', '--no-same-owner', ...files]);
  await rm(path);
}

/** How npm on this machine reaches its registry. */
async function npmSettings(): Promise<{ npmrc: string; certificates: string }> {
  const config = JSON.parse(await run(['npm', 'config', 'list', '--json'])) as Record<string, unknown>;
  const env = (name: string) => process.env[name] ?? process.env[name.toLowerCase()];
  const values = {
    registry: config['registry'],
    proxy: config['proxy'] ?? env('HTTP_PROXY'),
    'https-proxy': config['https-proxy'] ?? env('HTTPS_PROXY'),
    noproxy: (Array.isArray(config['noproxy']) ? config['noproxy'].join() : '') || env('NO_PROXY'),
  };
  const lines = Object.entries(values).flatMap(([name, value]) =>
    typeof value === 'string' && value !== '' ? [`${name}=${value}\n`] : [],
  );
  const files = new Set([config['cafile'], process.env['NODE_EXTRA_CA_CERTS']].filter((path) => typeof path === 'string'));
  const certificates = await Promise.all([...files].map((path) => readFile(path, 'utf8')));
  return { npmrc: lines.join(''), certificates: certificates.join('\n') };
}
