import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Clock, Ids } from '../clock.ts';
import { describeMistakes, formatWarnings } from '../config/cli.ts';
import { loadConfig } from '../config/load.ts';
import { Failure } from '../failures/failure.ts';
import { Bootstrap } from '../homeserver/bootstrap.ts';
import { botDevice, connectBot, enterRoom, refuseDelegated, requireMembers, type Bot } from './connect.ts';
import { readSecret, writeSetupFile } from './files.ts';
import { refuseUnignored } from './git.ts';
import { initUsage, parseInitOptions, type InitOptions } from './options.ts';
import { askForRest, askUrl, confirmed } from './questions.ts';
import { inspectRoom, inviteMembers } from './room.ts';
import { lacksTokenOnly, readExisting, renderSettings, type ExistingConfig } from './settings.ts';

export interface InitIo {
  env: NodeJS.ProcessEnv;
  out(text: string): void;
  err(text: string): void;
  /** Whether questions can be asked. */
  isTerminal: boolean;
  clock: Clock;
  ids: Ids;
}

/** `steward init`: `argv` begins after the word init. Returns the exit code; throws Failures, which hold no secret. */
export async function initCommand(argv: readonly string[], io: InitIo): Promise<number> {
  const options = await parseInitOptions(argv);
  if (options !== null) return init(options, io);
  io.out(initUsage);
  return 0;
}

/** Connects Steward to a homeserver. What is there is kept, each effect is read back, and a run that broke off is continued. */
export async function init(given: InitOptions, io: InitIo): Promise<number> {
  const dir = resolve(given.dir ?? defaultFolder(io.env));
  const path = join(dir, 'steward.yaml');
  const existing = await readExisting(path, io.env);
  if (existing !== null && !existing.loaded.ok && !lacksTokenOnly(existing)) {
    io.err(describeMistakes(existing.loaded));
    return 2;
  }
  const known = withKnown(given, existing);
  const tokenFile = existing?.known.homeserver.access_token_file ?? 'secrets/access-token';
  const tokenPath = resolve(dir, tokenFile);
  const dataDir = existing?.known.data_dir ?? (dir.startsWith('/etc/') ? '/var/lib/steward' : 'data');
  const url = known.url ?? (canAsk(known, io) ? await askUrl() : missing(['--homeserver']));
  const bootstrap = new Bootstrap({ url, adminUrl: known.adminUrl ?? url, clock: io.clock, ids: io.ids });

  const live = await liveBot(bootstrap, tokenPath, known.botLocalpart);
  const roomId = existing?.known.room?.id;
  if (live !== null && existing?.loaded.ok && roomId !== undefined) {
    io.out(`${path} is complete: ${live.identity.userId} on ${url}, room ${roomId}. Nothing was changed.\n`);
    return 0;
  }
  if (live === null) await refuseDelegated(bootstrap, known.botLocalpart, tokenPath);
  const { authority, people, mode, webhook, room } = await complete({ ...known, url }, live === null, io);
  await refuseUnignored([tokenPath, resolve(dir, dataDir, 'store')]);

  const done = (text: string): void => {
    io.out(`✓ ${text}\n`);
  };
  const deviceId = existing?.known.homeserver.device_id ?? botDevice;
  const bot =
    live ??
    (await connectBot(bootstrap, {
      authority: authority ?? missing(['--admin-token-file']),
      localpart: known.botLocalpart,
      deviceId,
      tokenPath,
    }));
  const { identity, token } = bot;
  await bootstrap.exists(identity.userId, token);
  done(`account ${identity.userId}, a server admin, on device ${identity.deviceId ?? '(none)'}`);
  await bootstrap.exempt(identity.userId, token);
  done('exempt from rate limits');

  const members = [...people.values()].flat();
  await requireMembers(bootstrap, bot, members);
  const seats = { bootstrap, bot: identity, token, members, encrypted: !known.plain };
  const entered = roomId ?? (await enterRoom(room, seats));
  done(`room ${entered}`);
  for (const remark of await inspectRoom(seats, entered)) io.err(`warning: the room: ${remark}\n`);
  const invited = await inviteMembers(seats, entered);
  if (invited.length > 0) done(`invited ${invited.join(', ')}`);

  const webhookFile = webhook === undefined ? undefined : 'secrets/webhook-url';
  if (webhook !== undefined) await writeSetupFile(join(dir, 'secrets/webhook-url'), `${webhook.reveal()}\n`);
  const text = renderSettings(
    { url, adminUrl: known.adminUrl, ...identity, tokenFile, webhookFile, dataDir, roomId: entered, people, mode },
    existing,
    path,
  );
  if (text !== existing?.text) await writeSetupFile(path, text);
  const loaded = loadConfig(path, io.env);
  if (!loaded.ok) {
    io.err(describeMistakes(loaded));
    return 2;
  }
  done(`configuration ${path}, secrets in ${dirname(tokenPath)}`);
  io.err(formatWarnings(loaded.warnings));
  io.out(`\nNext:\n  steward run --config ${path}\nThen accept the invitation in your Matrix client and type !help in the room.\n`);
  return 0;
}

