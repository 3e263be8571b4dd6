import { absoluteLimit, type Limit } from './limit.ts';
import { commands, type World } from './world.ts';

const measured = 5;

/**
 * The first message into a room that was just made: from the person's join sent until the password that Steward sends there is
 * decrypted. Each round another room, because a third person is in the one before.
 */
export async function firstEncrypted(world: World): Promise<Limit[]> {
  const { alice, bob, bot, roomId, stewardId } = world;
  await using cleanup = new AsyncDisposableStack();
  const steward = await world.startSteward();
  cleanup.defer(() => steward.stop());
  const timeline = await alice.timeline();
  cleanup.defer(() => {
    timeline.stop();
  });
  const values: number[] = [];
  const rooms = new Set<string>();
  for (let round = 0; round < measured; round += 1) {
    await alice.send(roomId, `!user create newcomer${round} --deliver dm`);
    const invite = await timeline.waitForInvite((invitation) => invitation.sender === stewardId && !rooms.has(invitation.roomId), 30_000);
    rooms.add(invite.roomId);
    const told = timeline.waitFor(
      (event) => event.room_id === invite.roomId && event.type === 'm.room.message' && String(event.content['body']).includes('Password: '),
      30_000,
    );
    const begin = performance.now();
    await alice.join(invite.roomId);
    await told;
    values.push(performance.now() - begin);
    await bot.invite(invite.roomId, bob.userId);
    await bob.join(invite.roomId);
  }
  return [
    absoluteLimit(
      'first-encrypted-message',
      1000,
      { ran: `!user create NAME --deliver dm, answered by ${commands.steward}`, unit: 'ms', values },
      'join sent to the message decrypted (matrix-js-sdk) in a room that Steward has just made; Synapse on PostgreSQL with fsync',
    ),
  ];
}
