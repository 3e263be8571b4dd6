import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text } from '../../reply/parts.ts';
import { fingerprint, recipientMistake } from '../../secrets/age.ts';
import type { CommandContext } from '../context.ts';
import { defineRead, defineWrite } from '../define.ts';

/** Name in `people:` of whoever asks. */
function personOf(ctx: CommandContext, attempted: string): string {
  if (ctx.requester.kind !== 'person') throw new Failure('me.nobody', { attempted });
  return ctx.requester.person;
}

export const meAgeShow = defineRead({
  name: 'me age show',
  summary: 'Show your age key: the recipient that files for you are encrypted to.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    person: z.string(),
    recipient: z.string().nullable(),
    fingerprint: z.string().nullable(),
    registeredAt: z.iso.datetime().nullable(),
  }),
  examples: ['me age', 'me age show'],

  read(ctx) {
    const person = personOf(ctx, 'show your age key');
    const known = ctx.recipients.of(person);
    return Promise.resolve({
      person,
      recipient: known?.recipient ?? null,
      fingerprint: known === null ? null : fingerprint(known.recipient),
      registeredAt: known === null ? null : new Date(known.registeredAt).toISOString(),
    });
  },

  reply: (result) =>
    result.recipient === null || result.registeredAt === null
      ? [
          text('You have no age key. ', { code: 'age-keygen -o key.txt' }, ' makes one and prints its public key: ', {
            command: 'me age age1…',
          }),
        ]
      : [
          text('Files for ', { strong: result.person }, ' are encrypted to:'),
          fields(
            ['recipient', [{ code: result.recipient }]],
            ['fingerprint', [{ code: result.fingerprint ?? '' }]],
            ['since', [{ time: Date.parse(result.registeredAt) }]],
          ),
        ],
});

interface Data {
  person: string;
  recipient: string | null;
}

export const meAge = defineWrite({
  name: 'me age',
  summary: 'Register your age key, to which files with secrets for you are encrypted.',
  details: [
    '`age-keygen -o key.txt` makes one; register the public key, which starts with age1, and keep key.txt. SSH keys are not taken. A new key takes the place of the old one; it is catastrophic, because whoever registers a key in your name reads your secrets.',
  ],
  tier: 'catastrophic',
  lock: 'none',
  bulk: false,
  bare: 'me age show',
  args: z.strictObject({
    recipient: z
      .array(z.string())
      .default([])
      .describe('The public key: age1…; without one, your key is shown.')
      .meta({ positional: 0, value: 'RECIPIENT' }),
    remove: z.boolean().default(false).describe('Remove your key.'),
  }),
  result: z.object({ person: z.string(), recipient: z.string().nullable(), fingerprint: z.string().nullable() }),
  examples: ['me age age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kudz2lsxq8t4gnh', 'me age --remove'],

  async plan(ctx, args) {
    const attempted = args.remove ? 'remove your age key' : 'register your age key';
    const person = personOf(ctx, attempted);
    const known = ctx.recipients.of(person)?.recipient ?? null;
    const recipient = args.remove ? null : args.recipient.join(' ');
    if (recipient === null && args.recipient.length > 0)
      throw new Failure('usage.extra-argument', { attempted, reason: '`--remove` takes no key' });
    if (recipient === null && known === null) throw new Failure('me.no-age-key', { attempted });
    const mistake = recipient === null ? null : await recipientMistake(recipient);
    if (mistake !== null)
      throw new Failure('usage.invalid-value', { attempted, reason: mistake, hint: '`age-keygen -y key.txt` prints it.' });
    const named = (key: string) => [{ code: key }, ` (${fingerprint(key)})`];
    return {
      targets: [{ id: person }],
      changes: [
        recipient === null ? [`encrypt nothing to ${person} any more`] : [`encrypt secrets for ${person} to `, ...named(recipient)],
        ...(known === null || known === recipient ? [] : [['no longer to ', ...named(known)]]),
      ],
      data: { person, recipient } satisfies Data,
    };
  },

  run(ctx, data: Data) {
    if (data.recipient === null) ctx.recipients.remove(data.person);
    else ctx.recipients.put(data.person, data.recipient, ctx.clock.now());
    return Promise.resolve({});
  },

  readBack(ctx, data) {
    const recipient = ctx.recipients.of(data.person)?.recipient ?? null;
    if (recipient !== data.recipient) return Promise.resolve(null);
    return Promise.resolve({ person: data.person, recipient, fingerprint: recipient === null ? null : fingerprint(recipient) });
  },

  reply: (result) =>
    result.recipient === null
      ? [text('Nothing is encrypted to ', { strong: result.person }, ' any more.')]
      : [
          text('Secrets for ', { strong: result.person }, ' are encrypted to:'),
          fields(['recipient', [{ code: result.recipient }]], ['fingerprint', [{ code: result.fingerprint ?? '' }]]),
        ],
});
