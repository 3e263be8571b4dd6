import { z } from 'zod';
import { fields, list, text, type Line } from '../../reply/parts.ts';
import { rolesOf } from '../../workflow/roles.ts';
import { defineRead } from '../define.ts';

const reach = z.object({ groups: z.array(z.string()), tier: z.string() });

export const meRoles = defineRead({
  name: 'me roles',
  summary: 'Show what you may ask for and approve, and what you may not for now.',
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  args: z.strictObject({}),
  result: z.object({
    person: z.string().nullable(),
    userIds: z.array(z.string()),
    roles: z.array(z.string()),
    owner: z.boolean(),
    request: z.array(reach),
    approve: z.array(reach),
    heldUntil: z.iso.datetime().nullable().describe('Until when you may approve nothing.'),
  }),
  examples: ['me roles'],

  read: ({ approvals, config, requester }) => {
    const person = requester.kind === 'person' ? requester.person : null;
    const roles = person === null ? [] : rolesOf(config, person);
    const until = person === null ? null : approvals.heldUntil(person);
    return Promise.resolve({
      person,
      userIds: [...(person === null ? [] : (config.people[person]?.userIds ?? []))],
      roles: [...(person === null ? [] : (config.people[person]?.roles ?? []))],
      owner: roles.some(({ owner }) => owner),
      request: roles.map(({ request }) => ({ ...request, groups: [...request.groups] })),
      approve: roles.map(({ approve }) => ({ ...approve, groups: [...approve.groups] })),
      heldUntil: until === null ? null : new Date(until).toISOString(),
    });
  },

  reply: (result) => {
    if (result.person === null) return [text('The shell names no person: it may ask for everything, and approves nothing.')];
    const lines = (reaches: readonly z.input<typeof reach>[]): Line => [
      reaches.map(({ groups, tier }) => `${groups.includes('*') ? 'every group' : groups.join(', ')} up to ${tier}`).join('; ') ||
        'nothing',
    ];
    return [
      text('You are ', { strong: result.person }, '.'),
      fields(
        ['accounts', [result.userIds.join(', ')]],
        ['roles', [result.roles.join(', ') || 'none']],
        ['owner', result.owner ? ['yes'] : undefined],
        ['may ask for', lines(result.request)],
        ['may approve', lines(result.approve)],
      ),
      ...(result.heldUntil === null
        ? []
        : [
            list([
              [
                'Until ',
                { time: Date.parse(result.heldUntil) },
                ' you may approve nothing: a command could have given somebody control of an account of yours.',
              ],
            ]),
          ]),
    ];
  },
});
