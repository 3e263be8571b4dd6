import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Ids } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { longSecret, registerPath, registrationBody } from '../homeserver/registration.ts';
import type { ScratchDatabase, ScratchHomeserver } from '../stack/stack.ts';
import { mediaIdOf } from './media-index.ts';
import { different } from './prove.ts';

export interface ReadBackOptions {
  server: ScratchHomeserver;
  /** What it runs on. */
  scratch: ScratchDatabase;
  serverName: string;
  registrationSecret: Secret;
  /** A file of media that it has, or null. */
  sample: { path: string; sha256: string } | null;
  ids: Ids;
}

/** What the homeserver on the copy gave back. */
export interface Probed {
  users: number;
  rooms: number;
  /** Events of the current state of one room; null where the copy has no room. */
  roomState: number | null;
  /** Whether it gave a file of media as it was; false where there is none that it could be asked for. */
  probedMedia: boolean;
}

const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789';

/**
 * Makes an account on a homeserver that is thrown away, logs in with its password, and reads back what the database holds: how many
 * accounts and rooms, the state of a room, a file of media.
 *
 * @throws Failure `backup.not-proven`
 */
export async function readBack({ server, scratch, serverName, registrationSecret, sample, ids }: ReadBackOptions): Promise<Probed> {
  const count = async (sql: string): Promise<number> => Number((await scratch.rows(sql))[0]?.['n']);
  const accounts = await count('SELECT count(*) AS n FROM users');
  const rooms = await count(
    'SELECT count(*) AS n FROM room_stats_state JOIN room_stats_current USING (room_id) JOIN rooms USING (room_id)',
  );
  const [room] = await scratch.rows('SELECT c.room_id AS id FROM current_state_events c JOIN rooms r ON r.room_id = c.room_id LIMIT 1');
  const state = room === undefined ? null : { id: String(room['id']), events: 0 };
  if (state !== null)
    state.events = await count(`SELECT count(*) AS n FROM current_state_events WHERE room_id = '${state.id.replaceAll("'", "''")}'`);

  const asked = async <T>(request: Parameters<ScratchHomeserver['ask']>[0], shape: z.ZodType<T>): Promise<T> => {
    const path = request.path.split('?')[0] ?? '';
    const answer = await server.ask(request).catch((error: unknown) => {
      throw different(`Synapse on the copy does not answer ${path}: ${(error as Error).message}`);
    });
    const parsed = shape.safeParse(answer.json);
    if (answer.status !== 200 || !parsed.success) throw different(`Synapse on the copy answers ${path} with ${answer.status}`);
    return parsed.data;
  };

  const localpart = `steward-drill-${ids.secret(alphabet, 12)}`;
  const password = longSecret(ids);
  const { nonce } = await asked({ method: 'GET', path: registerPath }, z.object({ nonce: z.string() }));
  const made = { ...registrationBody(registrationSecret, { nonce, username: localpart, password, admin: true }), inhibit_login: true };
  await asked({ method: 'POST', path: registerPath, body: made }, z.object({ user_id: z.string() }));
  const login = { type: 'm.login.password', identifier: { type: 'm.id.user', user: localpart }, password: password.reveal() };
  const session = await asked(
    { method: 'POST', path: '/_matrix/client/v3/login', body: login },
    z.object({ access_token: z.string(), user_id: z.string() }),
  );
  const token = new Secret(session.access_token);

  const everybody = '/_synapse/admin/v2/users?limit=1&guests=true&deactivated=true&locked=true';
  const listed = await asked({ method: 'GET', path: everybody, token }, z.object({ total: z.number() }));
  // The probe is one of them.
  if (listed.total !== accounts + 1) throw different(`Synapse on the copy lists ${listed.total - 1} accounts of ${accounts}`);
  const all = await asked({ method: 'GET', path: '/_synapse/admin/v1/rooms?limit=1', token }, z.object({ total_rooms: z.number() }));
  if (all.total_rooms !== rooms) throw different(`Synapse on the copy lists ${all.total_rooms} rooms of ${rooms}`);
  if (state !== null) {
    const path = `/_synapse/admin/v1/rooms/${encodeURIComponent(state.id)}/state`;
    const found = await asked({ method: 'GET', path, token }, z.object({ state: z.array(z.unknown()) }));
    if (found.state.length !== state.events)
      throw different(`Synapse on the copy has ${found.state.length} events of ${state.events} in the state of ${state.id}`);
  }
  if (sample !== null) {
    const path = `/_matrix/client/v1/media/download/${serverName}/${mediaIdOf(sample.path)}`;
    const answer = await server.ask({ method: 'GET', path, token }).catch(() => null);
    if (answer?.status !== 200 || createHash('sha256').update(answer.content).digest('hex') !== sample.sha256)
      throw different(`Synapse on the copy gives another file for ${mediaIdOf(sample.path)}, or none (${String(answer?.status)})`);
  }
  return { users: accounts, rooms, roomState: state?.events ?? null, probedMedia: sample !== null };
}
