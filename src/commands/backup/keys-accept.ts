import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text, type Line, type Part } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { nameOf, recipientLine } from './recipients.ts';
import { sheetsPart, sheetsShape, type Sheet } from './sheets.ts';
import { identitySecret } from './unlocker.ts';

const attempted = 'change who can open backups';

export const backupKeysAccept = defineWrite({
  name: 'backup keys accept',
  summary: 'Seal backups to the recipients that the configuration names now, after a change of them.',
  details: [
    'The recipients of the first configuration need no approval. After a change backups go on to those of before until this is approved: whoever can write the configuration could otherwise have a copy of everything sealed to a key of theirs.',
    'A new epoch begins at once. The sealed keys of earlier months, and those beside the rescue sheet, are sealed to the new recipients where a key opens them: the mounted one, or the one that comes with the command. For the others `backup keys reseal` asks who has one. What lies in the folder of each backup stays as it is: it is part of what is signed.',
  ],
  tier: 'catastrophic',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({}),
  secrets: {
    identity: {
      ...identitySecret,
      description: 'Key of age that opens the keys of earlier months, so that they are sealed to the new recipients too.',
    },
  },
  result: z.object({
    added: z.array(z.string()),
    removed: z.array(z.string()),
    epoch: z.string(),
    resealed: z.array(z.string()).describe('Earlier epochs that the new recipients can open too.'),
    closed: z.array(z.string()).describe('Earlier epochs that only the recipients of then can open.'),
    sheets: sheetsShape,
  }),
  examples: ['backup keys accept'],

  async plan(ctx) {
    const { keys } = ctx.backups;
    const change = await keys.recipients.change();
    if (change === null) throw new Failure('backup.no-change', { attempted });
    if (change.recipients.length === 0) throw new Failure('backup.no-recipient', { attempted });
    const named = async (recipient: string): Promise<{ id: string; name: string }> => ({
      id: recipient,
      name: await nameOf(ctx, recipient),
    });
    const [added, removed] = await Promise.all([Promise.all(change.added.map(named)), Promise.all(change.removed.map(named))]);
    const isShown = change.recipients.some((recipient) => keys.recipients.confirmed().has(recipient));
    const earlier = keys.all().length;
    return {
      targets: [...added, ...removed],
      changes: [
        ...added.map(({ id, name }): Line => ['every backup from now on can be opened by ', ...recipientLine(id, name)]),
        ...removed.map(({ id, name }): Line => ['no backup from now on by ', ...recipientLine(id, name)]),
        ['a new epoch begins'],
        keys.mode === 'mounted'
          ? [`the keys of ${earlier} earlier epochs are sealed to them too, where the mounted key opens them`]
          : [
              `the keys of ${earlier} earlier epochs stay sealed to whom they are, where no key comes with the command, until one is given to `,
              { command: 'backup keys reseal' },
            ],
        ...(isShown
          ? []
          : [['nobody of them has shown to be able to open what is sealed to them: ', { command: 'backup keys' }] satisfies Line]),
      ],
      permanent: [['who is removed can open what was made until now, and keeps what they have of it']],
      data: { recipients: change.recipients, added: change.added, removed: change.removed, before: keys.all().map(({ name }) => name) },
    };
  },

  async run({ backups, secrets, stack }, { recipients }) {
    const { keys } = backups;
    keys.recipients.accept(recipients);
    await keys.current();
    const identity = secrets.get('identity') ?? keys.identity;
    if (identity !== null) await keys.reseal(identity);
    return { sheets: await backups.renewRescueSheets(stack) };
  },

  async readBack({ backups: { keys } }, { recipients, added, removed, before }, note) {
    if (String(await keys.recipients.accepted()) !== String(recipients)) return null;
    const { name: epoch } = await keys.current();
    const earlier = keys.all().filter(({ name }) => before.includes(name) && name !== epoch);
    const isResealed = (epochRecipients: readonly string[]): boolean => String(epochRecipients) === String(recipients);
    return {
      ...{ added, removed, epoch },
      resealed: earlier.flatMap((row) => (isResealed(row.recipients) ? [row.name] : [])),
      closed: earlier.flatMap((row) => (isResealed(row.recipients) ? [] : [row.name])),
      sheets: (note['sheets'] as Sheet[] | undefined) ?? [],
    };
  },

  reply: ({ added, removed, epoch, resealed, closed, sheets }): Part[] => [
    text(
      { strong: 'Changed who can open backups' },
      `: ${added.length} added, ${removed.length} removed. They are sealed to the epoch ${epoch} from now on.`,
    ),
    ...(resealed.length === 0
      ? []
      : [text(`Sealed to them too: the keys of ${resealed.join(', ')}, in the store and beside the rescue sheet.`)]),
    ...(closed.length === 0
      ? []
      : [
          text(
            `⚠️ Only those of before can open the keys of ${closed.join(', ')}. `,
            { command: 'backup keys reseal' },
            ' has one of them opened for the new ones; else keep their keys as long as backups of then are kept.',
          ),
        ]),
    ...sheetsPart(sheets),
  ],
});
