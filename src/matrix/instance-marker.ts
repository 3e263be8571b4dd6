import { Failure } from '../failures/failure.ts';
import type { Generation, Instance } from '../store/instance.ts';
import type { MatrixClient } from './client.ts';
import type { SyncAnswer } from './sync-types.ts';

/** Account data of the bot, `{generation, id}`: which copy of its store acts. */
export const instanceType = 'org.steward.instance';

/** Says on the homeserver which copy of the store acts, and hears there when another one has taken over. */
export class InstanceMarker {
  readonly #instance: Instance;
  readonly #userId: string;
  readonly #client: () => Pick<MatrixClient, 'accountData' | 'setAccountData'>;

  constructor(instance: Instance, userId: string, client: () => Pick<MatrixClient, 'accountData' | 'setAccountData'>) {
    this.#instance = instance;
    this.#userId = userId;
    this.#client = client;
  }

  /** Before anything is heard or said. @throws Failure `store.superseded`; MatrixRequestError */
  async check(): Promise<void> {
    const there = generationOf(await this.#client().accountData(this.#userId, instanceType));
    const own = this.#instance.takesOver ? this.#instance.next(there?.generation ?? 0) : this.#instance.current;
    this.#compare(there);
    if (there === null || there.generation < own.generation) await this.#client().setAccountData(this.#userId, instanceType, own);
    if (this.#instance.takesOver || this.#instance.isSuperseded) this.#instance.acts();
  }

  /** What a sync tells, before anything else of it is taken. @throws Failure `store.superseded` */
  hear(answer: SyncAnswer): void {
    for (const { type, content } of answer.account_data?.events ?? []) if (type === instanceType) this.#compare(generationOf(content));
  }

  #compare(there: Generation | null): void {
    const own = this.#instance.current;
    if (there === null || there.generation < own.generation || (there.generation === own.generation && there.id === own.id)) return;
    if (!this.#instance.isSuperseded) this.#instance.superseded();
    throw new Failure('store.superseded', { attempted: 'hear from the admin room' });
  }
}

/** What is of no known form says nothing. */
function generationOf(content: Record<string, unknown> | null): Generation | null {
  const { generation, id } = content ?? {};
  return Number.isSafeInteger(generation) && typeof id === 'string' ? { generation: Number(generation), id } : null;
}
