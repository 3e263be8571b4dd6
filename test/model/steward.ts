import { keepHouse, openRoom, type Room } from '../../src/app.ts';
import type { Ids } from '../../src/clock.ts';
import type { Reloadable } from '../../src/config/reloadable.ts';
import { configSchema, type Config } from '../../src/config/schema.ts';
import { Secret } from '../../src/config/secret.ts';
import { openCore, type Core } from '../../src/core.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { ModelClock } from './clock.ts';
import type { ModelDatabase } from './database.ts';
import type { Server } from './server.ts';
import { thingCommands, type Things } from './things.ts';

export interface ModelWorld {
  database: ModelDatabase;
  clock: ModelClock;
  server: Server;
  things: Things;
  ids: Ids;
  config: Config;
}

/** The configuration of the model; `people` and `roles` as in a file. */
export function modelConfig(server: Server, dir: string, sections: Record<string, unknown>): Config {
  return configSchema.parse({
    data_dir: dir,
    homeserver: {
      url: 'http://model',
      server_name: 'model',
      user_id: server.botId,
      access_token_file: new Secret('token'),
    },
    room: { id: server.roomId },
    ...sections,
  });
}

/** One process of Steward on a model homeserver, from its start to its end: the real composition, over a real store. */
export class ModelSteward {
  readonly core: Core;
  readonly #room: Room;
  readonly #stopping: AbortController;
  readonly #end: () => void;

  private constructor(core: Core, room: Room, stopping: AbortController, end: () => void) {
    this.core = core;
    this.#room = room;
    this.#stopping = stopping;
    this.#end = end;
  }

  static async start({ clock, database, server, things, ids, config }: ModelWorld): Promise<ModelSteward> {
    let alive = true;
    const time = clock.process();
    const connection = server.connect();
    const { store, end: endStore } = database.attach();
    const reloadable = { path: '', current: config, reload: () => ({ changed: [], needsRestart: [] }) } as unknown as Reloadable;
    const core = await openCore(reloadable, silentLog, {
      clock: time,
      ids,
      registry: thingCommands(things, () => alive),
      client: () => Promise.resolve(soundRoom(server.botId)),
      hold: () => ({ store, release: endStore }),
    });
    const stopping = new AbortController();
    const room = openRoom(core, () => connection.client);
    void room.connection.run();
    void keepHouse(core, room, stopping.signal);
    return new ModelSteward(core, room, stopping, () => {
      alive = false;
      time.end();
      connection.end();
    });
  }

  /** What SIGKILL does: nothing of it runs on, and what is in the store stays. */
  kill(): void {
    this.#end();
    this.core.close();
  }

  /** What SIGTERM does, as far as it goes while time stands still. */
  async stop(settle: () => Promise<void>): Promise<void> {
    this.#stopping.abort();
    void this.#room.stop();
    void this.core.jobs.stop(10_000);
    await settle();
    this.kill();
  }
}

/** The state of an admin room with nothing to be told of. */
function soundRoom(botId: string): unknown {
  const event = (type: string, content: object, key = ''): object => ({ type, state_key: key, sender: botId, content });
  return [
    event('m.room.create', { room_version: '12', 'm.federate': false }),
    event('m.room.join_rules', { join_rule: 'invite' }),
    event('m.room.history_visibility', { history_visibility: 'joined' }),
    event('m.room.guest_access', { guest_access: 'forbidden' }),
    event('m.room.power_levels', { state_default: 100, invite: 50 }),
    event('m.room.member', { membership: 'join' }, botId),
  ];
}
