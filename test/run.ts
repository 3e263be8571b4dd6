// npm test [-- TIER…] [arguments for jest]: all tiers but `long`, and `npm run check` with them, when none is named.
// The last line is `N passed, N failed, N skipped`.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { globSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MissingPart } from '../kit/debian.ts';
import { describe, runChecks } from '../scripts/checks.ts';
import { type Tier, TIERS } from './tiers.ts';

const root = join(import.meta.dirname, '..');
const missingIsFailure = process.env['CI'] === 'true';

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** What jest writes with `--json`, as far as it is read here. */
interface JestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numRuntimeErrorTestSuites: number;
}

const say = (line: string) => console.log(line);

function testFiles({ folder }: Tier): string[] {
  const others = TIERS.flatMap((tier) => (tier.folder === null ? [] : [`${tier.folder}/**`]));
  const cwd = join(root, 'test');
  return folder === null ? globSync('**/*.test.ts', { cwd, exclude: others }) : globSync(`${folder}/**/*.test.ts`, { cwd });
}

async function runTier(tier: Tier, jestArguments: string[]): Promise<Count> {
  const files = testFiles(tier).length;
  if (files === 0) return { passed: 0, failed: 0, skipped: 0 };
  try {
    for (const ensure of tier.ensure) await ensure();
  } catch (error) {
    const skip = error instanceof MissingPart && !missingIsFailure;
    const reason = error instanceof MissingPart ? `a part is missing; to have it: ${error.message}` : (error as Error).message;
    say(`\n${skip ? 'skipped' : 'FAIL'} ${tier.name} (${files} files): ${reason}`);
    return { passed: 0, failed: skip ? 0 : files, skipped: skip ? files : 0 };
  }
  say(`\n— ${tier.name} —`);
  return await runJest(tier, jestArguments);
}

async function runJest({ folder, workers }: Tier, jestArguments: string[]): Promise<Count> {
  const work = await mkdtemp(join(tmpdir(), 'steward-test-'));
  const report = join(work, 'report.json');
  const where =
    folder === null
      ? TIERS.flatMap((tier) => (tier.folder === null ? [] : [`--testPathIgnorePatterns=<rootDir>/test/${tier.folder}/`]))
      : [`--roots=<rootDir>/test/${folder}`];
  const jest = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
  const flags = ['--disable-warning=ExperimentalWarning', '--experimental-vm-modules'];
  try {
    const child = spawn(
      process.execPath,
      [...flags, jest, ...where, `--maxWorkers=${workers}`, '--passWithNoTests', '--json', `--outputFile=${report}`, ...jestArguments],
      {
        cwd: root,
        stdio: 'inherit',
      },
    );
    const code = await new Promise<number | null>((resolve, reject) => child.once('close', resolve).once('error', reject));
    return counted(await readFile(report, 'utf8').catch(() => null), code);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A file that could not be loaded counts as one failure, as does a jest that ended badly without a report of it. */
function counted(json: string | null, code: number | null): Count {
  if (json === null) return { passed: 0, failed: 1, skipped: 0 };
  const report = JSON.parse(json) as JestReport;
  const failed = report.numFailedTests + report.numRuntimeErrorTestSuites;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

async function check(): Promise<Count> {
  say('— check —');
  const results = await runChecks((result) => say(describe(result)));
  const passed = results.filter(({ ok }) => ok).length;
  return { passed, failed: results.length - passed, skipped: 0 };
}

const names = TIERS.map(({ name }) => name);
const words = process.argv.slice(2);
const asked: string[] = [];
while (names.includes(words[0] ?? '')) asked.push(words.shift() as string);

const counts: Count[] = [];
if (asked.length === 0 && words.length === 0) counts.push(await check());
for (const tier of TIERS) {
  if (asked.length > 0 ? asked.includes(tier.name) : tier.byDefault) counts.push(await runTier(tier, words));
}

const total = (kind: keyof Count) => counts.reduce((sum, count) => sum + count[kind], 0);
process.exitCode = total('failed') > 0 || total('passed') === 0 ? 1 : 0;
say(`\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
