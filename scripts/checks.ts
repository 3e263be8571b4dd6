import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const tool = (name: string) => join(root, 'node_modules', '.bin', name);

interface Check {
  name: string;
  command: [string, ...string[]];
  /** A file this check is made from; without it the check is not there yet. */
  needs?: string;
}

/** All that `npm run check` looks at. */
const CHECKS: Check[] = [
  { name: 'types', command: [tool('tsc'), '--noEmit'] },
  { name: 'lint', command: [tool('eslint'), '--max-warnings=0', '.'], needs: 'eslint.config.js' },
  { name: 'format', command: [tool('prettier'), '--check', '--log-level=warn', '.'], needs: '.prettierrc.json' },
  {
    name: 'import directions',
    command: [tool('depcruise'), '--config', '.dependency-cruiser.cjs', 'src'],
    needs: '.dependency-cruiser.cjs',
  },
  { name: 'unused code', command: [tool('knip'), '--no-progress'], needs: 'knip.json' },
  { name: 'generated files', command: [process.execPath, 'scripts/generate.ts', '--check'], needs: 'scripts/generate.ts' },
  { name: 'lock file', command: [process.execPath, 'scripts/lock.ts'] },
];

export interface CheckResult {
  name: string;
  ok: boolean;
  seconds: number;
  /** What the tool said, on both streams. */
  output: string;
}

/** Runs every check, two at a time; `onResult` is told of each as it ends. */
export async function runChecks(onResult: (result: CheckResult) => void): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  const left = CHECKS.filter(({ needs }) => needs === undefined || existsSync(join(root, needs)));
  const worker = async () => {
    for (let check = left.shift(); check; check = left.shift()) {
      const result = await runCheck(check);
      results.push(result);
      onResult(result);
    }
  };
  await Promise.all([worker(), worker()]);
  return results;
}

/** One line, and what the tool said where it failed. */
export function describe({ name, ok, seconds, output }: CheckResult): string {
  const line = `${ok ? 'ok  ' : 'FAIL'} ${name} (${seconds.toFixed(1)} s)`;
  return ok ? line : `${line}\n${output.trimEnd().replace(/^/gm, '     ')}`;
}

async function runCheck({ name, command: [program, ...args] }: Check): Promise<CheckResult> {
  const begin = performance.now();
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ok = await new Promise<boolean>((resolve) => {
    child.once('close', (code) => resolve(code === 0));
    child.once('error', (error) => {
      output += String(error);
      resolve(false);
    });
  });
  return { name, ok, seconds: (performance.now() - begin) / 1000, output };
}
