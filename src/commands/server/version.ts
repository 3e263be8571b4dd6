import { z } from 'zod';
import { fields } from '../../reply/parts.ts';
import { defineRead } from '../define.ts';

export const serverVersion = defineRead({
  name: 'server version',
  summary: 'Show the versions of Synapse, of its Client-Server API and of Steward.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({ synapse: z.string(), clientApi: z.string().nullable(), steward: z.string(), node: z.string() }),
  examples: ['server version'],

  async read(ctx) {
    const [synapse, versions] = await Promise.all([ctx.homeserver.version(), ctx.homeserver.clientVersions()]);
    return { synapse, clientApi: versions.at(-1) ?? null, steward: ctx.self().version, node: process.versions.node };
  },

  reply: (result) => [
    fields(
      ['Synapse', [result.synapse]],
      ['Client-Server API', result.clientApi === null ? undefined : [`up to ${result.clientApi}`]],
      ['Steward', [result.steward]],
      ['Node', [result.node]],
    ),
  ],
});
