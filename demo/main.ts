import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { toStderr } from '../kit/cache.ts';
import { converse } from './console.ts';
import { whenOrphaned } from './orphan.ts';
import { runScript } from './run-script.ts';
import { parseScript } from './script/parse.ts';
import { writeTranscript } from './transcript.ts';
import { openWorld, type World } from './world.ts';

const usage = `usage: npm run demo [-- [--plain] [--postgres] [--keep DIR] [--script FILE] [--transcript OUT.json]]

Starts a throw-away homeserver with Steward in its admin room. What you type is said there as alice.

  --plain                 a room without encryption; otherwise everybody is at a client that encrypts
  --postgres              the homeserver's data in PostgreSQL, which is started too; otherwise in SQLite
  --keep DIR              keep the data in DIR, and use them again next time
  --script FILE           play a script instead; exit code 0 when all was as expected, else 1
  --transcript OUT.json   write every event of the room at the end

Lines of a script; what you type may be one too:
  alice: !user list                      she says it; more lines between <<END and END
  alice: edit … | reply … | file PATH …  about her last message; to Steward's last one; a file with its caption
  bob: react ✅ | unreact ✅              to Steward's last prompt, alert or report
  steward: /regex (?<code>\\S+)/ 30s      an answer that must come after the one before (15 s); its groups are $code later on
  never: /regex/                         what must not come from here to the end
  shell: user list                       the same in the shell, whose output is an answer; shell(3): expects exit code 3
  run: COMMAND                           any other command, with $DEMO_DIR, $DEMO_URL, $STEWARD_CONFIG, $ALICE_TOKEN, …
  wait 2s | stop steward | kill steward | start steward | # a comment
`;

const cleanup = new AsyncDisposableStack();
let ending: Promise<void> | null = null as Promise<void> | null;

/** Ends every process that was started here, then this one. */
async function end(exit: number): Promise<never> {
  ending ??= cleanup.disposeAsync();
  await ending.catch((error: unknown) => {
    toStderr(`error: ${(error as Error).message}`);
  });
  process.exit(exit);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A second one does not wait: what was started ends with this process.
    if (ending !== null) process.exit(1);
    void end(128 + constants.signals[signal]);
  });
}
whenOrphaned(() => void end(1));

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      plain: { type: 'boolean', default: false },
      postgres: { type: 'boolean', default: false },
      keep: { type: 'string' },
      script: { type: 'string' },
      transcript: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  // The folder in which npm was called; npm itself goes to that of package.json.
  const folder = process.env['INIT_CWD'] ?? process.cwd();
  // The demo's Steward is configured by its own file alone.
  for (const name of Object.keys(process.env)) if (name.startsWith('STEWARD_')) Reflect.deleteProperty(process.env, name);
  const script =
    values.script === undefined
      ? null
      : { path: values.script, statements: parseScript(await readFile(resolve(folder, values.script), 'utf8'), values.script) };
  const world = await openWorld({ keep: values.keep, plain: values.plain, postgres: values.postgres, folder, progress: toStderr, cleanup });
  try {
    if (script !== null) return (await runScript(world, script.statements, script.path)) ? 0 : 1;
    introduce(world);
    await converse(world, process.stdin);
    return 0;
  } finally {
    if (values.transcript !== undefined) await writeTranscript(world.room, resolve(folder, values.transcript));
  }
}

function introduce({ accounts, url, room, program }: World): void {
  const login = (name: string): string => `  ${name.padEnd(11)} password ${accounts[name]?.password ?? ''}`;
  process.stdout.write(`
  homeserver  ${url}
  room        ${room.roomId} ("Steward")
${login('alice')}
${login('bob')}
  shell       ${program} user list

What you type is said as alice; \`bob: !help\` speaks as bob, \`react ✅\` answers a prompt. Ctrl-C ends it all. Begin with !help

`);
}

try {
  await end(await main());
} catch (error) {
  // What is being ended breaks what was under way.
  if (ending === null) {
    const { message, code } = error as NodeJS.ErrnoException;
    const isUsage = code?.startsWith('ERR_PARSE_ARGS') === true;
    toStderr(`error: ${message}${isUsage ? `\n${usage}` : ''}`);
    await end(isUsage ? 2 : 1);
  }
}
