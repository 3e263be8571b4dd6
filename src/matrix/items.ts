import { Failure } from '../failures/failure.ts';
import type { MatrixClient } from './client.ts';
import { itemsOf, type RoomCommand } from './message.ts';

/** Bytes and lines of a file with items. */
const largestInput = 1_000_000;
const mostItems = 10_000;

/**
 * The items of a command: of its code block, of the file it is the caption of, or of the file it answers.
 *
 * @returns null when it has none
 * @throws Failure `usage.input-too-large`, `usage.input-unreadable`
 */
export async function itemsFor(command: RoomCommand, client: MatrixClient, roomId: string): Promise<string[] | null> {
  const items = command.items ?? (await itemsOfFile(command.file ?? (await answeredFile(command.replyTo, client, roomId)), client));
  if (items !== null && items.length > mostItems) throw new Failure('usage.input-too-large');
  return items;
}

async function answeredFile(eventId: string | null, client: MatrixClient, roomId: string): Promise<string | null> {
  if (eventId === null) return null;
  const answered = await client.event(roomId, eventId).catch(() => null);
  const content = answered?.content ?? {};
  return content['msgtype'] === 'm.file' && typeof content['url'] === 'string' ? content['url'] : null;
}

async function itemsOfFile(mxc: string | null, client: MatrixClient): Promise<string[] | null> {
  if (mxc === null) return null;
  try {
    return itemsOf((await client.download(mxc, largestInput)).toString('utf8'));
  } catch (error) {
    throw error instanceof RangeError ? new Failure('usage.input-too-large') : new Failure('usage.input-unreadable', { cause: error });
  }
}