/** What the file says stands above what is given. */
function withKnown(given: InitOptions, existing: ExistingConfig | null): InitOptions {
  if (existing === null) return given;
  const { homeserver, people } = existing.known;
  return {
    ...given,
    url: homeserver.url ?? given.url,
    adminUrl: homeserver.url === undefined ? given.adminUrl : homeserver.admin_url,
    botLocalpart: homeserver.user_id?.slice(1).split(':')[0] ?? given.botLocalpart,
    people: people === undefined ? given.people : new Map(Object.entries(people).map(([name, { user_ids: userIds }]) => [name, userIds])),
  };
}

/** The options with nothing left open: asked for on a terminal, otherwise the missing flags are named. */
async function complete(
  options: InitOptions,
  needsAuthority: boolean,
  io: InitIo,
): Promise<InitOptions & { mode: 'two-person' | 'single' }> {
  const asked = canAsk(options, io) ? await askForRest(options, needsAuthority) : options;
  const lacking = [
    ...(needsAuthority && asked.authority === undefined ? ['--admin-token-file or --registration-secret-file'] : []),
    ...(asked.people.size === 0 ? ['--person'] : []),
  ];
  if (lacking.length > 0) missing(lacking);
  if (!options.yes && !io.isTerminal) throw new Failure('usage.no-terminal');
  if (!options.yes && !(await confirmed(`Make the account and the admin room on ${asked.url ?? ''}?`)))
    throw new Failure('access.not-confirmed');
  return { ...asked, mode: asked.mode ?? (asked.people.size > 1 ? 'two-person' : 'single') };
}

function missing(flags: readonly string[]): never {
  throw new Failure('usage.missing-value', {
    reason: `missing: ${flags.join(', ')}`,
    hint: '`steward init --help` lists the options; on a terminal, without `--yes`, they are asked for.',
  });
}

function canAsk(options: InitOptions, io: InitIo): boolean {
  return io.isTerminal && !options.yes;
}

/** The bot whose token an earlier run stored, if the homeserver still knows it as a server admin's; else both are made anew. */
async function liveBot(bootstrap: Bootstrap, tokenPath: string, localpart: string): Promise<Bot | null> {
  const token = await readSecret(tokenPath);
  const identity = token === null ? null : await bootstrap.identify(token);
  if (token === null || identity === null) return null;
  if (identity.userId === `@${localpart}:${identity.serverName}`)
    return (await bootstrap.isAdmin({ userId: identity.userId, token })) ? { identity, token } : null;
  throw new Failure('init.account-taken', {
    reason: `the token in ${tokenPath} belongs to ${identity.userId}, not to @${localpart}:${identity.serverName}`,
    hint: 'Steward needs an account of its own: move that file away.',
  });
}

function defaultFolder(env: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/etc/steward';
  return join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'steward');
}
