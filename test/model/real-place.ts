import { openClient, type MatrixClient } from '../../kit/client.ts';
import { startSynapse, type Synapse } from '../../kit/synapse.ts';
import type { ModelClock } from './clock.ts';
import { people } from './history.ts';
import { ModelPlace } from './place.ts';
import { RealHomeserver } from './real-homeserver.ts';
import type { Server } from './server.ts';

/** A place whose homeserver is Synapse: a room and a bot of its own for each history. */
export class RealPlace extends ModelPlace {
  readonly #synapse: Synapse;
  readonly #people: readonly MatrixClient[];
  #rooms = 0;

  private constructor(synapse: Synapse, clients: readonly MatrixClient[]) {
    super();
    this.#synapse = synapse;
    this.#people = clients;
  }

  static async start(): Promise<RealPlace> {
    const synapse = await startSynapse({ serverName: 'model' });
    const clients: MatrixClient[] = [];
    for (const userId of people) {
      const account = await synapse.register({ localpart: userId.slice(1, userId.indexOf(':')) });
      clients.push(openClient({ ...account, url: synapse.url }));
    }
    return new RealPlace(synapse, clients);
  }

  override async openRoom(clock: ModelClock): Promise<Server> {
    this.#rooms += 1;
    const bot = await this.#synapse.register({ localpart: `steward${this.#rooms}` });
    return RealHomeserver.open({ url: this.#synapse.url, people: this.#people, bot, clock });
  }

  async dispose(): Promise<void> {
    this.close();
    await this.#synapse.dispose();
  }
}
