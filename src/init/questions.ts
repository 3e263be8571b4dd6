import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { isHttpUrl, parsePeople, type InitOptions } from './options.ts';

/** Asks for the homeserver's address. */
export async function askUrl(): Promise<string> {
  const { input } = await import('@inquirer/prompts');
  const isValid = (text: string): true | string => isHttpUrl(text) || 'an address such as http://127.0.0.1:8008';
  const url = await unlessBroken(
    input({ message: 'Address of the homeserver (Client-Server API)', default: 'http://127.0.0.1:8008', validate: isValid }),
  );
  return url.replace(/\/+$/, '');
}

/** Asks for what the options leave open. Throws `access.not-confirmed` when the questions are broken off. */
export async function askForRest(options: InitOptions, needsAuthority: boolean): Promise<InitOptions> {
  const { input, password, select } = await import('@inquirer/prompts');
  return unlessBroken(ask());

  async function ask(): Promise<InitOptions> {
    const authority = options.authority ?? (needsAuthority ? await askAuthority() : undefined);
    const people = options.people.size > 0 ? options.people : await askPeople();
    const mode = options.mode ?? (await askMode(people.size));
    const webhook = options.webhook ?? (await askWebhook());
    return { ...options, authority, people, mode, webhook };
  }

  async function askMode(count: number): Promise<'two-person' | 'single'> {
    return select({
      message: 'Who approves what destroys?',
      choices: [
        { name: 'a second person', value: 'two-person' as const },
        { name: 'nobody else: there is one admin, who types the target', value: 'single' as const },
      ],
      default: count > 1 ? ('two-person' as const) : ('single' as const),
    });
  }

  async function askAuthority(): Promise<NonNullable<InitOptions['authority']>> {
    const kind = await select({
      message: 'What may make the account of Steward?',
      choices: [
        { name: 'the access token of a server admin', value: 'admin-token' as const },
        { name: 'registration_shared_secret of homeserver.yaml', value: 'registration-secret' as const },
      ],
    });
    return {
      kind,
      secret: new Secret(
        await password({
          message: kind === 'admin-token' ? 'Access token' : 'Registration shared secret',
          mask: true,
          validate: (text) => text !== '' || 'it is needed',
        }),
      ),
    };
  }

  async function askPeople(): Promise<Map<string, string[]>> {
    const texts: string[] = [];
    const isValid = (text: string): true | string => {
      try {
        parsePeople([...texts, text]);
        return true;
      } catch (error) {
        return error instanceof Failure ? error.reason.replace(/^--person: /, '') : 'not valid';
      }
    };
    for (;;) {
      const message = texts.length === 0 ? 'Owner, as NAME=@USER:SERVER' : 'Another person (nothing: no more)';
      const text = await input({ message, validate: (given) => (given === '' && texts.length > 0) || isValid(given) });
      if (text === '') return parsePeople(texts);
      texts.push(text);
    }
  }

  async function askWebhook(): Promise<Secret | undefined> {
    const text = await password({
      message: 'Address of a web hook for alerts, off the homeserver (nothing: none)',
      mask: true,
      validate: (given) => given === '' || isHttpUrl(given) || 'an address',
    });
    return text === '' ? undefined : new Secret(text);
  }
}

/** Yes or no. */
export async function confirmed(message: string): Promise<boolean> {
  const { confirm } = await import('@inquirer/prompts');
  return unlessBroken(confirm({ message, default: true }));
}

/** Ctrl-C at a question is a decision, not a bug. */
async function unlessBroken<T>(question: Promise<T>): Promise<T> {
  try {
    return await question;
  } catch (error) {
    if (error instanceof Error && error.name === 'ExitPromptError')
      throw new Failure('access.not-confirmed', { reason: 'the questions were broken off; nothing was changed' });
    throw error;
  }
}
