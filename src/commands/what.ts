import { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import { fields, list, text, type Line, type Part } from '../reply/parts.ts';
import { userIdOf, withoutPermalink } from './arguments.ts';
import type { CommandContext } from './context.ts';
import { defineRead } from './define.ts';
import { quote } from './grammar/tokenise.ts';

const found = z.object({
  kind: z.enum(['user', 'room', 'event', 'media', 'e-mail']),
  id: z.string(),
  name: z.string().nullable(),
  facts: z.array(z.tuple([z.string(), z.string()])),
  /** Command lines that make sense now. */
  actions: z.array(z.string()),
});
type Found = z.input<typeof found>;

export const what = defineRead({
  name: 'what',
  summary: 'Say what a pasted link or id is, and what can be done with it.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    thing: z
      .string()
      .min(1, 'not empty')
      .max(1000, 'at most 1000 characters')
      .describe('A matrix.to link, an mxc address, an e-mail address, or the id of a user, room, alias or event.')
      .meta({ positional: 0, value: 'THING' }),
  }),
  result: found,
  examples: ['what @alice:example.org', 'what alice@example.org'],

  async read(ctx, args) {
    const attempted = `say what \`${args.thing.slice(0, 80)}\` is`;
    const answer = await identify(ctx, args.thing);
    if (answer === null) throw new Failure('target.not-found', { attempted });
    if (answer === undefined)
      throw new Failure('usage.invalid-value', { attempted, reason: 'it is no link, id or address that Matrix has' });
    return answer;
  },

  reply: (result): Part[] => [
    text(`That is ${result.kind === 'event' || result.kind === 'e-mail' ? 'an' : 'a'} ${result.kind}: `, {
      id: result.id,
      name: result.name,
    }),
    fields(...result.facts.map(([label, value]) => [label, [value]] as const)),
    ...(result.actions.length === 0 ? [] : [list(result.actions.map((action): Line => [{ command: action }]))]),
  ],
});

/** Null: of a known form, and not there. Undefined: of no known form. */
async function identify(ctx: CommandContext, pasted: string): Promise<Found | null | undefined> {
  const media = /^mxc:\/\/([^/\s]+)\/([^/?#\s]+)$/.exec(pasted);
  if (media !== null) return ofMedia(ctx, pasted, media[1] ?? '', media[2] ?? '');
  const id = withoutPermalink(pasted);
  const inRoom = /^([!#][^/]+)\/(\$.+)$/.exec(id);
  if (inRoom !== null) return ofEvent(ctx, inRoom[2] ?? '');
  if (id.startsWith('$')) return ofEvent(ctx, id);
  if (/^@[^\s:]+(?::\S+)?$/.test(id)) return ofUser(ctx, userIdOf(id, ctx.homeserver.serverName));
  if (id.startsWith('!')) return ofRoom(ctx, id);
  if (/^#[^\s:]+:\S+$/.test(id)) {
    const roomId = await ctx.homeserver.roomOfAlias(id);
    return roomId === null ? null : ofRoom(ctx, roomId);
  }
  if (/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(id)) {
    const userId = await ctx.homeserver.userOfEmail(id.toLowerCase());
    return userId === null
      ? null
      : { kind: 'e-mail', id, name: null, facts: [['belongs to', userId]], actions: [`user info ${quote(userId)}`] };
  }
  return undefined;
}

async function ofUser(ctx: CommandContext, userId: string): Promise<Found | null> {
  if (!userId.endsWith(`:${ctx.homeserver.serverName}`))
    return { kind: 'user', id: userId, name: null, facts: [['homeserver', 'another one']], actions: [] };
  const user = await ctx.homeserver.user(userId);
  if (user === null) return null;
  const state = user.deactivated ? 'deactivated' : user.locked ? 'locked' : 'active';
  const shown = quote(userId);
  const actions = user.deactivated
    ? [`user info ${shown}`, `user reactivate ${shown}`]
    : [`user info ${shown}`, `user update-password ${shown}`];
  return { kind: 'user', id: userId, name: user.displayname, facts: [['state', user.admin ? `${state}, server admin` : state]], actions };
}

async function ofRoom(ctx: CommandContext, roomId: string): Promise<Found | null> {
  const room = await ctx.homeserver.room(roomId);
  if (room === null) return null;
  return {
    kind: 'room',
    id: roomId,
    name: room.name ?? room.canonical_alias,
    facts: [
      ['members', `${room.joined_members}, ${room.joined_local_members} of them here`],
      ['encrypted', room.encryption === null ? 'no' : 'yes'],
      ...(room.creator === null ? [] : [['created by', room.creator] as [string, string]]),
      ...(room.version === null ? [] : [['version', room.version] as [string, string]]),
    ],
    actions: [],
  };
}

async function ofEvent(ctx: CommandContext, eventId: string): Promise<Found | null> {
  const event = await ctx.homeserver.event(eventId);
  if (event === null) return null;
  return {
    kind: 'event',
    id: eventId,
    name: null,
    facts: [
      ['type', event.type],
      ['sender', event.sender],
      ['room', event.room_id],
      ['sent', new Date(event.origin_server_ts).toISOString()],
    ],
    actions: [`what ${quote(event.sender)}`, `what ${quote(event.room_id)}`],
  };
}

async function ofMedia(ctx: CommandContext, mxc: string, server: string, mediaId: string): Promise<Found | null> {
  const media = await ctx.homeserver.media(server, mediaId);
  if (media === null) return null;
  return {
    kind: 'media',
    id: mxc,
    name: media.upload_name,
    facts: [
      ['type', media.media_type ?? 'unknown'],
      ['size', media.media_length === null ? 'unknown' : `${media.media_length} bytes`],
      ['uploaded', new Date(media.created_ts).toISOString()],
      ...(media.quarantined_by === null ? [] : [['quarantined by', media.quarantined_by] as [string, string]]),
    ],
    actions: [],
  };
}
