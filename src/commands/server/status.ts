import { z } from 'zod';
import { asFailure } from '../../failures/failure.ts';
import { fields, text } from '../../reply/parts.ts';
import type { CommandContext } from '../context.ts';
import { defineRead } from '../define.ts';

export const serverStatus = defineRead({
  name: 'server status',
  summary: 'Show whether the homeserver answers, how fast, how many accounts and rooms it has, and how Steward is.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    serverName: z.string().nullable(),
    reachable: z.boolean(),
    problem: z.string().nullable(),
    synapse: z.string().nullable(),
    latencyMs: z.number().nullable(),
    users: z.number().nullable(),
    rooms: z.number().nullable(),
    steward: z.string(),
    uptimeSeconds: z.number(),
    syncAgeMs: z.number().nullable(),
    degraded: z.string().nullable(),
    outboxPending: z.number(),
    accept: z.string(),
    frozen: z.string().nullable(),
  }),
  examples: ['server status'],

  async read(ctx) {
    const self = ctx.self();
    const steward = {
      steward: self.version,
      uptimeSeconds: Math.round((ctx.clock.now() - self.startedAt) / 1000),
      syncAgeMs: self.syncAge === null ? null : Math.round(self.syncAge),
      degraded: self.degraded,
      outboxPending: self.outboxPending,
      accept: ctx.config.encryption.accept,
      frozen: frozenWords(ctx),
    };
    try {
      const started = ctx.clock.monotonic();
      const synapse = await ctx.homeserver.version();
      const latencyMs = Math.round(ctx.clock.monotonic() - started);
      const [page, rooms] = await Promise.all([ctx.homeserver.users({ deactivated: false }, '0', 1), ctx.homeserver.roomCount()]);
      return {
        serverName: ctx.homeserver.serverName,
        reachable: true,
        problem: null,
        synapse,
        latencyMs,
        users: page.total,
        rooms,
        ...steward,
      };
    } catch (error) {
      // A homeserver that is down is what this command is there to tell.
      return {
        serverName: ctx.config.homeserver?.serverName ?? null,
        reachable: false,
        problem: asFailure(error).message,
        synapse: null,
        latencyMs: null,
        users: null,
        rooms: null,
        ...steward,
      };
    }
  },

  reply: (result) => [
    text(
      result.reachable ? '🟢 ' : '🔴 ',
      { strong: result.serverName ?? 'no homeserver' },
      result.reachable ? ' answers.' : ' does not answer.',
    ),
    fields(
      ['problem', result.problem === null ? undefined : [result.problem]],
      ['Synapse', result.synapse === null ? undefined : [result.synapse]],
      ['latency', result.latencyMs === null ? undefined : [`${result.latencyMs} ms`]],
      ['accounts', result.users === null ? undefined : [`${result.users} active`]],
      ['rooms', result.rooms === null ? undefined : [String(result.rooms)]],
      ['Steward', [`${result.steward}, up ${uptime(result.uptimeSeconds)}`]],
      ['last sync', [result.syncAgeMs === null ? 'none yet' : `${(result.syncAgeMs / 1000).toFixed(1)} s ago`]],
      ['degraded', result.degraded === null ? undefined : [result.degraded]],
      ['commands from', result.accept === 'cross-signed' ? undefined : [acceptWords[result.accept] ?? result.accept]],
      ['frozen', result.frozen === null ? undefined : [result.frozen]],
      ['to be sent', result.outboxPending === 0 ? undefined : [`${result.outboxPending} messages`]],
    ),
  ],
});

/** Settings that are weaker than the default are shown. */
const acceptWords: Readonly<Record<string, string>> = {
  tofu: 'cross-signed devices, and the first device of who has no cross-signing (`encryption.accept: tofu`)',
  any: 'any device, signed or not (`encryption.accept: any`)',
};
function frozenWords({ freeze }: CommandContext): string | null {
  const { state } = freeze;
  return state === null ? null : `by ${state.by} since ${new Date(state.at).toISOString().slice(0, 16)}Z: ${state.reason}`;
}

function uptime(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor((seconds % 86_400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${seconds} s`;
}
