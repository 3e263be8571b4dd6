import { parseArgs } from 'node:util';
import type { Secret } from '../config/secret.ts';
import { nearestOf } from '../config/mistake.ts';
import { Failure } from '../failures/failure.ts';
import type { Authority } from '../homeserver/bootstrap.ts';
import { readSecret } from './files.ts';

/** What `steward init` is told; what is undefined is asked on a terminal. Secrets come from files only. */
export interface InitOptions {
  /** Where steward.yaml and secrets/ go. */
  dir: string | undefined;
  url: string | undefined;
  adminUrl: string | undefined;
  authority: Authority | undefined;
  /** Accounts by person; the first person is the owner. */
  people: ReadonlyMap<string, readonly string[]>;
  mode: 'two-person' | 'single' | undefined;
  webhook: Secret | undefined;
  /** `new`, or the id of a room. */
  room: string;
  botLocalpart: string;
  /** A new room is made without encryption. */
  plain: boolean;
  /** Runs without a question. */
  yes: boolean;
}

const flags = {
  homeserver: { type: 'string' },
  'admin-url': { type: 'string' },
  'admin-token-file': { type: 'string' },
  'registration-secret-file': { type: 'string' },
  dir: { type: 'string' },
  person: { type: 'string', multiple: true, default: [] as string[] },
  mode: { type: 'string' },
  'alert-webhook-file': { type: 'string' },
  room: { type: 'string', default: 'new' },
  'bot-localpart': { type: 'string', default: 'steward' },
  plain: { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

export const initUsage = `usage: steward init [options]

Connects Steward to a homeserver: makes its account and the admin room, and writes steward.yaml with its secret files.
Asks for what is missing. Running it again changes nothing; a run that broke off is continued.

  --homeserver URL                  Client-Server API, such as http://127.0.0.1:8008
  --admin-url URL                   Admin API, where a proxy hides it from --homeserver
  --admin-token-file FILE           access token of a server admin, or
  --registration-secret-file FILE   registration_shared_secret of the homeserver
  --dir DIR                         folder for steward.yaml and secrets/
  --person NAME=@USER:SERVER        who may command; repeat it; the first is the owner
  --mode two-person|single          whether a second person approves what destroys
  --alert-webhook-file FILE         address of a web hook off the homeserver
  --room new|ID                     a new admin room, or one that exists
  --plain                           a new room without encryption
  --bot-localpart NAME              name of the bot's account (steward)
  --yes                             do not ask
`;

/** The options in `argv`, or null when help is asked for. Throws failures of the family `usage`; never repeats a value. */
export async function parseInitOptions(argv: readonly string[]): Promise<InitOptions | null> {
  const values = parseFlags(argv);
  if (values.help) return null;
  const { mode } = values;
  if (mode !== undefined && mode !== 'two-person' && mode !== 'single') throw invalid('--mode', 'two-person or single');
  if (values.room !== 'new' && !/^!\S+$/.test(values.room)) throw invalid('--room', 'new, or a room id such as !abc:example.org');
  if (!/^[a-z0-9._=/+-]+$/.test(values['bot-localpart'])) throw invalid('--bot-localpart', 'a localpart such as steward');
  return {
    dir: values.dir,
    url: checkUrl('--homeserver', values.homeserver),
    adminUrl: checkUrl('--admin-url', values['admin-url']),
    authority: await readAuthority(values),
    people: parsePeople(values.person),
    mode,
    webhook:
      values['alert-webhook-file'] === undefined ? undefined : await readFlagFile('--alert-webhook-file', values['alert-webhook-file']),
    room: values.room,
    botLocalpart: values['bot-localpart'],
    plain: values.plain,
    yes: values.yes,
  };
}

/** `alice=@alice:example.org`, several times for one name where a person has several accounts. */
export function parsePeople(texts: readonly string[]): Map<string, string[]> {
  const people = new Map<string, string[]>();
  for (const text of texts) {
    const [, name, userId] = /^([^=\s]+)=(@[^:\s]+:\S+)$/.exec(text) ?? [];
    if (name === undefined || userId === undefined) throw invalid('--person', 'NAME=@USER:SERVER, such as alice=@alice:example.org');
    const other = [...people].find(([, userIds]) => userIds.includes(userId));
    if (other !== undefined) throw new Failure('usage.invalid-value', { reason: `--person: ${userId} is given twice` });
    people.set(name, [...(people.get(name) ?? []), userId]);
  }
  return people;
}

/** Whether a text is the address of a homeserver. */
export function isHttpUrl(text: string): boolean {
  return /^https?:\/\/[^@\s]+$/.test(text) && URL.canParse(text);
}

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: flags, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const option = /'(?:-\w, )?(--?[a-z][a-z-]*)/.exec(message)?.[1];
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && option !== undefined) {
      const nearest = nearestOf(
        option,
        Object.keys(flags).map((flag) => `--${flag}`),
      );
      throw new Failure('usage.unknown-option', {
        reason: `there is no option ${option}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
        hint: '`steward init --help` lists the options.',
      });
    }
    if (code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE' && option !== undefined)
      throw new Failure('usage.missing-value', { reason: `${option} needs a value`, hint: '`steward init --help` lists the options.' });
    throw new Failure('usage.extra-argument', { hint: '`steward init` takes options only; `steward init --help` lists them.' });
  }
}

async function readAuthority(values: ReturnType<typeof parseFlags>): Promise<Authority | undefined> {
  const token = values['admin-token-file'];
  const secret = values['registration-secret-file'];
  if (token !== undefined && secret !== undefined)
    throw new Failure('usage.repeated-option', { reason: 'both --admin-token-file and --registration-secret-file are given' });
  if (token !== undefined) return { kind: 'admin-token', secret: await readFlagFile('--admin-token-file', token) };
  if (secret !== undefined) return { kind: 'registration-secret', secret: await readFlagFile('--registration-secret-file', secret) };
  return undefined;
}

async function readFlagFile(flag: string, path: string): Promise<Secret> {
  const secret = await readSecret(path);
  if (secret === null)
    throw new Failure('usage.input-unreadable', {
      reason: `${flag}: no such file, or an empty one`,
      hint: 'Give the path of a file, not the secret itself.',
    });
  return secret;
}

function checkUrl(flag: string, url: string | undefined): string | undefined {
  if (url !== undefined && !isHttpUrl(url)) throw invalid(flag, 'an address such as http://127.0.0.1:8008');
  return url?.replace(/\/+$/, '');
}

function invalid(flag: string, expected: string): Failure {
  return new Failure('usage.invalid-value', { reason: `${flag}: expected ${expected}`, hint: '`steward init --help` lists the options.' });
}
