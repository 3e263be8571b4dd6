import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cached, type Progress, toStderr } from './cache.ts';
import { ensureDebian, hasProgram, MissingPart } from './debian.ts';
import { run, startChild, waitUntilReady } from './process.ts';

export interface Docker {
  /** Path of the daemon's unix socket. */
  readonly socket: string;
  /** Runs `docker` with these arguments and returns its standard output. Errors: another exit code than 0, with what it said. */
  docker(args: string[], input?: string): Promise<string>;
  /** Ends the daemon with its containers, and deletes its images. */
  stop(): Promise<void>;
}

const SUITE = 'bookworm';

/** Debian's Docker and what makes base images without a registry, installed when missing. Errors: MissingPart. */
export async function ensureDocker(progress: Progress = toStderr): Promise<void> {
  const there = () => hasProgram('dockerd') && hasProgram('debootstrap');
  if (!there()) {
    await ensureDebian(['docker.io', 'debootstrap'], there, progress);
    // the package's own daemon would write over our firewall rules, and we over its
    if (existsSync('/run/systemd/system')) await run(['systemctl', 'disable', '--now', 'docker.socket', 'docker.service']);
  }
  if (process.getuid?.() !== 0) throw new MissingPart('sudo npm test (a Docker daemon of its own needs root)');
  if (await answers('/var/run/docker.sock'))
    throw new MissingPart("sudo systemctl stop docker.socket docker.service (two daemons would write over each other's firewall rules)");
}

/** Debian's `docker-compose`, installed when missing. Errors: MissingPart. */
export async function ensureCompose(progress: Progress = toStderr): Promise<void> {
  await ensureDebian(['docker-compose'], () => hasProgram('docker-compose'), progress);
}

/** A Docker daemon of its own: data, sockets and processes in a temporary folder, no registry, no BuildKit. */
export async function startDocker(): Promise<Docker> {
  await ensureDocker();
  const dir = await mkdtemp(join(tmpdir(), 'steward-docker-'));
  const at = {
    data: join(dir, 'data'),
    exec: join(dir, 'exec'),
    pid: join(dir, 'pid'),
    socket: join(dir, 'docker.sock'),
    log: join(dir, 'dockerd.log'),
  };
  const flags = [`--data-root=${at.data}`, `--exec-root=${at.exec}`, `--pidfile=${at.pid}`, `--host=unix://${at.socket}`];
  const client = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker'; // the daemon's own version, where several are installed
  const docker = (args: string[], input?: string) =>
    run([client, `--host=unix://${at.socket}`, ...args], {
      env: { DOCKER_BUILDKIT: '0', DOCKER_CONFIG: join(dir, 'config') },
      ...(input !== undefined && { input }),
    });
  const daemon = await startChild({ command: ['dockerd', ...flags], logPath: at.log, orphanSignal: 'SIGTERM' });
  await waitUntilReady('dockerd', daemon, at.log, async () => (await docker(['version'])) !== '');
  return {
    socket: at.socket,
    docker,
    async stop() {
      await daemon.stop(30_000);
      await unmountBelow(dir);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** What a daemon that had to be killed leaves mounted. */
async function unmountBelow(dir: string): Promise<void> {
  const places = (await readFile('/proc/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
  for (const place of places.filter((path) => path.startsWith(`${dir}/`)).reverse()) await run(['umount', '--lazy', place]);
}

/** Brings an image `steward-base:bookworm` in, made by debootstrap once and kept in the cache. Returns its name. */
export async function ensureBaseImage({ docker }: Pick<Docker, 'docker'>, progress: Progress = toStderr): Promise<string> {
  const name = `steward-base:${SUITE}`;
  const archive = await cached(`base-${SUITE}-${process.arch}.tar`, async (path) => {
    progress(`making a Debian ${SUITE} base image (once, about 30 s)`);
    const root = await mkdtemp(join(tmpdir(), 'steward-base-'));
    try {
      await run(['debootstrap', '--variant=minbase', SUITE, root]);
      await run(['tar', '-C', root, '--numeric-owner', '-cf', path, '.']);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
  await docker(['import', '--change', 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', archive, name]);
  return name;
}

async function answers(socket: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const connection = connect(socket);
    connection.once('error', () => resolve(false));
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
  });
}
