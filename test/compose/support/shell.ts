import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../kit/process.ts';

export interface ShellOptions {
  /** Where it runs, and where what it stands on is kept. */
  dir: string;
  /** The daemon that `docker` and `docker compose` talk to. */
  socket: string;
  /** Words that a command of `docker` gets besides those that are typed, by its name: `{ run: ['--network', 'host'] }`. */
  extra: Record<string, string[]>;
  /** The files of `docker compose`. */
  composeFiles: string[];
}

/** Runs lines of a shell as a reader of the documents types them, with `sudo` and `docker` of our own. Errors: what it said. */
export type Shell = (text: string) => Promise<string>;

export async function openShell({ dir, socket, extra, composeFiles }: ShellOptions): Promise<Shell> {
  const bin = join(dir, 'bin');
  await mkdir(bin, { recursive: true });
  const cases = Object.entries(extra).map(([name, words]) => `  ${name}) shift; set -- ${name} ${words.map(quoted).join(' ')} "$@" ;;\n`);
  await program(
    join(bin, 'docker'),
    `case $1 in\n  compose) shift; exec docker-compose "$@" ;;\n${cases.join('')}esac\nexec /usr/bin/docker "$@"`,
  );
  await program(join(bin, 'sudo'), 'exec "$@"');
  const env = {
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: join(dir, 'docker'),
    DOCKER_BUILDKIT: '0',
    COMPOSE_FILE: composeFiles.join(':'),
    COMPOSE_PROJECT_NAME: 'steward-test',
  };
  return (text) => run(['sh', '-ec', text], { cwd: dir, env });
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

async function program(path: string, body: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
}
