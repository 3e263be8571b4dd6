// Runs a TypeScript file of this repository: node scripts/run.mjs ENTRY.ts [arguments]
// Takes what is missing first: Node >= 24 into the cache folder, then the packages of package-lock.json. Itself runs on Node 20.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants, homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = 24;
const NODE = {
  version: '24.21.0',
  integrity: {
    x64: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    arm64: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
  },
};

const script = fileURLToPath(import.meta.url);
const root = dirname(dirname(script));
const modules = join(root, 'node_modules');
const stamp = join(modules, '.steward-lock');

const say = (text) => process.stderr.write(`steward: ${text}\n`);
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(0)} s`;

/** The path of a Node that is new enough: the current one, or the one kept in the cache folder, taken when missing. */
function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= OLDEST_NODE) return process.execPath;
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'steward');
  const home = join(cache, `node-${NODE.version}-${process.arch}`);
  const node = join(home, 'bin', 'node');
  if (!existsSync(node)) takeNode(cache, node);
  return node;
}

/** Unpacks beside the goal and renames at the end: a kill midway or a second run leaves nothing half done. */
function takeNode(cache, node) {
  const integrity = NODE.integrity[process.arch];
  if (process.platform !== 'linux' || !integrity) {
    throw new Error(
      `Node ${process.versions.node} is too old, and there is no Node ${NODE.version} to take for ${process.platform}-${process.arch}; install Node ${OLDEST_NODE} or later`,
    );
  }
  const begin = Date.now();
  say(`Node ${process.versions.node} is older than ${OLDEST_NODE}: taking Node ${NODE.version} into ${dirname(dirname(node))}`);
  mkdirSync(dirname(node), { recursive: true });
  for (const name of readdirSync(cache)) {
    const left = join(cache, name); // by a run that was killed
    if (name.startsWith('node-new-') && statSync(left).mtimeMs < begin - 3_600_000) rmSync(left, { recursive: true, force: true });
  }
  const work = mkdtempSync(join(cache, 'node-new-'));
  try {
    execFileSync(
      'npm',
      ['pack', '--silent', '--ignore-scripts', '--pack-destination', work, `node-linux-${process.arch}@${NODE.version}`],
      { cwd: work, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const archive = join(work, readdirSync(work).find((name) => name.endsWith('.tgz')) ?? '');
    const sum = createHash('sha512').update(readFileSync(archive)).digest('base64');
    if (`sha512-${sum}` !== integrity)
      throw new Error(`the package of Node ${NODE.version} is not the one that is pinned here (sha512-${sum})`);
    execFileSync('tar', ['-xzf', archive, '-C', work, '--no-same-owner', 'package/bin/node']);
    renameSync(join(work, 'package', 'bin', 'node'), node);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  say(`Node ${NODE.version} is there (${seconds(begin)})`);
}

const lockHash = () =>
  createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');

function packagesAreThere() {
  try {
    return readFileSync(stamp, 'utf8') === lockHash();
  } catch {
    return false;
  }
}

/** Runs under a lock on the repository's folder; the stamp goes first and comes last, so that a kill midway is seen. */
function takePackages() {
  if (packagesAreThere()) return;
  const begin = Date.now();
  const wanted = lockHash();
  say('installing the packages of package-lock.json');
  rmSync(stamp, { force: true });
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(stamp, wanted);
  say(`packages are there (${seconds(begin)})`);
}

function takePackagesOnce() {
  const { error, status } = spawnSync('flock', [root, process.execPath, script, '--packages'], { stdio: 'inherit' });
  if (error)
    takePackages(); // a machine without flock
  else if (status !== 0) process.exit(status ?? 1);
}

function run(node, args) {
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  const command = [node, '--disable-warning=ExperimentalWarning', ...args];
  // where there is setpriv, a SIGKILL of this process ends the other one too
  const [program, ...words] = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig=TERM', '--', ...command] : command;
  const child = spawn(program, words, { stdio: 'inherit', env });
  // A terminal gives Ctrl-C to the whole group: passing it on would make it two.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(error));
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
}

function fail(error) {
  say(`error: ${error.message}`);
  process.exit(1);
}

try {
  const args = process.argv.slice(2);
  if (args[0] === '--packages') takePackages();
  else if (!args[0]) {
    say('error: which file? node scripts/run.mjs ENTRY.ts [arguments]');
    process.exit(2);
  } else {
    const node = findNode();
    if (!packagesAreThere()) takePackagesOnce();
    run(node, args);
  }
} catch (error) {
  fail(error);
}
