import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import type { UserRow } from '../../homeserver/synapse/shapes.ts';
import type { UserFilter } from '../../homeserver/synapse/synapse.ts';
import { countArgument, durationArgument } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import { defineList, type Page } from '../define.ts';

const searchPage = 1000;

const row = z.object({
  userId: z.string(),
  displayName: z.string().nullable(),
  admin: z.boolean(),
  deactivated: z.boolean(),
  locked: z.boolean(),
  guest: z.boolean(),
  type: z.string().nullable(),
  createdAt: z.string(),
  lastSeenAt: z.string().nullable(),
});
type Row = z.input<typeof row>;

const args = z.strictObject({
  name: z.string().min(1, 'not empty').optional().describe('Part of a localpart or display name.').meta({ positional: 0, value: 'PART' }),
  admins: z.boolean().default(false).describe('Server admins only.'),
  guests: z.boolean().default(false).describe('Guests only.'),
  deactivated: z.boolean().default(false).describe('Deactivated accounts only; they are left out otherwise.'),
  inactive: durationArgument.optional().describe('Not seen for this long, or never and older than this: 180d.').meta({ value: 'TIME' }),
  orderBy: z
    .enum(['name', 'created', 'last-seen'], 'one of name, created, last-seen')
    .default('name')
    .describe('Order.')
    .meta({ value: 'COLUMN' }),
  limit: countArgument(1, 1000).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
  from: countArgument(0, 999_999_999).prefault('0').describe('Where the page starts.').meta({ value: 'N' }),
});
type Args = z.output<typeof args>;

export const userList = defineList({
  name: 'user list',
  summary: 'List accounts, a page at a time; with --csv or --json all of them, in a file.',
  tier: 'read',
  lock: 'none',
  formerly: ['list'],
  args,
  result: row,
  examples: ['user list', 'user list ali', 'user list --admins', 'user list --inactive 180d --csv'],

  async *list(ctx, given, all) {
    const fits = isWanted(ctx, given);
    if (!all) yield fits === null ? await served(ctx, given) : await searched(ctx, given, fits);
    else
      for await (const users of ctx.homeserver.allUsers(filterOf(given), String(given.from)))
        yield { rows: (fits === null ? users : users.filter(fits)).map(rowOf) };
  },

  reply: (page, given) => {
    if (page.rows.length === 0) return [text('No such accounts.')];
    const more =
      page.next == null
        ? []
        : [text('More with ', { command: nextPage(given, page.next) }, ', all with ', { command: 'user list --csv' }, '.')];
    const count =
      page.total === undefined
        ? `${page.rows.length}${page.next == null ? '' : ' or more'}`
        : page.total === page.rows.length
          ? String(page.total)
          : `${given.from + 1} to ${given.from + page.rows.length} of ${page.total}`;
    return [
      text({ strong: 'Accounts' }, `: ${count}`),
      table(
        [{ title: 'User' }, { title: 'Is' }, { title: 'Last seen' }],
        page.rows.map((user): Line[] => [
          [{ id: user.userId, name: user.displayName }],
          [kinds(user)],
          user.lastSeenAt === null ? ['never seen'] : ['seen ', { time: Date.parse(user.lastSeenAt) }],
        ]),
      ),
      ...more,
    ];
  },
});

type Wanted = (user: UserRow) => boolean;

/** What only Steward can tell, or null where the server filters by itself. */
function isWanted({ clock }: CommandContext, { guests, inactive }: Args): Wanted | null {
  if (!guests && inactive === undefined) return null;
  const before = inactive === undefined ? Number.POSITIVE_INFINITY : clock.now() - inactive;
  return (user) => (user.is_guest || !guests) && (user.last_seen_ts ?? user.creation_ts) < before;
}

async function served(ctx: CommandContext, given: Args): Promise<Page<Row>> {
  const page = await ctx.homeserver.users(filterOf(given), String(given.from), given.limit);
  return { rows: page.users.map(rowOf), total: page.total, next: page.next_token };
}

/** Pages are read until enough rows are found. `from` counts the server's rows. */
async function searched(ctx: CommandContext, given: Args, fits: Wanted): Promise<Page<Row>> {
  const found: Row[] = [];
  for (let from: string | null = String(given.from); from !== null;) {
    const page = await ctx.homeserver.users(filterOf(given), from, searchPage);
    const start = Number(from);
    for (const [at, user] of page.users.entries()) {
      if (!fits(user)) continue;
      found.push(rowOf(user));
      const next = start + at + 1;
      if (found.length === given.limit) return { rows: found, next: next < page.total ? String(next) : null };
    }
    from = page.next_token;
  }
  return { rows: found, total: given.from === 0 ? found.length : undefined, next: null };
}

function filterOf(given: Args): UserFilter {
  const orderBy = ({ name: 'name', created: 'creation_ts', 'last-seen': 'last_seen_ts' } as const)[given.orderBy];
  return {
    name: given.name,
    deactivated: given.deactivated,
    admins: given.admins ? true : undefined,
    orderBy,
    descending: given.orderBy !== 'name',
  };
}

function rowOf(user: UserRow): Row {
  return {
    userId: user.name,
    displayName: user.displayname,
    admin: user.admin,
    deactivated: user.deactivated,
    locked: user.locked,
    guest: user.is_guest,
    type: user.user_type,
    createdAt: new Date(user.creation_ts).toISOString(),
    lastSeenAt: user.last_seen_ts === null ? null : new Date(user.last_seen_ts).toISOString(),
  };
}

function kinds(user: Row): string {
  return [
    user.admin ? 'admin' : '',
    user.type ?? '',
    user.guest ? 'guest' : '',
    user.locked ? 'locked' : '',
    user.deactivated ? 'deactivated' : '',
  ]
    .filter((kind) => kind !== '')
    .join(', ');
}

function nextPage(given: Args, next: string): string {
  const flags = [
    given.name ?? '',
    given.admins ? '--admins' : '',
    given.guests ? '--guests' : '',
    given.deactivated ? '--deactivated' : '',
  ].filter((flag) => flag !== '');
  const inactive = given.inactive === undefined ? [] : [`--inactive=${Math.round(given.inactive / 3_600_000)}h`];
  return [
    'user list',
    ...flags,
    ...inactive,
    ...(given.orderBy === 'name' ? [] : [`--order-by=${given.orderBy}`]),
    ...(given.limit === 20 ? [] : [`--limit=${given.limit}`]),
    `--from=${next}`,
  ].join(' ');
}
