import { spawn } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

const main = resolve(import.meta.dirname, '../src/main.ts');

/** Writes the program `steward` for this configuration into `dir`, so that the shell finds it by its name. @returns its path */
export async function writeProgram(dir: string, configPath: string): Promise<string> {
  const path = join(dir, 'steward');
  const quoted = [process.execPath, '--disable-warning=ExperimentalWarning', main].map(
    (word) => `'${word.replaceAll("'", String.raw`'\''`)}'`,
  );
  await mkdir(dir, { recursive: true });
  await writeFile(
    path,
    `#!/bin/sh\nexport STEWARD_CONFIG='${configPath.replaceAll("'", String.raw`'\''`)}'\nexec ${quoted.join(' ')} "$@"\n`,
  );
  await chmod(path, 0o755);
  return path;
}

/** Runs a line of the system's shell to its end; it does not outlive this process. `output` is standard output, then standard error. */
export async function runLine(
  line: string,
  { input, cwd, env }: { input: string; cwd: string; env: Readonly<Record<string, string>> },
): Promise<{ exit: number; output: string }> {
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', 'sh', '-c', line], { cwd, env: { ...process.env, ...env }, stdio: 'pipe' });
  let out = '';
  let talk = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (talk += text));
  // A command that does not read its input says by its exit code whether it lacked it.
  child.stdin.on('error', () => undefined).end(input);
  const exit = await new Promise<number>((done, fail) =>
    child.once('error', fail).once('close', (code) => {
      done(code ?? 1);
    }),
  );
  return { exit, output: out + talk };
}
