import { DatabaseSync } from 'node:sqlite';
import { dirname, join } from 'node:path';
import { absoluteLimit, type Limit } from './limit.ts';
import { commands, type World } from './world.ts';

const warmUps = 3;
const measured = 30;

/** From bob's ✅ sent until what alice asked for begins to run, by the clock of this machine and the journal of the job. */
export async function approvalLatency(world: World): Promise<Limit[]> {
  await using cleanup = new AsyncDisposableStack();
  const steward = await world.startSteward();
  cleanup.defer(() => steward.stop());
  const timeline = await world.bob.timeline();
  cleanup.defer(() => {
    timeline.stop();
  });
  using store = new DatabaseSync(join(dirname(world.socket), 'steward.db'), { readOnly: true, timeout: 5000 });
  const startedAt = store.prepare('SELECT started_at FROM jobs WHERE request_id = ?');
  const values: number[] = [];
  for (let round = -warmUps; round < measured; round += 1) {
    const name = `approved${round + warmUps}`;
    await world.synapse.register({ localpart: name });
    const asked = await world.alice.send(world.roomId, `!user deactivate ${name}`);
    const said = (outcome: string) =>
      timeline.waitFor((event) => {
        const relation = event.content['m.relates_to'] as { 'm.in_reply_to'?: { event_id?: string } } | undefined;
        const result = event.content['org.steward.result'] as { outcome?: string } | undefined;
        return event.sender === world.stewardId && relation?.['m.in_reply_to']?.event_id === asked && result?.outcome === outcome;
      }, 30_000);
    const prompt = await said('waiting');
    const decided = Date.now();
    await world.bob.react(world.roomId, prompt.event_id, '✅');
    await said('done');
    if (round >= 0) values.push(Number(startedAt.get(asked)?.['started_at']) - decided);
  }
  return [
    absoluteLimit(
      'approval-latency',
      300,
      { ran: `✅ on the prompt of !user deactivate, answered by ${commands.steward}`, unit: 'ms', values },
      "reaction sent (fetch, PUT /send) to the start of the run in the job's journal, in one plain room; Synapse on PostgreSQL with fsync",
    ),
  ];
}
