#!/usr/bin/env node
import { keepCompiledCode } from './compile-cache.ts';
import { asFailure, Failure } from './failures/failure.ts';
import { openOutput, type Output } from './terminal/output.ts';
import type { ShellSession } from './terminal/session.ts';

/** The `steward` binary. What a command needs is loaded when it is known which one it is. */

keepCompiledCode(process.env);
const stdout = openOutput(process.stdout);
const stderr = openOutput(process.stderr);
const say =
  (output: Output) =>
  (text: string): void => {
    void output.write(text);
  };

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  switch (first) {
    case undefined:
      say(stderr)(await usage());
      return 2;
    case '--version':
      say(stdout)(`${(await import('./version.ts')).version}\n`);
      return 0;
    case '--help':
      say(stdout)(await usage());
      return 0;
    case 'run':
      return run(rest);
    case 'init': {
      const { initCommand } = await import('./init/init.ts');
      const { systemClock, systemIds } = await import('./clock.ts');
      const isTerminal = process.stdin.isTTY && process.stdout.isTTY;
      return initCommand(rest, { env: process.env, out: say(stdout), err: say(stderr), isTerminal, clock: systemClock, ids: systemIds });
    }
    case 'config':
      return (await import('./config/cli.ts')).configCommand(rest, { env: process.env, out: say(stdout), err: say(stderr) });
    case 'doctor':
      return command(['server', 'doctor', ...rest]);
    case 'crypto': {
      const { cryptoCommand } = await import('./init/crypto.ts');
      const { systemClock, systemIds } = await import('./clock.ts');
      return cryptoCommand(rest, { env: process.env, out: say(stdout), err: say(stderr), clock: systemClock, ids: systemIds });
    }
    case 'completion':
      return completion(rest);
    case 'audit':
      return (await auditFile(argv)) ?? command(argv);
    default:
      return command(argv);
  }
}

async function usage(): Promise<string> {
  const { usageText } = await import('./terminal/usage.ts');
  return usageText((await import('./commands/all.ts')).allCommands());
}

async function completion([shell, ...extra]: readonly string[]): Promise<number> {
  const { completionFor, isShell } = await import('./terminal/completion/completion.ts');
  if (!isShell(shell) || extra.length > 0)
    throw new Failure('usage.invalid-value', {
      attempted: 'print a completion',
      reason: 'one shell must be named',
      hint: '`steward completion bash|zsh|fish`.',
    });
  await stdout.write(completionFor(shell, (await import('./commands/all.ts')).allCommands()));
  return 0;
}

/** `steward audit verify FILE`, which needs neither configuration nor store; null when it is the command of the set. */
async function auditFile(argv: readonly string[]): Promise<number | null> {
  const { auditFileOf, verifyAuditFile } = await import('./terminal/audit-file.ts');
  const given = auditFileOf(argv);
  if (given === null) return null;
  await stdout.write(await verifyAuditFile(given));
  return 0;
}

/** The daemon, until a signal ends it. */
async function run(argv: readonly string[]): Promise<number> {
  const { takeOption } = await import('./terminal/words.ts');
  const { value, rest: more } = takeOption(argv, 'config');
  const takeOver = more.includes('--take-over');
  const rest = more.filter((word) => word !== '--take-over');
  if (rest.length > 0)
    throw new Failure('usage.extra-argument', {
      attempted: 'run the daemon',
      reason: `\`${rest[0] ?? ''}\` is not known here`,
      hint: '`steward run [--config FILE] [--take-over]`.',
    });
  // From the first moment: the first process of a container never gets a signal that it has not asked for.
  // A second signal ends the process at once.
  const asked = Promise.withResolvers<string>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      asked.resolve(signal);
    });
  }
  const config = await loadedConfig(value);
  if (config === null) return 2;
  const [{ startDaemon }, { keepSmall }, { systemClock }] = await Promise.all([
    import('./app.ts'),
    import('./memory.ts'),
    import('./clock.ts'),
  ]);
  const daemon = await startDaemon({ configPath: config.path, takeOver });
  const stopping = new AbortController();
  void asked.promise.then((signal) => {
    daemon.stop(signal);
  });
  void keepSmall(systemClock, stopping.signal);
  return daemon.stopped.finally(() => {
    stopping.abort();
  });
}

/** A command of the set: in the daemon, or here where none runs. */
async function command(argv: readonly string[]): Promise<number> {
  const [{ allCommands }, { readWords }, { readItems, readSecrets }, { terminalPrompts }, { runCommand }] = await Promise.all([
    import('./commands/all.ts'),
    import('./terminal/words.ts'),
    import('./terminal/inputs.ts'),
    import('./terminal/prompts.ts'),
    import('./terminal/shell.ts'),
  ]);
  const line = readWords(argv, allCommands());
  const config = await loadedConfig(line.configPath);
  if (config === null) return 2;
  const { stdin } = process;
  const prompts = terminalPrompts(stdin, process.stderr);
  const secrets = await readSecrets(line.secrets, stdin, prompts, (text) => {
    say(stderr)(`warning: ${text}\n`);
  });
  const items = line.inputPath === undefined ? null : await readItems(line.inputPath, stdin);
  const session = await openSession(config.path, config.config.dataDir);
  try {
    return await runCommand(
      session,
      { words: line.words, items, secrets, ...(line.breakGlass === undefined ? {} : { breakGlass: line.breakGlass }) },
      { stdin, stdout, stderr, prompts },
      { timeZone: config.config.timeZone, json: line.json },
    );
  } finally {
    await session.close();
  }
}

/** The configuration, or null when its mistakes have been told. */
async function loadedConfig(given: string | undefined) {
  const [{ loadConfig }, { describeMistakes, requireConfigPath }] = await Promise.all([
    import('./config/load.ts'),
    import('./config/cli.ts'),
  ]);
  const loaded = loadConfig(given ?? requireConfigPath(process.env), process.env);
  if (loaded.ok) return loaded;
  say(stderr)(describeMistakes(loaded));
  return null;
}

async function openSession(configPath: string, dataDir: string): Promise<ShellSession> {
  const { connect } = await import('./terminal/socket-client.ts');
  const socket = `${dataDir}/steward.sock`;
  const daemon = await connect(socket);
  if (daemon !== null) return daemon;
  const { openLocalSession } = await import('./app.ts');
  try {
    const session = await openLocalSession(configPath);
    // What runs is let finish, and the store is left in order.
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        void session.close().then(() => process.exit(signal === 'SIGINT' ? 130 : 143));
      });
    return session;
  } catch (error) {
    // A daemon that was starting holds the store, and listens by now.
    const started = error instanceof Failure && error.id === 'store.locked' ? await connect(socket) : null;
    if (started === null) throw error;
    return started;
  }
}

async function failed(error: unknown, argv: readonly string[]): Promise<number> {
  const failure = asFailure(error);
  const [{ showFailure }, { wantsJson }] = await Promise.all([import('./terminal/shell.ts'), import('./terminal/words.ts')]);
  if (failure.id === 'internal.bug') say(stderr)(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return showFailure(failure, { stdout, stderr }, { timeZone: 'UTC', json: wantsJson(argv) });
}

const argv = process.argv.slice(2);
const exit = await main(argv).catch((error: unknown) => failed(error, argv));
await Promise.all([stdout.write(''), stderr.write('')]);
process.exit(exit);
