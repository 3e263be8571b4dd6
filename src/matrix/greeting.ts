import { list, text } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';
import type { Config } from '../config/schema.ts';

/** The first words in a new room: who it is, what it may do, three commands. */
export function greeting(config: Config): Reply {
  const people = Object.keys(config.people);
  return {
    command: null,
    outcome: 'done',
    parts: [
      text(
        'Hello. I am ',
        { strong: config.room?.name ?? 'steward' },
        ', and I run ',
        { strong: config.homeserver?.serverName ?? 'the homeserver' },
        ' from this room.',
      ),
      text(
        'I am a server admin: I list, create and change accounts for ',
        { strong: people.length === 0 ? 'nobody yet' : people.join(', ') },
        ', and I read nothing but commands here.',
      ),
      list([[{ command: 'help' }], [{ command: 'user list' }], [{ command: 'server status' }]]),
    ],
  };
}
